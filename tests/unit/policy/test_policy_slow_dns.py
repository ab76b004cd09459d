"""A forger whose own DNS is slow, though it answers, must not use up the time in which DMARC of the
domain that he forges is found.
"""

import asyncio

import msgspec
import pytest
from dns_asked import about, found, services

from tideover.authentication import dmarc as evaluation
from tideover.authentication import spf_evaluation
from tideover.authentication.arc import validate
from tideover.authentication.results import SpfResult
from tideover.authentication.spf import check_host
from tideover.config.policy import Policy
from tideover.dns.resolver import DnsUnavailable
from tideover.message.envelope import QueueId
from tideover.message.fields import parse_header
from tideover.policy.body import Copies
from tideover.policy.checks import arc, dkim, dmarc
from tideover.policy.interface import Entry, Message, Result, Stage
from tideover.policy.round import Round
from tideover.testing.dns import FakeNames

SLOW = 0.16  # of each answer: a little less than the resolver would wait
TIME = 1.2  # for the message
PATIENCE = 0.24

FORGED = "From: Anna <anna@bank.example>"
AUTHORS = ", ".join(f"x@{n}.b.c.d.e.f.evil.example" for n in range(3))
TRUSTED = "forwarder.example"
KEYS = [f"k{n}.evil.example" for n in range(50)]
DEAD = [f"k{n}.hangs.evil.example" for n in range(49)]


class Slow(FakeNames):
    """Takes its time for names of evil.example, and then has no answer below hangs.evil.example."""

    async def txt(self, name):
        if name.endswith(".evil.example"):
            await asyncio.sleep(SLOW)
        if name.endswith("hangs.evil.example"):
            raise DnsUnavailable("no answer")
        return await super().txt(name)


def chain(sealers):
    """ARC sets that look whole, the newest on top; `sealers` from the oldest."""
    lines = []
    for number, domain in enumerate(sealers, 1):
        state = "pass" if number > 1 else "none"
        at = f"i={number}"
        signed = "a=rsa-sha256; d=m.hangs.evil.example; s=s; h=from; bh=YWJj; b=YWJj"
        said = "dmarc=pass header.from=bank.example"
        lines[:0] = [
            f"ARC-Seal: {at}; a=rsa-sha256; cv={state}; d={domain}; s=s; b=YWJj",
            f"ARC-Message-Signature: {at}; {signed}",
            f"ARC-Authentication-Results: {at}; {domain}; {said}",
        ]
    return lines


async def judged(lines, directory):
    text = ("\r\n".join(lines) + "\r\n\r\nHello\r\n").encode()
    body = Copies(directory).new()
    assert body.write(text) is None
    message = Message(
        queue_id=QueueId("q"), header=parse_header(text, whole=True), body=body, recipients=(),
        trace=b"",
    )  # fmt: skip
    spf = SpfResult(result="pass", domain="evil.example")
    facts = msgspec.structs.replace(
        about(Stage.MESSAGE, sender="x@evil.example", results={"spf": Result(detail=(spf,))}),
        message=message,
    )
    names = Slow(txt={"_dmarc.bank.example": ["v=DMARC1; p=reject"]})
    made = services(names, policy=Policy(trusted_sealers=(TRUSTED,)))
    stages = (Stage.MESSAGE,)
    entries = [
        Entry(name="dkim", stages=stages, run=dkim.make(made)),
        Entry(name="arc", stages=stages, run=arc.make(made)),
        Entry(name="dmarc", stages=stages, run=dmarc.make(made), needs=("dkim", "arc")),
    ]
    one = Round(entries, facts, timeout=TIME, emit=print)
    await one.settled()
    return found(one.results["dmarc"])


@pytest.mark.parametrize(
    "lines",
    [
        [*chain(KEYS), FORGED],
        [*chain([*DEAD, TRUSTED]), FORGED],
        [f"{FORGED}, {AUTHORS}"],
        [f"From: {AUTHORS}, anna@bank.example"],
        [*chain(KEYS), f"{FORGED}, {AUTHORS}"],
    ],
    ids=["chain", "chain with a trusted name", "authors behind", "authors before", "both"],
)
def test_slow_dns_of_a_forger_hides_no_policy(lines, tmp_path, monkeypatch):
    monkeypatch.setattr(validate, "PATIENCE", PATIENCE)
    monkeypatch.setattr(evaluation, "PATIENCE", PATIENCE)
    assert asyncio.run(judged(lines, tmp_path)) == "dmarc-reject"


def test_slow_dns_of_a_client_hides_no_spf_fail(monkeypatch):
    class SlowClient(FakeNames):
        async def ptr(self, address):
            await asyncio.sleep(SLOW)
            return tuple(f"h{n}.evil.example" for n in range(10))

        async def a(self, name):
            await asyncio.sleep(SLOW)
            return ()

    async def judged():
        async with asyncio.timeout(TIME):
            return await check_host(
                address="192.0.2.1", sender="anna@bank.example", helo="c.evil.example",
                names=SlowClient(txt={"bank.example": ["v=spf1 ptr -all"]}), scope="mfrom",
                receiver="mx2.example.org", now=0.0,
            )  # fmt: skip

    monkeypatch.setattr(spf_evaluation, "PATIENCE", PATIENCE)
    assert asyncio.run(judged()).result == "fail"
