"""The header section as a whole, and the loops that it tells of."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from rcpt_facts import about, at_once, config, names

from tideover.message.envelope import QueueId
from tideover.message.fields import parse_header
from tideover.policy.body import Copies
from tideover.policy.checks import header, loop
from tideover.policy.interface import NOTHING, Message, Stage, Verb

GOOD = b"From: a@example.net\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n"
HOP = b"Received: from a by relay%d.example.net (x by mx2.example.org) with SMTP;\r\n\tdate\r\n"
OURS = b"Received: from a (a [192.0.2.1])\r\n\tby mx2.example.org with ESMTP\r\n\tid 1; date\r\n"


CHECK = header.make(SimpleNamespace(config=config()))


def message(head, *, whole=True):
    parsed = parse_header(head, whole=whole)
    body = Copies(Path("/nonexistent")).new()
    body.write(head)
    return about(stage=Stage.MESSAGE, message=Message(
        queue_id=QueueId("q"), header=parsed, body=body, recipients=(), trace=b"",
    ))  # fmt: skip


def looked(fields, **more):
    facts = message(fields + b"\r\nbody\r\n")
    for name, value in more.items():
        facts = facts.__class__(**{**{f: getattr(facts, f) for f in facts.__struct_fields__},
                                   name: value})  # fmt: skip
    return names(at_once(CHECK(facts)))


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        (GOOD, []),
        (GOOD + b"X: tab\t and\r\n folded\r\n", []),
        (b"", ["header-no-from", "header-no-date"]),
        (GOOD + b"from : b@example.net\r\n", ["header-several-from"]),
        (GOOD + b"no field at all\r\n", ["header-broken"]),
        (GOOD + b"Subject: a\x00b\r\n", ["header-control"]),
        (GOOD + b"Subject: a\x1bb\r\n", ["header-control"]),
        (GOOD + b"Subject: a\x7fb\r\n", ["header-control"]),
        (GOOD + "Subject: grüße\r\n".encode(), ["header-8bit"]),
        (GOOD + b"X: y\r\n" * 998, []),
        (GOOD + b"X: y\r\n" * 999, ["header-too-large"]),
        (b"X: y\r\n" * 2000, ["header-too-large"]),
        (GOOD + b"X: " + b"y" * 262_144 + b"\r\n", ["header-too-large"]),
    ],
    ids=range(13),
)
def test_what_is_wrong_with_a_header_section(fields, found):
    assert looked(fields) == found


def broken(head):
    """The action and reason of a header that is broken."""
    found = at_once(CHECK(message(head))).found[0]
    assert found.name == "header-broken"
    return found.action, found.reason


FORGED = b"Authentication-Results: mx2.example.org; dmarc=pass header.from=bank.example\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b" ; dmarc=pass header.from=bank.example\r\n" + GOOD,
        b"\t\r\n" + GOOD,
        GOOD + b"no field\r\n" + FORGED,
        GOOD + b"no field\r\n" + FORGED.replace(b": mx2", b" :\r\n (x) mx2"),
        b"Authentication-Results\0: mx2.example.org; dmarc=pass\r\n" + GOOD,
    ],
)
def test_false_results_of_ours_can_not_come_with_a_broken_header(head):
    assert broken(head + b"\r\nbody\r\n")[0] is Verb.REJECT


@pytest.mark.parametrize(
    "head",
    [
        GOOD + b"no field\r\n\r\n" + FORGED,
        GOOD + b"no field\r\n" + FORGED.replace(b"mx2.", b"other."),
        FORGED + GOOD + b"no field\r\n",
        b"From joe Sat Nov 21 10:00:00 2026\r\n" + GOOD,
        b"no header at all\r\n" + b"x" * 70 + b"\r\n \r\n",
    ],
)
def test_other_broken_headers_only_score(head):
    action, reason = broken(head + b"\r\nbody\r\n")
    assert action is None
    assert reason.startswith("after ")


def test_a_broken_header_without_end_is_too_large():
    lines = b"no field\r\n" + b"X: y\r\n" * 50_000
    assert looked(lines)[0] == "header-too-large"
    assert looked(lines[:200_000])[0] == "header-broken"


def test_8bit_is_fine_with_smtputf8():
    assert looked(GOOD + "Subject: grüße\r\n".encode(), smtputf8=True) == []


def test_a_section_that_was_not_seen_to_its_end_is_too_large():
    assert names(at_once(CHECK(message(GOOD, whole=False)))) == ["header-too-large"]


def test_before_there_is_a_message_there_is_nothing_to_say():
    assert at_once(CHECK(about())) == NOTHING
    assert hops(None) == NOTHING


def hops(fields):
    check = loop.make(SimpleNamespace(config=config()))
    return at_once(check(about() if fields is None else message(fields + b"\r\n")))


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        (b"".join(HOP % n for n in range(101)), []),
        (OURS * 2, []),
        (OURS * 3, ["loop-ours"]),
        (OURS.replace(b"mx2", b"MX2") * 3, ["loop-ours"]),
        (OURS.replace(b"mx2", b"xmx2") * 3, []),
        (OURS.replace(b".org", b".org.evil.example") * 3, []),
        (b"Received: by mx2.example.org; date\r\n" * 3, ["loop-ours"]),
        (b"X-Received: by mx2.example.org; date\r\n" * 200, []),
    ],
    ids=range(8),
)
def test_loops(fields, found):
    assert names(hops(fields)) == found


def test_the_number_of_hops_is_evidence():
    assert hops(OURS * 2).evidence == {"hops": "2"}
