"""bounce.decide: every combination of evidence, wish and kind."""

from itertools import product

import pytest

from tideover.bounce.decide import may_report
from tideover.message.dsn import Kind
from tideover.message.envelope import Envelope, Evidence, Recipient

WISHES = [(), ("NEVER",), ("SUCCESS",), ("FAILURE",), ("DELAY",), ("SUCCESS", "FAILURE", "DELAY")]
SENDERS = ["anna@example.net", ""]
EVIDENCE = [None, False, True]

TOLD = {
    Kind.FAILED: {(), ("FAILURE",), WISHES[5]},
    Kind.EXPIRED: {(), ("FAILURE",), WISHES[5]},
    Kind.DELAYED: {(), ("DELAY",), WISHES[5]},
    Kind.RELAYED: {("SUCCESS",), WISHES[5]},
}


@pytest.mark.parametrize(
    ("kind", "notify", "sender", "authenticated"), list(product(Kind, WISHES, SENDERS, EVIDENCE))
)
def test_i7_a_report_needs_a_sender_that_is_authenticated_and_wants_it(
    kind: Kind, notify: tuple[str, ...], sender: str, authenticated: bool | None
) -> None:
    envelope = Envelope(
        sender=sender,
        recipients=(
            Recipient(address="x@example.com", domain="example.com", notify=("NEVER",)),
            Recipient(address="user@example.com", domain="example.com", notify=notify),
        ),
    )
    verdict = may_report(envelope, Evidence(sender_authenticated=authenticated), 1, kind)
    expected = bool(sender) and authenticated is True and notify in TOLD[kind]
    assert verdict.allowed is expected
    assert bool(verdict.reason) is not expected


def test_i7_nothing_but_true_is_proof() -> None:
    envelope = Envelope(
        sender="a@b.example", recipients=(Recipient(address="u@d.example", domain="d.example"),)
    )
    assert not may_report(envelope, Evidence(notes=("spf=pass",)), 0, Kind.FAILED).allowed


def test_i7_the_reason_says_what_was_found_of_the_sender() -> None:
    envelope = Envelope(
        sender="a@b.example", recipients=(Recipient(address="u@d.example", domain="d.example"),)
    )
    evidence = Evidence(sender_authenticated=False, authentication="DMARC of b.example: fail")
    verdict = may_report(envelope, evidence, 0, Kind.FAILED)
    assert verdict.reason == "the sender is not authenticated (DMARC of b.example: fail)"
