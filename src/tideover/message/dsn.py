"""Delivery status notifications: multipart/report with three parts (RFC 3464, RFC 6522, RFC 6533).

Renders bytes from values; decides nothing. What is given as `remark` and `diagnostic` is shown to
a stranger: whoever calls has taken out what must not be told.

Every line ends in CRLF and has at most 998 octets; without an internationalized address, and unless
an 8-bit original is returned in full, all of it is ASCII. No text from outside can end a line.
"""

from collections.abc import Iterator
from enum import StrEnum
from textwrap import wrap
from typing import Final

from msgspec import Struct

from tideover.message.dates import rfc5322_date
from tideover.message.envelope import QueueId
from tideover.message.xtext import decode_orcpt, decode_xtext

MAX_HEADERS: Final = 32 * 1024
"""Octets of the original's header section that are returned."""

_MAX_LINE: Final = 998  # RFC 5322 §2.1.1
_MAX_VALUE: Final = 900
_WIDTH: Final = 76


class Kind(StrEnum):
    """What a report is about. EXPIRED is a failure too: given up after its time in the queue."""

    FAILED = "failed"
    EXPIRED = "expired"
    DELAYED = "delayed"
    RELAYED = "relayed"


class ReportedRecipient(Struct, frozen=True, kw_only=True):
    """One recipient in a report.

    `status` is an enhanced status code (RFC 3463), `remark` a sentence for people, `diagnostic` the
    SMTP reply on which it rests, or None. `orcpt` is as received. Times are Unix seconds.
    """

    address: str
    status: str
    remark: str
    diagnostic: str | None = None
    orcpt: str | None = None
    last_attempt: float | None = None
    retry_until: float | None = None


class Report(Struct, frozen=True, kw_only=True):
    """All that a report says.

    `original` begins the message that it is about; `whole` says that it is all of it, and
    `return_whole` that the sender asked for it back (RET=FULL). `eight_bit`: the original was
    declared BODY=8BITMIME. `envid` is as received, still xtext.
    """

    kind: Kind
    report_id: QueueId
    hostname: str
    sender: str
    date: float
    arrived: float
    recipients: tuple[ReportedRecipient, ...]
    original: bytes
    whole: bool = False
    return_whole: bool = False
    eight_bit: bool = False
    envid: str | None = None


_ACTION: Final = {
    Kind.FAILED: "failed",
    Kind.EXPIRED: "failed",
    Kind.DELAYED: "delayed",
    Kind.RELAYED: "relayed",
}
_SUBJECT: Final = {
    Kind.FAILED: "Your message could not be delivered",
    Kind.EXPIRED: "Your message could not be delivered in time",
    Kind.DELAYED: "Your message is delayed (you need not send it again)",
    Kind.RELAYED: "Your message was passed on",
}
_WHAT_HAPPENED: Final = {
    Kind.FAILED: "could not be delivered to the recipients below. It will not be tried again.",
    Kind.EXPIRED: "could not be delivered to the recipients below in all the time since then. "
    "It will not be tried again.",
    Kind.DELAYED: "has not been delivered yet to the recipients below. It is in safe keeping here "
    "and is still being tried.",
    Kind.RELAYED: "was handed over to the mail server of the recipients below.",
}
_WHAT_TO_DO: Final = {
    Kind.FAILED: "Please check the addresses. If they are right, ask the recipients in another way "
    "to show this report to their postmaster.",
    Kind.EXPIRED: "If it still matters, please send it again later, or tell the recipients in "
    "another way.",
    Kind.DELAYED: "This is only a warning: you need not do anything, and need not send your "
    "message again. Should it be given up, you will be told.",
    Kind.RELAYED: "That server does not report deliveries, so that you may hear no more of it.",
}


def render(report: Report) -> bytes:
    """The report as a message, header section included."""
    returned, returned_whole = _returned(report)
    international = not all(map(str.isascii, _addresses(report)))
    if not international and not returned_whole:
        returned = _ascii(returned)
    boundary = _boundary(report.report_id, returned)
    parts = (
        _text_part(report, returned_whole, international),
        _status_part(report, international),
        _returned_part(returned, returned_whole, international),
    )
    separator = f"--{boundary}\r\n".encode()
    return b"".join(
        (
            _header(report, boundary),
            b"This is a report in MIME format (RFC 3464).\r\n\r\n",
            *(separator + part for part in parts),
            f"--{boundary}--\r\n".encode(),
        )
    )


def _addresses(report: Report) -> Iterator[str]:
    """Every address that the report shows."""
    yield report.sender
    for recipient in report.recipients:
        yield recipient.address
        if recipient.orcpt and (original := decode_orcpt(recipient.orcpt)):
            yield original[1]


def _header(report: Report, boundary: str) -> bytes:
    return (
        f"Date: {rfc5322_date(report.date)}\r\n"
        f"From: Mail Delivery System <MAILER-DAEMON@{report.hostname}>\r\n"
        f"To: <{_printable(report.sender)}>\r\n"
        f"Subject: {_SUBJECT[report.kind]}\r\n"
        f"Message-ID: <{report.report_id}@{report.hostname}>\r\n"
        "Auto-Submitted: auto-replied\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status;\r\n"
        f'\tboundary="{boundary}"\r\n'
        "\r\n"
    ).encode()


def _text_part(report: Report, returned_whole: bool, international: bool) -> bytes:
    """The part for people."""
    lines = [
        f"This is the backup mail server {report.hostname}.",
        "",
        *wrap(
            f"Your message of {rfc5322_date(report.arrived)} {_WHAT_HAPPENED[report.kind]}", _WIDTH
        ),
        "",
    ]
    for recipient in report.recipients:
        lines.append(f"  <{_printable(recipient.address)}>")
        lines += _wrapped(recipient.remark, indent="      ")
        if recipient.diagnostic is not None:
            lines += _wrapped(recipient.diagnostic, indent="      ")
        if recipient.retry_until is not None:
            lines.append(f"      It is tried until {rfc5322_date(recipient.retry_until)}.")
        lines.append("")
    lines += wrap(_WHAT_TO_DO[report.kind], _WIDTH)
    what = "your message" if returned_whole else "the header of your message"
    lines += ["", f"Details for your postmaster, and {what}, are attached.", ""]
    text = "\r\n".join(lines)
    if international:
        charset, encoding = "utf-8", "8bit"
    else:
        charset, encoding = "us-ascii", "7bit"
        text = text.encode("ascii", "replace").decode()
    return (
        f"Content-Type: text/plain; charset={charset}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n{text}\r\n"
    ).encode()


def _status_part(report: Report, international: bool) -> bytes:
    """The part for programs: fields of the message, then of each recipient."""
    groups = [_message_fields(report)]
    groups += [_recipient_fields(report, recipient) for recipient in report.recipients]
    text = "\r\n".join("".join(_field(*pair) for pair in group) for group in groups)
    if international:
        kind, encoding = "global-delivery-status", "8bit"
    else:
        kind, encoding = "delivery-status", "7bit"
        text = text.encode("ascii", "replace").decode()
    return (
        f"Content-Type: message/{kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{text}\r\n"
    ).encode()


def _message_fields(report: Report) -> Iterator[tuple[str, str]]:
    """RFC 3464 §2.2."""
    if report.envid and (envid := decode_xtext(report.envid)) and envid.isascii():
        yield "Original-Envelope-Id", envid
    yield "Reporting-MTA", f"dns; {report.hostname}"
    yield "Arrival-Date", rfc5322_date(report.arrived)


def _recipient_fields(report: Report, recipient: ReportedRecipient) -> Iterator[tuple[str, str]]:
    """RFC 3464 §2.3. Remote-MTA is left out: it would name the primary to strangers."""
    original = decode_orcpt(recipient.orcpt) if recipient.orcpt else None
    if original is not None:
        yield "Original-Recipient", "; ".join(original)
    kind = "rfc822" if recipient.address.isascii() else "utf-8"
    yield "Final-Recipient", f"{kind}; {recipient.address}"
    yield "Action", _ACTION[report.kind]
    yield "Status", recipient.status
    if recipient.diagnostic is not None:
        yield "Diagnostic-Code", f"smtp; {recipient.diagnostic}"
    if recipient.last_attempt is not None:
        yield "Last-Attempt-Date", rfc5322_date(recipient.last_attempt)
    if recipient.retry_until is not None:
        yield "Will-Retry-Until", rfc5322_date(recipient.retry_until)


def _returned_part(returned: bytes, whole: bool, international: bool) -> bytes:
    """The original, or its header."""
    if international:
        kind = "message/global" if whole else "message/global-headers"
    else:
        kind = "message/rfc822" if whole else "text/rfc822-headers"
    encoding = "7bit" if returned.isascii() else "8bit"
    head = f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    # the last line end belongs to the boundary that follows (RFC 2046 §5.1.1)
    return head.encode() + returned + b"\r\n"


def _returned(report: Report) -> tuple[bytes, bool]:
    """What is returned of the original, and whether that is all of it."""
    original = report.original
    if (
        report.return_whole
        and report.whole
        and (report.eight_bit or original.isascii())
        and all(len(line) <= _MAX_LINE for line in original.split(b"\r\n"))
    ):
        return original, True
    end = original.find(b"\r\n\r\n")
    header = original if end < 0 else original[: end + 2]
    if len(header) > MAX_HEADERS or not header.endswith(b"\r\n"):
        last = header.rfind(b"\r\n", 0, MAX_HEADERS)
        header = header[: last + 2] if last >= 0 else header[:MAX_HEADERS]
    lines = (line if len(line) <= _MAX_LINE else _cut(line) for line in header.split(b"\r\n"))
    return b"\r\n".join(lines), False


def _cut(line: bytes) -> bytes:
    """A line within the limit, not ending in the middle of a character."""
    return line[:_MAX_LINE].decode("utf-8", "ignore").encode()


def _ascii(octets: bytes) -> bytes:
    """Without 8-bit octets, each replaced by a question mark."""
    return (
        octets
        if octets.isascii()
        else octets.decode("ascii", "replace").replace("\ufffd", "?").encode()
    )


def _boundary(report_id: QueueId, returned: bytes) -> str:
    """A boundary that doesn't occur in what is returned."""
    boundary, n = f"=_{report_id}", 0
    while boundary.encode() in returned:
        n += 1
        boundary = f"=_{report_id}_{n}"
    return boundary


def _field(name: str, value: str) -> str:
    """A header field, folded where it is long and has spaces."""
    value = _printable(value)[:_MAX_VALUE]
    too_long = len(value.encode()) > _MAX_VALUE
    lines = wrap(f"{name}: {value}", _WIDTH, break_long_words=too_long, break_on_hyphens=False)
    return "\r\n ".join(lines) + "\r\n"


def _wrapped(text: str, *, indent: str) -> list[str]:
    return wrap(
        _printable(text)[:_MAX_VALUE],
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def _printable(text: str) -> str:
    """Text that can't leave its line."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
