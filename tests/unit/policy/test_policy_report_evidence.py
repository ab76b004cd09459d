"""From DNS and a message to the decision whether its sender may be told (I7), for forgers of many
kinds: the checks, the evidence that is stored, and what `bounce.decide` makes of it.
"""

import asyncio
from dataclasses import replace

import pytest
from msgspec import structs
from rcpt_facts import NOW, config, recipient

from forgeries import BOT, FORGED, HELO, KINDS, PROVEN, SILENT, UNPROVEN, message, names
from tideover.bounce.decide import may_report
from tideover.config.policy import Profile
from tideover.message.dsn import Kind
from tideover.message.envelope import Client, Envelope, QueueId, SessionId
from tideover.policy.checks import arc, dkim, dmarc, spf
from tideover.policy.interface import About, Message, Stage
from tideover.policy.marks import Marker, SealedBy
from tideover.policy.services import Services
from tideover.testing.signing import body_of, header_of

TO = recipient()
CHECKS = {"spf": spf, "dkim": dkim, "arc": arc, "dmarc": dmarc}


def judged(kind, *, checks=tuple(CHECKS), dns=None):
    """What is stored with its message, and the envelope."""
    dns = dns or names()
    services = Services(
        config=config(), names=dns, memory=None, is_ours=lambda _: False, emit=print
    )
    text = message(kind)
    given = Message(
        queue_id=QueueId("q"), header=header_of(text), body=body_of(text), recipients=(TO,),
        trace=b"",
    )  # fmt: skip
    sender = kind.reverse_path(1)
    domain = sender.rpartition("@")[2]
    client = Client(
        session=SessionId("s"), address=kind.client, port=1, helo=HELO, protocol="ESMTP"
    )
    results = {}
    about = About(
        stage=Stage.MESSAGE, client=client, now=NOW, sender=sender, results=results, message=given,
        sender_domain="" if domain.startswith("[") else domain, recipients=(TO,),
    )  # fmt: skip

    async def run():
        for name in checks:
            results[name] = await CHECKS[name].make(services)(about)
        marker = Marker(services.config, dns, print)
        return await marker.mark(about, given, (), Profile(), SealedBy())

    evidence = asyncio.run(run()).evidence
    notify = tuple(filter(None, kind.notify.split(",")))
    return evidence, Envelope(sender=sender, recipients=(structs.replace(TO, notify=notify),))


def named(kind):
    return kind.name


@pytest.mark.parametrize("about", [Kind.FAILED, Kind.EXPIRED, Kind.DELAYED])
@pytest.mark.parametrize("kind", FORGED, ids=named)
def test_i7_no_report_to_the_forged(kind, about):
    evidence, envelope = judged(kind)
    assert evidence.sender_authenticated is False
    verdict = may_report(envelope, evidence, 0, about)
    assert not verdict.allowed
    assert kind.why in verdict.reason


@pytest.mark.parametrize("kind", PROVEN, ids=named)
def test_i7_reports_to_the_proven(kind):
    evidence, envelope = judged(kind)
    assert evidence.sender_authenticated is True
    assert kind.why in evidence.authentication
    assert may_report(envelope, evidence, 0, Kind.FAILED).allowed
    assert may_report(envelope, evidence, 0, Kind.DELAYED).allowed


def test_i7_who_is_proven_and_wants_none_gets_none():
    evidence, envelope = judged(SILENT)
    assert evidence.sender_authenticated is True
    assert "NEVER" in may_report(envelope, evidence, 0, Kind.FAILED).reason


@pytest.mark.parametrize("left_out", CHECKS)
@pytest.mark.parametrize("kind", FORGED, ids=named)
def test_i7_a_check_that_is_not_run_proves_nobody(kind, left_out):
    evidence, _ = judged(kind, checks=[name for name in CHECKS if name != left_out])
    assert evidence.sender_authenticated is False


@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_i7_without_dns_nobody_is_proven(kind):
    dns = names()
    dns.broken.add(".")
    evidence, envelope = judged(kind, dns=dns)
    assert evidence.sender_authenticated is False
    assert not may_report(envelope, evidence, 0, Kind.FAILED).allowed


@pytest.mark.parametrize("kind", [kind for kind in PROVEN if kind.signer], ids=named)
def test_i7_a_signature_does_not_prove_another_domain(kind):
    """A valid message, sent on under another reverse path."""
    path = "victim@nospf.example"
    evidence, _ = judged(replace(kind, sender=path, client=BOT))
    assert evidence.sender_authenticated is False
    assert UNPROVEN in evidence.authentication
