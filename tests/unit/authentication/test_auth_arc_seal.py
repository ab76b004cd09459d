"""Seals of ours: judged by our validation and by dkimpy's."""

import asyncio
import re

import dkim
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tideover.authentication.arc.seal import SIGNED, Sealer, arc_seal
from tideover.authentication.arc.validate import arc_validate
from tideover.authentication.results import ArcResult
from tideover.message.fields import HeaderSection
from tideover.testing.dns import FakeNames
from tideover.testing.signing import (
    DOMAIN,
    KEY_NAME,
    SELECTOR,
    arc_sealed,
    body_of,
    dkim_signed,
    header_of,
    public_record,
    rsa_key,
)

KEY = rsa_key()
SEALER = Sealer(domain=DOMAIN, selector=SELECTOR, key=KEY)
RECORD = public_record(KEY)
NAMES = FakeNames(txt={KEY_NAME: [RECORD]})
BASE = (
    b"Received: from x by y; Sat, 21 Nov 2026 16:00:00 +0000\r\n"
    b"From: Anna <anna@author.example>\r\nTo: otto@example.org\r\nTo: mia@example.org\r\n"
    b"Subject: A  question\r\nDate: Sat, 21 Nov 2026 16:00:00 +0000\r\n"
    b"X-Other: 1\r\n\r\nDear Otto,\r\nis this  a question?\r\n"
)
NONE = ArcResult(result="none")
RESULTS = "mx.signer.example; spf=pass smtp.mailfrom=anna@author.example; dkim=none; arc=none"
NOW = 1.7e9  # dkimpy has a clock of its own


def sealed(message, chain=None, results=RESULTS):
    """The ARC set for the message."""
    return asyncio.run(seal(message, chain, results))


async def seal(message, chain=None, results=RESULTS):
    header, body = header_of(message), body_of(message)
    chain = chain or await arc_validate(header, body, NAMES, now=NOW)
    return await arc_seal(header, body, SEALER, chain=chain, results=results, now=NOW)


def validated(message, names=NAMES):
    return asyncio.run(arc_validate(header_of(message), body_of(message), names, now=NOW))


def by_dkimpy(message):
    verdict, _, why = dkim.arc_verify(message, dnsfunc=lambda *_, **__: RECORD.encode())
    return verdict, why


def test_a_first_seal():
    message = sealed(BASE) + BASE
    found = validated(message)
    assert (found.result, found.instance, found.sealers) == ("pass", 1, (DOMAIN,))
    assert found.assertions == (RESULTS,)
    assert by_dkimpy(message)[0] == b"pass"
    names = [field.key for field in header_of(message).fields[:3]]
    assert names == [b"arc-seal", b"arc-message-signature", b"arc-authentication-results"]
    assert b"cv=none" in header_of(message).fields[0].value


def test_a_chain_of_several_seals_with_changes_between():
    message = BASE
    for instance in range(1, 5):
        message = sealed(message) + message
        assert validated(message).instance == instance
        assert by_dkimpy(message)[0] == b"pass"
        message = message.replace(b"A  question", b"[x] A  question")
        if instance < 4:
            assert validated(message).result == "fail"
            message = message.replace(b"[x] ", b"")


def test_lines_are_short_and_nothing_of_transport_is_signed():
    message = dkim_signed(BASE, KEY)
    fields = sealed(message)
    assert all(len(line) <= 78 for line in fields.split(b"\r\n"))
    names = b"".join(re.search(rb"h=([^;]+);", fields)[1].split()).split(b":")
    assert names == [b"from", b"to", b"to", b"subject", b"date", b"dkim-signature"]
    assert not {b"received", b"authentication-results"} & set(SIGNED)
    assert not any(name.startswith(b"arc") for name in SIGNED)


@pytest.mark.parametrize(
    "field", [b"Received: from a by b", b"Authentication-Results: x; none", b"X-Spam: no",
              b"Subject: on top", b"Return-Path: <>"],
)  # fmt: skip
def test_what_is_put_above_breaks_nothing(field):
    message = field + b"\r\n" + sealed(BASE) + BASE
    assert validated(message).result == "pass"
    assert by_dkimpy(message)[0] == b"pass"


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"anna@author", b"eve@author"), (b"A  question", b"An answer"), (b"Dear", b"Hello"),
     (b"mia@", b"eve@"), (b"spf=pass", b"spf=fail")],
)  # fmt: skip
def test_what_is_changed_below_breaks_it(old, new):
    assert validated((sealed(BASE) + BASE).replace(old, new)).result == "fail"


def test_a_broken_chain_is_sealed_as_broken_over_its_own_set_only():
    broken = arc_sealed(BASE, KEY, 1).replace(b"Dear", b"Hello")
    fields = sealed(broken)
    first = header_of(fields).fields[0]
    assert b"i=2;" in first.value
    assert b"cv=fail" in first.value
    # the same set stands where there are no others
    alone = header_of(fields + b"\r\n").fields
    other = header_of(sealed(broken.replace(b"i=1;", b"i=1; "))).fields
    assert alone[0].value == other[0].value
    assert validated(fields + broken).reason == "the sealer of i=2 found the chain broken"


def test_nothing_is_added_to_what_a_seal_calls_broken():
    broken = arc_sealed(BASE, KEY, 1).replace(b"Dear", b"Hello")
    broken = sealed(broken) + broken
    assert sealed(broken) == b""


def test_nothing_is_added_to_fifty_sets():
    assert sealed(b"ARC-Seal: i=50; a=x\r\n" + BASE) == b""


def test_a_malformed_chain_has_the_next_instance():
    fields = sealed(b"ARC-Seal: nonsense\r\nARC-Seal: i=7; cv=pass\r\n" + BASE)
    assert re.match(rb"ARC-Seal: i=8; a=rsa-sha256; cv=fail;", fields)


def test_while_dns_is_silent_nothing_is_said_of_a_chain():
    message = arc_sealed(BASE, KEY, 1)
    silent = validated(message, FakeNames(broken=[KEY_NAME]))
    assert (silent.result, silent.instance) == ("temperror", 1)
    assert sealed(message, silent) == b""


def test_what_is_wrong_anyway_is_wrong_while_dns_is_silent_too():
    names = FakeNames(txt=NAMES.tables["txt"], broken=[f"s2._domainkey.{DOMAIN}"])
    message = arc_sealed(BASE, KEY, 1, seal={"s": "s2"})
    assert validated(message, names).result == "temperror"
    assert validated(message.replace(b"Dear", b"Hello"), names).result == "fail"
    assert validated(message.replace(b"cv=none", b"cv=pass"), names).result == "fail"


def test_a_filter_that_took_an_arc_field_away_made_it_a_broken_chain():
    message = arc_sealed(BASE, KEY, 1)
    chain = validated(message)
    first = header_of(message).fields[0]
    assert b"cv=fail" in sealed(message.replace(first.raw, b""), chain)


def test_arc_fields_that_a_filter_added_are_a_broken_chain():
    assert b"cv=fail" in sealed(arc_sealed(BASE, KEY, 1), NONE)


def test_a_header_section_that_was_not_seen_to_its_end_is_not_judged_and_not_sealed():
    message = arc_sealed(BASE, KEY, 1)
    header = HeaderSection(header_of(message).fields, len(message), complete=False)

    async def both():
        chain = await arc_validate(header, body_of(message), NAMES, now=NOW)
        given = {"chain": chain, "results": RESULTS, "now": NOW}
        return chain.result, await arc_seal(header, body_of(message), SEALER, **given)

    assert asyncio.run(both()) == ("fail", b"")


def test_a_message_without_from_is_sealed_too():
    message = BASE.replace(b"From:", b"X-From:")
    assert validated(sealed(message) + message).result == "pass"


def test_thousands_of_fields_are_not_all_signed():
    message = b"To: a@example.org\r\n" * 1900 + BASE
    fields = sealed(message)
    assert len(fields) < 4000
    assert validated(fields + message).result == "pass"


def test_more_fields_than_a_chain_can_have_are_not_looked_at():
    most = b"ARC-Seal: i=1; cv=none\r\n" * 150 + BASE
    assert validated(most).reason == "two arc-seal fields with i=1"
    assert sealed(most)
    more = b"ARC-Seal: i=1; cv=none\r\n" + most
    result = validated(more)
    assert (result.result, result.reason) == ("fail", "more than 50 ARC sets")
    assert sealed(more) == b""


def test_results_can_not_forge_a_field():
    fields = sealed(BASE, results="mx; none\r\nSubject: forged\r\n\r\nbody\x00\x7f")
    assert not {b"\x00", b"\x7f"} & {bytes([octet]) for octet in fields}
    assert [field.key for field in header_of(fields).fields] == [
        b"arc-seal", b"arc-message-signature", b"arc-authentication-results"
    ]  # fmt: skip


def test_no_field_no_lookup_no_suspension():
    dns = FakeNames()
    with pytest.raises(StopIteration) as end:
        arc_validate(header_of(BASE), body_of(BASE), dns, now=NOW).send(None)
    assert (end.value.value, dns.asked) == (NONE, [])


def test_one_set_whose_keys_are_cached_costs_no_task():
    message = arc_sealed(BASE, KEY, 1)
    with pytest.raises(StopIteration) as end:
        arc_validate(header_of(message), body_of(message), NAMES, now=NOW).send(None)
    assert end.value.value.result == "pass"


@settings(max_examples=30, deadline=None)
@given(
    subject=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60),
    lines=st.lists(st.sampled_from(["", " ", "a  b", "c\t", "\td", "x" * 30]), max_size=8),
    results=st.text(max_size=200),
)
def test_both_judges_pass_seals_of_all_kinds_of_messages(subject, lines, results):
    message = BASE.replace(b"A  question", b"x " + subject.encode())
    message = message[: message.index(b"Dear")] + "\r\n".join(lines).encode() + b"\r\n"
    text = " ".join(("mx.example;", *results.encode("ascii", "ignore").decode().split()))
    message = sealed(message, results=text) + message
    assert validated(message).result == "pass"
    assert by_dkimpy(message)[0] == b"pass"


@given(
    value=st.binary(max_size=200),
    name=st.sampled_from([b"Seal", b"Message-Signature", b"Authentication-Results"]),
)
def test_no_value_of_a_stranger_makes_trouble(value, name):
    value = value.replace(b"\r", b"").replace(b"\n", b"")
    message = b"ARC-" + name + b": " + value + b"\r\n" + BASE
    assert validated(message).result == "fail"
    sealed(message)
