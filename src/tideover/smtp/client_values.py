"""What goes into a `ClientSession` and what comes out of it: values only."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from tideover.smtp.capabilities import Capabilities
from tideover.smtp.replies import Reply


class Command(IntEnum):
    """What a reply answers. GREETING answers the connection itself, BODY the end of data (of DATA,
    or of the last BDAT), BDAT a chunk that is not the last.
    """

    GREETING = 0
    EHLO = 1
    HELO = 2
    STARTTLS = 3
    MAIL = 4
    RCPT = 5
    DATA = 6
    BODY = 7
    RSET = 8
    QUIT = 9
    NOOP = 10
    XCLIENT = 11
    XFORWARD = 12
    BDAT = 13


class Addressee(Protocol):
    """One recipient, with its DSN parameters (RFC 3461 §4.1, §4.2)."""

    @property
    def address(self) -> str:
        """The mailbox, without angle brackets."""

    @property
    def notify(self) -> tuple[str, ...]:
        """Upper-case keywords of NOTIFY; empty when the client gave none."""

    @property
    def orcpt(self) -> str | None:
        """The value of ORCPT, in xtext."""


@dataclass(frozen=True, slots=True)
class Mail:
    """One transaction. `size` is what will be sent, in octets, before dot-stuffing.

    `sender` is "" for the null reverse path; `body`, `ret` and `envid` are as in the envelope.
    `whole_lines` says that the message ends with CRLF; only BDAT can express one that doesn't.
    """

    sender: str
    recipients: Sequence[Addressee]
    size: int
    body: str | None = None
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None
    whole_lines: bool = True


# What a transaction led to, for each recipient


@dataclass(frozen=True, slots=True)
class Taken:
    """The server took custody: its 2xx to the end of data."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Declined:
    """A 4xx or 5xx, to this recipient or to the whole transaction (`command` says which)."""

    reply: Reply
    command: Command


@dataclass(frozen=True, slots=True)
class Postponed:
    """Too many recipients for one transaction; this one was not judged (RFC 5321 §4.5.3.1.10).

    There is always another recipient that was accepted, so that a client which tries the rest again
    at once comes to an end.
    """

    reply: Reply


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection ended before a verdict.

    `after_dot`: all of the body and its end had been handed over, so it may have been delivered
    (RFC 5321 §6.1).
    """

    text: str
    after_dot: bool


Verdict = Taken | Declined | Postponed | Lost


@dataclass(frozen=True, slots=True)
class Welcome:
    """The 2xx to a RCPT that only asked: mail for this recipient would be taken."""

    reply: Reply


# Events


@dataclass(frozen=True, slots=True)
class Ready:
    """The server has introduced itself, and a transaction may begin (or STARTTLS)."""

    capabilities: Capabilities


@dataclass(frozen=True, slots=True)
class TlsGoAhead:
    """Do the TLS handshake now, then call `tls_established`."""


@dataclass(frozen=True, slots=True)
class TlsRefused:
    """The server offered STARTTLS but declined it. The session goes on in clear."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class SendBody:
    """The server waits for the body: give it to `send_body`."""


@dataclass(frozen=True, slots=True)
class TransactionEnded:
    """A verdict for each recipient, in the order of `Mail.recipients`."""

    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class InquiryEnded:
    """What became of `ClientSession.inquire`."""

    verdict: Welcome | Verdict


@dataclass(frozen=True, slots=True)
class Replied:
    """The answer to one command by hand, or to a body by hand."""

    command: Command
    reply: Reply


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """Nothing more can be sent; close the connection.

    `reply` is the server's last word if that is the reason; `expected`: we said QUIT before.
    """

    text: str
    reply: Reply | None = None
    expected: bool = False


ClientEvent = (
    Ready
    | TlsGoAhead
    | TlsRefused
    | SendBody
    | TransactionEnded
    | InquiryEnded
    | Replied
    | SessionEnded
)
