"""Verification: examples of RFC 8463, other signers, how it looks keys up and where it works."""

import asyncio
import threading

import dkim
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from tideover.authentication.dkim import verify as module
from tideover.authentication.dkim.keys import AT_ONCE
from tideover.authentication.dkim.verify import MAX_SIGNATURES, verify
from tideover.policy.body import KEEP, Copies
from tideover.testing.dns import FakeNames
from tideover.testing.signing import (
    DOMAIN,
    KEY_NAME,
    body_of,
    dkim_signed,
    header_of,
    public_record,
    rsa_key,
)

KEY = rsa_key()
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
NAMES = FakeNames(txt={KEY_NAME: [public_record(KEY)]})
HEAD = (
    b"From: Anna <anna@signer.example>\r\nTo: otto@example.org\r\nSubject: A  question\r\n"
    b"Date: Sat, 21 Nov 2026 16:00:00 +0000\r\n\r\n"
)
NOW = 1.8e9

# the message, keys and signatures of RFC 8463 appendix A
RFC_8463 = b"""\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
""".replace(b"\n", b"\r\n")
RFC_8463_RSA = (
    "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08"
    "a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG"
    "4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
)
RFC_8463_KEYS = {
    "brisbane._domainkey.football.example.com": [
        "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    ],
    "test._domainkey.football.example.com": [RFC_8463_RSA],
}


def results(message, names=NAMES, body=None):
    return asyncio.run(verify(header_of(message), body or body_of(message), names, now=NOW))


def at_once(coro):
    """The value of a coroutine that must not suspend."""
    with pytest.raises(StopIteration) as end:
        coro.send(None)
    return end.value.value


def test_the_examples_of_rfc_8463():
    names = FakeNames(txt=RFC_8463_KEYS)
    first, second = results(RFC_8463, names)
    assert (first.result, second.result) == ("pass", "pass")
    assert first.domain == "football.example.com"
    assert (first.selector, first.algorithm) == ("brisbane", "ed25519-sha256")
    assert (first.identity, first.signature) == ("@football.example.com", "/gCrinpc")
    changed = RFC_8463.replace(b"dinner", b"supper")
    assert {each.result for each in results(changed, names)} == {"fail"}


@settings(max_examples=40, deadline=None)
@given(
    subject=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
    lines=st.lists(st.sampled_from(["", " ", "a  b", "c\t", "\td", "x" * 30]), max_size=8),
    forms=st.tuples(*[st.sampled_from([b"simple", b"relaxed"])] * 2),
    fold=st.booleans(),
)
def test_what_dkimpy_signs_passes_and_dkimpy_passes_what_is_signed_here(
    subject, lines, forms, fold
):
    head = HEAD.replace(b"A  question", ("x " + subject).encode() + (b"\r\n more" if fold else b""))
    message = head + "\r\n".join(lines).encode() + b"\r\n"
    theirs = dkim.sign(
        message, b"s1", DOMAIN.encode(), PEM, canonicalize=forms,
        include_headers=[b"From", b"Subject", b"To"],
    )  # fmt: skip
    (found,) = results(theirs + message)
    assert found.result == "pass", found.reason
    ours = dkim_signed(message, KEY, {"c": b"/".join(forms).decode()})
    assert dkim.verify(ours, dnsfunc=lambda *_, **__: public_record(KEY).encode())


@pytest.mark.parametrize("size", [0, 1, 20_000, KEEP + 300_000])
def test_bodies_of_all_sizes(size, tmp_path):
    message = dkim_signed(HEAD + (b"0123456789abcd\r\n" * (size // 16 + 1))[:size] + b"\r\n", KEY)

    async def scenario():
        body = Copies(tmp_path).new()
        for at in range(0, len(message), 65_536):
            waits = body.write(message[at : at + 65_536])
            if waits is not None:
                await waits
        try:
            (found,) = await verify(header_of(message), body, NAMES, now=NOW)
        finally:
            body.close()
        return found, size > KEEP

    found, spilled = asyncio.run(scenario())
    assert found.result == "pass", found.reason
    assert spilled == (size > KEEP)


def test_small_messages_whose_keys_are_cached_cost_no_task():
    message = dkim_signed(dkim_signed(HEAD + b"short\r\n", KEY), KEY, {"s": "s2"})
    names = FakeNames(txt=NAMES.tables["txt"] | {f"s2._domainkey.{DOMAIN}": [public_record(KEY)]})
    found = at_once(verify(header_of(message), body_of(message), names, now=NOW))
    assert [each.result for each in found] == ["pass", "pass"]


def test_large_bodies_are_hashed_elsewhere(monkeypatch):
    threads = set()
    real = module.hash_pieces

    def noted(*args):
        threads.add(threading.current_thread())
        return real(*args)

    monkeypatch.setattr(module, "hash_pieces", noted)
    (found,) = results(dkim_signed(HEAD + b"x" * 20_000 + b"\r\n", KEY))
    assert found.result == "pass"
    assert threads
    assert threading.main_thread() not in threads


def test_keys_are_asked_for_once_each_and_all_at_once():
    names = [f"k{n}._domainkey.{DOMAIN}" for n in range(3)]
    message = HEAD + b"x\r\n"
    for number in (0, 1, 2, 0):
        message = dkim_signed(message, KEY, {"s": f"k{number}"})

    async def scenario():
        gate = asyncio.Event()
        dns = FakeNames(txt={name: [public_record(KEY)] for name in names}, gate=gate)
        task = asyncio.create_task(verify(header_of(message), body_of(message), dns, now=NOW))
        await asyncio.sleep(0)
        asked = list(dns.asked)
        gate.set()
        return asked, await task, dns.asked

    asked, found, all_asked = asyncio.run(scenario())
    assert sorted(asked) == sorted(f"txt {name}" for name in names)
    assert len(all_asked) == 3
    assert [each.result for each in found] == ["pass"] * 4


def test_one_message_does_not_ask_for_all_its_keys_at_once():
    message = HEAD + b"x\r\n"
    for number in range(MAX_SIGNATURES):
        message = dkim_signed(message, KEY, {"s": f"k{number}"})

    async def scenario():
        gate = asyncio.Event()
        dns = FakeNames(gate=gate)
        task = asyncio.create_task(verify(header_of(message), body_of(message), dns, now=NOW))
        await asyncio.sleep(0)
        asked = len(dns.asked)
        gate.set()
        return asked, await task, len(set(dns.asked))

    asked, found, in_all = asyncio.run(scenario())
    assert (asked, len(found), in_all) == (AT_ONCE, MAX_SIGNATURES, MAX_SIGNATURES)


def test_a_cancelled_verification_ends_its_lookups():
    message = dkim_signed(dkim_signed(HEAD, KEY), KEY, {"s": "s2"})

    async def scenario():
        dns = FakeNames(gate=asyncio.Event())
        task = asyncio.create_task(verify(header_of(message), body_of(message), dns, now=NOW))
        await asyncio.sleep(0)
        running = len(asyncio.all_tasks())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        return running, len(asyncio.all_tasks())

    assert asyncio.run(scenario()) == (4, 1)


def test_ten_signatures_are_looked_at():
    message = HEAD + b"x\r\n"
    for _ in range(MAX_SIGNATURES + 2):
        message = dkim_signed(message, KEY)
    assert len(results(message)) == MAX_SIGNATURES


def test_no_signature_no_result():
    dns = FakeNames()
    assert results(HEAD, dns) == ()
    assert dns.asked == []


def test_a_signature_that_can_not_be_valid_costs_no_lookup():
    dns = FakeNames()
    (found,) = results(dkim_signed(HEAD, KEY, {"v": "2"}), dns)
    assert (found.domain, found.selector, dns.asked) == (DOMAIN, "s1", [])


def test_names_that_are_none_are_not_shown():
    (found,) = results(dkim_signed(HEAD, KEY, {"d": "a b", "s": "x y"}))
    assert (found.result, found.domain) == ("neutral", "")


def test_identities_can_not_carry_control_characters():
    (found,) = results(dkim_signed(HEAD, KEY, {"i": "a=0D=0AX=3A=20y@signer.example"}))
    assert found.identity == "@signer.example"


def test_internationalized_domains_are_asked_for_as_a_labels():
    name = "s1._domainkey.xn--bcher-kva.example"
    message = dkim_signed(HEAD, KEY, {"d": "Bücher.example"})
    (found,) = results(message, FakeNames(txt={name: [public_record(KEY)]}))
    assert (found.result, found.domain) == ("pass", "xn--bcher-kva.example")


def test_testing_keys_are_told():
    dns = FakeNames(txt={KEY_NAME: [public_record(KEY, before="v=DKIM1; t=y; ")]})
    (found,) = results(dkim_signed(HEAD, KEY), dns)
    assert (found.result, found.testing) == ("pass", True)


def test_a_pass_with_unsigned_octets_says_so():
    (found,) = results(dkim_signed(HEAD + b"12345", KEY, {"l": "5"}) + b"678\r\n")
    assert (found.result, "last 5 octets" in found.reason) == ("pass", True)


@pytest.mark.parametrize(
    ("above", "names", "said"),
    [
        (b"Subject: free money\r\n", "from:subject:to", "another subject"),
        (b"from : <boss@signer.example>\r\n", "from:subject", "another from"),
        (b"Content-Type: text/html\r\n", "from:subject", ""),
        (b"X-Subject: free money\r\n", "from:subject", ""),
    ],
)
def test_a_pass_with_another_field_above_the_signed_one_says_so(above, names, said):
    """RFC 6376 §8.15."""
    signed = dkim_signed(HEAD + b"body\r\n", KEY, {"h": names})
    (found,) = results(above + signed)
    assert (found.result, found.reason.removesuffix(" stands above the signed one")) == (
        "pass", said,
    )  # fmt: skip
    assert found.speaks is not bool(said)
    (found,) = results(signed)
    assert (found.result, found.reason) == ("pass", "")


def test_names_signed_once_more_than_there_are_fields_let_none_be_added():
    signed = dkim_signed(HEAD + b"body\r\n", KEY, {"h": "from:subject:subject"})
    assert [one.result for one in results(signed)] == ["pass"]
    assert [one.result for one in results(b"Subject: x\r\n" + signed)] == ["fail"]


def test_a_header_section_that_was_not_seen_to_its_end_is_not_judged():
    message = dkim_signed(HEAD, KEY)
    header = type(header_of(message))(header_of(message).fields, len(message), complete=False)
    (found,) = asyncio.run(verify(header, body_of(message), NAMES, now=NOW))
    assert found.result == "neutral"


@given(value=st.binary(max_size=300))
def test_no_value_of_a_stranger_makes_trouble(value):
    value = value.replace(b"\r", b"").replace(b"\n", b"")
    message = b"DKIM-Signature: " + value + b"\r\n" + HEAD
    (found,) = results(message)
    assert found.result != "pass"


@given(record=st.binary(max_size=200), prefix=st.sampled_from([b"", b"v=DKIM1; p=", b"k=rsa; p="]))
def test_no_record_of_a_stranger_makes_trouble(record, prefix):
    (found,) = results(dkim_signed(HEAD, KEY), FakeNames(txt={KEY_NAME: [prefix + record]}))
    assert found.result in ("permerror", "policy")
