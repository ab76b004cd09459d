"""bounce.conclude: where recipients go, and what is said to whom."""

import email

import pytest
from msgspec.structs import replace

from tideover.bounce.conclude import Conclusion, Failure, Kind, conclude, reportable, told
from tideover.events.delivery_records import Bounced, DeadLettered
from tideover.message.envelope import (
    Client,
    Envelope,
    Evidence,
    QueueId,
    Recipient,
    SessionId,
)
from tideover.smtp.replies import reply
from tideover.spool.interface import RecipientRow, State, StoredMessage

NOW = 1_795_600_000.0
HOST = "p.example.com[192.0.2.7]:25"
NO_USER = reply(550, "5.1.1", "p.example.com says: no such user (192.0.2.7)")
TRACE = b"Received: by mx2.example.org\r\n"
BODY = b"Subject: x\r\n\r\nHello\r\n"


def message(
    *notify: tuple[str, ...],
    sender: str = "anna@example.net",
    authenticated: bool | None = True,
    ret: str | None = None,
) -> StoredMessage:
    """A message with a recipient for each NOTIFY."""
    recipients = tuple(
        Recipient(address=f"user{n}@example.com", domain="example.com", notify=wish)
        for n, wish in enumerate(notify or ((),))
    )
    return StoredMessage(
        queue_id=QueueId("0ORIGINAL0"),
        received_at=NOW - 3600,
        size=len(BODY),
        envelope=Envelope(sender=sender, recipients=recipients, ret=ret),
        client=Client(
            session=SessionId("s"), address="192.0.2.1", port=1, helo="c", protocol="ESMTP"
        ),
        evidence=Evidence(sender_authenticated=authenticated),
        trace=TRACE,
        recipients=tuple(
            RecipientRow(index=n, address=r.address, domain=r.domain, state=State.LEASED)
            for n, r in enumerate(recipients)
        ),
    )


def run(
    about: StoredMessage, kind: Kind = Kind.FAILED, failure: Failure | None = None
) -> Conclusion:
    failures = [
        replace(failure, index=row.index)
        if failure
        else Failure(index=row.index, reply=NO_USER, text=str(NO_USER), host=HOST)
        for row in about.recipients
    ]
    return conclude(
        about,
        failures,
        kind=kind,
        hostname="mx2.example.org",
        now=NOW,
        new_id=lambda _: QueueId("0REPORT000"),
        headers=TRACE + BODY,
    )


def test_i5_a_reported_failure_is_bounced_with_its_report() -> None:
    about = message()
    conclusion = run(about)
    (change,) = conclusion.changes
    assert (change.state, change.counted, change.host) == (State.BOUNCED, True, HOST)
    assert change.reply == str(NO_USER)
    assert conclusion.reason == ""
    report = conclusion.report
    assert report is not None
    assert report.queue_id == "0REPORT000"
    assert report.envelope == Envelope(
        sender="",
        recipients=(Recipient(address="anna@example.net", domain="example.net"),),
    )
    assert report.evidence == Evidence(notes=("dsn of 0ORIGINAL0",))
    assert report.trace == b""
    assert conclusion.report_body.startswith(b"Date: ")


def test_no_report_names_the_primary() -> None:
    for kind in Kind:
        body = run(message(("SUCCESS", "FAILURE", "DELAY")), kind).report_body
        assert body
        assert b"p.example.com" not in body
        assert b"192.0.2.7" not in body
        assert b"Remote-MTA" not in body


@pytest.mark.parametrize(
    ("about", "why"),
    [
        (message(authenticated=None), "not authenticated"),
        (message(authenticated=False), "not authenticated"),
        (message(sender=""), "null sender"),
        (message(("NEVER",)), "NOTIFY=NEVER"),
        (message(("DELAY",)), "NOTIFY=DELAY"),
        (message(sender="anna@[192.0.2.1]"), "no domain"),
        (message(sender="anna"), "no domain"),
        (message(sender="anna@-.example"), "no domain"),
    ],
)
@pytest.mark.parametrize("kind", [Kind.FAILED, Kind.EXPIRED])
def test_i2_i7_without_a_report_a_recipient_is_dead_not_gone(
    about: StoredMessage, why: str, kind: Kind
) -> None:
    conclusion = run(about, kind)
    (change,) = conclusion.changes
    assert change.state is State.DEAD
    assert why in (change.reason or "")
    assert why in conclusion.reason
    assert conclusion.report is None
    assert conclusion.report_body == b""
    assert not reportable(about, [0], kind)


def test_i2_each_recipient_goes_its_own_way() -> None:
    about = message((), ("NEVER",), ("FAILURE",))
    conclusion = run(about)
    assert [c.state for c in conclusion.changes] == [State.BOUNCED, State.DEAD, State.BOUNCED]
    assert conclusion.reported == (0, 2)
    assert b"user1@" not in conclusion.report_body
    assert reportable(about, [0, 1], Kind.FAILED)
    assert not reportable(about, [1], Kind.FAILED)
    bounced, dead = told(about, conclusion, Kind.FAILED, NOW)
    assert isinstance(bounced, Bounced)
    assert isinstance(dead, DeadLettered)
    assert bounced.recipients == ("user0@example.com", "user2@example.com")
    assert (bounced.report, bounced.kind) == ("0REPORT000", "failed")
    assert dead.recipients == ("user1@example.com",)
    assert "NEVER" in dead.reason


def test_a_long_reply_leaves_room_for_the_reason() -> None:
    long = Failure(index=0, reply=None, text="550 " + "x" * 1000, host=HOST)
    (change,) = run(message(authenticated=None), failure=long).changes
    assert (change.reason or "").endswith("not authenticated")
    assert len(change.reason or "") < 500


def test_i7_dead_letters_tell_why_the_sender_is_not_authenticated() -> None:
    why = "neither SPF nor DKIM proves that example.net sent it"
    evidence = Evidence(sender_authenticated=False, authentication=why)
    (change,) = run(replace(message(), evidence=evidence)).changes
    assert (change.reason or "").endswith(f"the sender is not authenticated ({why})")


def test_expiry_counts_no_attempt_and_keeps_the_last_reply() -> None:
    (change,) = run(message(), Kind.EXPIRED).changes
    assert (change.state, change.counted, change.reply) == (State.BOUNCED, False, None)


def test_a_delay_changes_only_that_it_was_noted() -> None:
    for about, reported in [(message(), True), (message(authenticated=None), False)]:
        conclusion = run(about, Kind.DELAYED)
        (change,) = conclusion.changes
        assert (change.state, change.delay_notified) == (State.LEASED, True)
        assert (conclusion.report is not None) is reported
        assert len(list(told(about, conclusion, Kind.DELAYED, NOW))) == reported


def test_relayed_changes_nothing() -> None:
    conclusion = run(message(("SUCCESS",)), Kind.RELAYED)
    assert conclusion.changes == ()
    assert b"Action: relayed" in conclusion.report_body
    assert run(message(), Kind.RELAYED) == Conclusion(
        changes=(), reason="the sender did not ask for reports of success"
    )


@pytest.mark.parametrize(
    ("kind", "text", "status", "diagnostic"),
    [
        (Kind.FAILED, "550 5.7.1 No", "5.7.1", "smtp; 550 5.7.1 No"),
        (Kind.FAILED, "550 No", "5.0.0", "smtp; 550 No"),
        (Kind.FAILED, "550 4.7.1 Confused", "5.0.0", "smtp; 550 4.7.1 Confused"),
        (Kind.EXPIRED, "450 4.2.1 Busy", "4.4.7", "smtp; 450 4.2.1 Busy"),
        (Kind.EXPIRED, "connection refused", "4.4.7", None),
        (Kind.EXPIRED, "", "4.4.7", None),
        (Kind.DELAYED, "450 4.2.1 Busy", "4.2.1", "smtp; 450 4.2.1 Busy"),
        (Kind.DELAYED, "connect to p.example.com: timed out", "4.4.1", None),
        (Kind.RELAYED, "250 2.0.0 Ok: queued as 123", "2.0.0", None),
    ],
)
def test_status_and_diagnostic(kind: Kind, text: str, status: str, diagnostic: str | None) -> None:
    about = message(("SUCCESS", "FAILURE", "DELAY"))
    failure = Failure(index=0, reply=None, text=text, host=HOST)
    report = email.message_from_bytes(run(about, kind, failure).report_body)
    fields = report.get_payload(1).get_payload(1)  # type: ignore[union-attr]
    assert fields["Status"] == status
    assert fields["Diagnostic-Code"] == diagnostic


def test_what_we_refuse_ourselves_is_not_blamed_on_the_primary() -> None:
    ours = Failure(index=0, reply=NO_USER, text="550 5.6.7 Needs SMTPUTF8", host=None)
    body = run(message(), failure=ours).report_body
    assert b"It cannot be passed on" in body
    assert b"refused it" not in body


def test_ret_full_returns_a_small_original_for_failures_only() -> None:
    about = message(("FAILURE", "DELAY"), ret="FULL")
    assert b"Hello" in run(about).report_body
    assert b"Hello" in run(about, Kind.EXPIRED).report_body
    assert b"Hello" not in run(about, Kind.DELAYED).report_body
    assert b"Hello" not in run(replace(about, size=10**6)).report_body
    assert b"Hello" not in run(message(ret="HDRS")).report_body
    assert b"Hello" not in run(message()).report_body


def test_a_report_to_an_international_sender_asks_for_what_it_needs() -> None:
    report = run(message(sender="änna@bücher.example")).report
    assert report is not None
    assert report.envelope.smtputf8
    assert report.envelope.body == "8BITMIME"
    assert report.envelope.recipients == (
        Recipient(address="änna@bücher.example", domain="xn--bcher-kva.example"),
    )


def test_a_sender_with_a_quoted_at_sign_is_routed_by_its_domain() -> None:
    report = run(message(sender='"a@other.org"@Example.NET')).report
    assert report is not None
    assert report.envelope.recipients[0].domain == "example.net"
