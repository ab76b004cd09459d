"""What a server session reports. Each event says which answer the session then waits for."""

from dataclasses import dataclass
from enum import Enum

from tideover.smtp.address import Mailbox
from tideover.smtp.parameters import MailParameters, RcptParameters
from tideover.smtp.replies import Reply


class Signal(Enum):
    """Not events: why there is none now."""

    NEED_DATA = "need-data"  # feed receive_data
    PAUSED = "paused"  # answer the last event first


@dataclass(frozen=True, slots=True)
class Hello:
    """EHLO or HELO. Answer: `accept()` or `reply()`."""

    name: str
    extended: bool


@dataclass(frozen=True, slots=True)
class MailFrom:
    """MAIL; `sender` is None for the null reverse path. Answer: `accept()` or `reply()`."""

    sender: Mailbox | None
    parameters: MailParameters


@dataclass(frozen=True, slots=True)
class RcptTo:
    """RCPT. Answer: `accept()` or `reply()`."""

    recipient: Mailbox
    parameters: RcptParameters


@dataclass(frozen=True, slots=True)
class BodyStart:
    """DATA or the first BDAT. Answer: `accept()` or `reply()`."""

    chunking: bool


@dataclass(frozen=True, slots=True)
class BodyChunk:
    """A piece of the body, dots unstuffed, never splitting a CRLF at its end. No answer."""

    data: bytes


@dataclass(frozen=True, slots=True)
class BodyEnd:
    """The body is complete. Answer: `accept_message()` or `reply()`."""

    size: int


@dataclass(frozen=True, slots=True)
class BodyRejected:
    """The core refuses this body and sends `reply` where the body ends. No answer."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class CommandRejected:
    """The core refused a MAIL or RCPT by itself. No answer; for the log."""

    verb: str
    argument: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class Reset:
    """The transaction was given up (RSET, EHLO). No answer."""


@dataclass(frozen=True, slots=True)
class StartTls:
    """STARTTLS. Answer: `accept()`, then `tls_established()` or close; or `reply()`."""


@dataclass(frozen=True, slots=True)
class Closing:
    """The session is over: send what `data_to_send` gives and close. `reason` is a keyword."""

    reason: str


Event = (
    Hello
    | MailFrom
    | RcptTo
    | BodyStart
    | BodyChunk
    | BodyEnd
    | BodyRejected
    | CommandRejected
    | Reset
    | StartTls
    | Closing
)
