"""What becomes of recipients that failed, expired or are late, and the report about them.

Pure: takes the stored message, gives the changes and the report, which the caller settles in one
transaction.

Invariants
    I2: nobody leaves the queue unheard. A recipient becomes BOUNCED only together with a report
    that says so; all others become DEAD, which are kept: also when the sender asked for silence
    (NOTIFY=NEVER), and when there is no sender, as for our own reports.
    I5: changes and report belong into one `Settlement`.
    I7: whether there is a report is the word of `bounce.decide` alone.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from tideover.bounce.decide import may_report
from tideover.bounce.scrub import scrub
from tideover.config.values import domain_of
from tideover.events.delivery_records import Bounced, DeadLettered
from tideover.events.event import Event
from tideover.message.dsn import Kind, Report, ReportedRecipient, render
from tideover.message.envelope import (
    Client,
    Envelope,
    Evidence,
    NewMessage,
    QueueId,
    Recipient,
    SessionId,
)
from tideover.smtp.replies import Reply
from tideover.spool.interface import Change, State, StoredMessage

__all__ = ["Conclusion", "Failure", "Kind", "conclude", "reportable", "told"]

_MAX_TEXT: Final = 300
_REPLY: Final = re.compile(r"[245]\d\d(?: ([245]\.\d{1,3}\.\d{1,3}))?(?: |$)")
_UNROUTABLE: Final = "the sender's address has no domain that a report could go to"
_STATUS: Final = {
    Kind.FAILED: ("5", "5.0.0"),
    Kind.DELAYED: ("4", "4.4.1"),
    Kind.RELAYED: ("2", "2.0.0"),
}
"""The class that a status must have, and the status when the reply gives none of that class."""

_EXPIRED: Final = "4.4.7"  # RFC 3463 §3.5: delivery time expired


class Failure(Struct, frozen=True, kw_only=True):
    """One recipient and what was said about it last.

    `index` is its place in the envelope. `text` is the reply or error as text, "" when there was
    none. `host` is who said it, as `name[address]:port`; None when we ourselves did.
    """

    index: int
    reply: Reply | None
    text: str
    host: str | None


class Conclusion(Struct, frozen=True, kw_only=True):
    """What to settle. `reported` are the indexes of the recipients that the report is about;
    `reason` says why the others are not in it, "" when all are.
    """

    changes: tuple[Change, ...]
    reported: tuple[int, ...] = ()
    report: NewMessage | None = None
    report_body: bytes = b""
    reason: str = ""


def reportable(message: StoredMessage, indexes: Sequence[int], kind: Kind) -> bool:
    """Whether `conclude` would make a report about any of these recipients."""
    return any(not _objection(message, index, kind) for index in indexes)


def conclude(
    message: StoredMessage,
    failures: Sequence[Failure],
    *,
    kind: Kind,
    hostname: str,
    now: float,
    new_id: Callable[[float], QueueId],
    headers: bytes,
    retry_until: float | None = None,
) -> Conclusion:
    """The changes of these recipients and, where it may be sent, the report about them.

    `headers` begins the original: our trace, then the body's first octets. When that is all of it
    and the sender asked for it (RET=FULL), a failure returns it whole. `retry_until` (Unix time) is
    for delays. RELAYED changes nothing: the caller's own changes close these recipients.
    """
    objections = {f.index: _objection(message, f.index, kind) for f in failures}
    reported = [f for f in failures if not objections[f.index]]
    reason = next(filter(None, objections.values()), "")
    changes = tuple(_changes(message, failures, objections, kind))
    if not reported:
        return Conclusion(changes=changes, reason=reason)
    report_id = new_id(now)
    body = render(
        Report(
            kind=kind,
            report_id=report_id,
            hostname=hostname,
            sender=message.envelope.sender,
            date=now,
            arrived=message.received_at,
            recipients=tuple(_reported(message, f, kind, now, retry_until) for f in reported),
            original=headers,
            whole=len(headers) == len(message.trace) + message.size,
            return_whole=message.envelope.ret == "FULL" and kind in (Kind.FAILED, Kind.EXPIRED),
            eight_bit=message.envelope.body == "8BITMIME",
            envid=message.envelope.envid,
        )
    )
    report = _envelope_of(message, report_id, hostname, now, body)
    return Conclusion(
        changes=changes,
        reported=tuple(f.index for f in reported),
        report=report,
        report_body=body,
        reason=reason,
    )


def told(message: StoredMessage, conclusion: Conclusion, kind: Kind, now: float) -> Iterator[Event]:
    """The events of a conclusion that has been settled."""
    rows = message.recipients
    dead = tuple(rows[c.index].address for c in conclusion.changes if c.state is State.DEAD)
    if conclusion.report is not None:
        yield Bounced(
            time=now,
            message=message.queue_id,
            recipients=tuple(rows[index].address for index in conclusion.reported),
            report=conclusion.report.queue_id,
            kind=kind.value,
        )
    if dead:
        yield DeadLettered(
            time=now, message=message.queue_id, recipients=dead, reason=conclusion.reason
        )


def _objection(message: StoredMessage, index: int, kind: Kind) -> str:
    """Why no report can be made about this recipient, or ""."""
    verdict = may_report(message.envelope, message.evidence, index, kind)
    if not verdict.allowed:
        return verdict.reason
    return "" if domain_of(message.envelope.sender) else _UNROUTABLE


def _changes(
    message: StoredMessage, failures: Sequence[Failure], objections: dict[int, str], kind: Kind
) -> Iterator[Change]:
    if kind is Kind.RELAYED:
        return
    for failure in failures:
        index, objection = failure.index, objections[failure.index]
        if kind is Kind.DELAYED:
            state = message.recipients[index].state
            yield Change(index=index, state=state, delay_notified=True, counted=False)
            continue
        what = failure.text if kind is Kind.FAILED else "not delivered within its lifetime"
        yield Change(
            index=index,
            state=State.DEAD if objection else State.BOUNCED,
            reply=failure.text if kind is Kind.FAILED else None,
            host=failure.host if kind is Kind.FAILED else None,
            reason=f"{what[:_MAX_TEXT]}; no report: {objection}" if objection else None,
            counted=kind is Kind.FAILED,
        )


def _reported(
    message: StoredMessage, failure: Failure, kind: Kind, now: float, retry_until: float | None
) -> ReportedRecipient:
    row = message.recipients[failure.index]
    reply = _REPLY.match(failure.text)
    hosts = {failure.host or "", row.last_host or ""}
    diagnostic = None
    if kind is not Kind.RELAYED and reply:
        diagnostic = scrub(failure.text, hosts, keep={row.domain, domain_of(row.address) or ""})
    if kind is Kind.FAILED:
        last_attempt: float | None = now
    else:
        last_attempt = row.changed_at if row.attempts else None
    return ReportedRecipient(
        address=row.address,
        orcpt=message.envelope.recipients[failure.index].orcpt,
        status=_status(kind, reply[1] if reply else None),
        remark=_remark(kind, failure, diagnostic),
        diagnostic=diagnostic,
        last_attempt=None if kind is Kind.RELAYED else last_attempt,
        retry_until=retry_until if kind is Kind.DELAYED else None,
    )


def _status(kind: Kind, enhanced: str | None) -> str:
    if kind is Kind.EXPIRED:
        return _EXPIRED
    of_class, default = _STATUS[kind]
    return enhanced if enhanced and enhanced[0] == of_class else default


def _remark(kind: Kind, failure: Failure, diagnostic: str | None) -> str:
    """The sentence for people, which the diagnostic follows if there is one."""
    if kind is Kind.RELAYED:
        return "Passed on to the recipient's mail server."
    if kind is Kind.FAILED and failure.host is None:
        return "It cannot be passed on to the recipient's mail server:"
    if kind is Kind.FAILED:
        return "The recipient's mail server refused it:"
    if diagnostic is None:
        return "The recipient's mail server could not be reached."
    return "The recipient's mail server answered last:"


def _envelope_of(
    message: StoredMessage, report_id: QueueId, hostname: str, now: float, body: bytes
) -> NewMessage:
    """The report as a message to queue: from the null sender to the original one (RFC 3464 §2)."""
    sender = message.envelope.sender
    return NewMessage(
        queue_id=report_id,
        received_at=now,
        envelope=Envelope(
            sender="",
            recipients=(Recipient(address=sender, domain=domain_of(sender) or ""),),
            body=None if body.isascii() else "8BITMIME",
            smtputf8=not sender.isascii(),
        ),
        client=Client(session=SessionId(""), address="", port=0, helo=hostname, protocol="bounce"),
        trace=b"",
        evidence=Evidence(notes=(f"dsn of {message.queue_id}",)),
    )
