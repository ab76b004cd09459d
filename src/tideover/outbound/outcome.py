"""How an attempt ended, for each recipient: one of four."""

from msgspec import Struct

from tideover.smtp.replies import Reply


class Delivered(Struct, frozen=True, tag=True):
    """The next hop took custody. `dsn_passed_on`: it offered DSN, so reporting success is its
    matter now (RFC 3461 §5.2.2).
    """

    reply: Reply
    dsn_passed_on: bool = False


class Deferred(Struct, frozen=True, tag=True):
    """Not now. `reply` is the next hop's 4xx; None means the trouble lies with the connection and
    the destination waits, not the message. `message_specific`: the 4xx was about this message or
    recipient, so it gets a backoff of its own.
    """

    text: str
    reply: Reply | None = None
    message_specific: bool = False


class Refused(Struct, frozen=True, tag=True):
    """Never: a 5xx, or something the primary lacks that this message needs (`reply` is then ours,
    and `ours` is True). `stage` names what it answered, as in `Command`.
    """

    reply: Reply
    ours: bool = False
    stage: str | None = None


class Unknown(Struct, frozen=True, tag=True):
    """The connection was lost after the final dot: it may have been delivered. Tried again and
    recorded as a possible duplicate (RFC 5321 §4.2.5, §6.1; RFC 1047).
    """

    text: str


Outcome = Delivered | Deferred | Refused | Unknown
