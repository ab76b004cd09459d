"""The checks dkim and arc: what they find, and what they leave open."""

import asyncio
from types import SimpleNamespace

import pytest

from tideover.authentication.results import ArcResult, DkimResult
from tideover.config.findings import FINDINGS
from tideover.message.envelope import Client, QueueId, SessionId
from tideover.policy.checks import arc, dkim
from tideover.policy.interface import NOTHING, About, Message, Stage
from tideover.testing.dns import FakeNames
from tideover.testing.signing import (
    KEY_NAME,
    arc_sealed,
    body_of,
    dkim_signed,
    header_of,
    public_record,
    rsa_key,
)

KEY = rsa_key()
BASE = b"From: Anna <anna@signer.example>\r\nSubject: x\r\n\r\nDear Otto\r\n"
NAMES = FakeNames(txt={KEY_NAME: [public_record(KEY)]}, broken=["slow._domainkey.signer.example"])
CLIENT = Client(session=SessionId("s"), address="192.0.2.1", port=1, helo="x", protocol="ESMTP")


def about(message):
    given = None
    if message is not None:
        given = Message(
            queue_id=QueueId("q"), header=header_of(message), body=body_of(message),
            recipients=(), trace=b"",
        )  # fmt: skip
    return About(stage=Stage.MESSAGE, client=CLIENT, now=1.8e9, message=given)


def run(check, message):
    result = asyncio.run(check.make(SimpleNamespace(names=NAMES))(about(message)))
    assert all(found.name in FINDINGS for found in result.found)
    assert sum(map(len, result.evidence.values())) < 400
    return result


def found(result):
    return [each.name for each in result.found]


def test_no_signature():
    result = run(dkim, BASE)
    assert (found(result), result.detail, result.undecided) == (["dkim-none"], (), "")


def test_a_right_signature_is_enough():
    message = dkim_signed(dkim_signed(BASE, KEY), KEY, {"bh": "AAAA"})
    result = run(dkim, dkim_signed(message, KEY, {"s": "slow"}))
    assert (found(result), result.undecided) == ([], "")
    assert [each.result for each in result.detail] == ["temperror", "fail", "pass"]
    assert all(isinstance(each, DkimResult) for each in result.detail)
    assert "pass signer.example" in result.evidence["dkim"]


def test_wrong_ones_only():
    result = run(dkim, dkim_signed(BASE, KEY, {"bh": "AAAA"}))
    assert found(result) == ["dkim-fail"]
    assert "the body was changed" in result.found[0].reason


def test_what_dns_does_not_say_is_undecided():
    message = dkim_signed(dkim_signed(BASE, KEY, {"bh": "AAAA"}), KEY, {"s": "slow"})
    result = run(dkim, message)
    assert (found(result), result.undecided) == ([], "DNS does not answer for the key")
    assert len(result.detail) == 2


def test_many_signatures_are_counted():
    message = BASE
    for _ in range(5):
        message = dkim_signed(message, KEY)
    assert run(dkim, message).evidence["more"] == "2"


def test_evidence_stays_short():
    domain = ".".join(["x" * 60] * 4)
    message = BASE
    for instance in (1, 2, 3, 4, 5):
        tags = {"d": domain}
        message = arc_sealed(dkim_signed(message, KEY, tags), KEY, instance, seal=tags)
    run(dkim, message)
    run(arc, message)


def test_no_chain():
    result = run(arc, BASE)
    assert (found(result), result.detail) == ([], ArcResult(result="none"))


def test_a_right_chain():
    result = run(arc, arc_sealed(arc_sealed(BASE, KEY, 1), KEY, 2))
    assert (found(result), result.detail.result, result.detail.instance) == ([], "pass", 2)
    assert result.evidence["sealers"] == "signer.example signer.example"


def test_a_broken_chain():
    result = run(arc, arc_sealed(BASE, KEY, 1).replace(b"Dear", b"Hello"))
    assert (found(result), result.detail.result) == (["arc-fail"], "fail")
    assert result.found[0].reason == result.detail.reason != ""


def test_a_chain_that_dns_does_not_say_all_of_is_undecided():
    result = run(arc, arc_sealed(BASE, KEY, 1, seal={"s": "slow"}))
    assert (found(result), result.detail.result) == ([], "temperror")
    assert "DNS does not answer" in result.undecided


@pytest.mark.parametrize("check", [dkim, arc])
def test_a_copy_that_can_not_be_read_is_undecided(check):
    class Gone:
        size = 10
        whole = None

        async def read(self):
            raise OSError("gone")
            yield b""

    given = about(arc_sealed(dkim_signed(BASE, KEY), KEY, 1))
    message = Message(
        queue_id=QueueId("q"), header=given.message.header, body=Gone(), recipients=(), trace=b""
    )
    given = About(stage=Stage.MESSAGE, client=CLIENT, now=1.8e9, message=message)
    result = asyncio.run(check.make(SimpleNamespace(names=NAMES))(given))
    assert (result.found, result.detail, "gone" in result.undecided) == ((), None, True)


@pytest.mark.parametrize("check", [dkim, arc])
def test_without_a_message_there_is_nothing(check):
    assert run(check, None) is NOTHING
