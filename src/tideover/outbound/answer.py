"""Which replies of a primary are its word to the client, and how they are handed on. Pure.

Its word is what concerns the client, the message or a mailbox: greylisting, a quota, a rate, a
policy. What tells of trouble of its own is none: the message then goes on as in an outage, which
asks nothing of the sender.
"""

from typing import Final

from tideover.smtp.client_values import Command
from tideover.smtp.replies import MAX_TEXT, Reply

MAX_LINES: Final = 10
"""Lines of a reply that are handed on."""

QUARRELS: Final = frozenset((500, 502, 503))
"""Command unknown, not implemented, out of order: between it and us."""
_OUR_FAULT: Final = QUARRELS | {530}
"""And TLS or a password wanted."""


def is_verdict(
    reply: Reply, command: Command, *, accepted: int = 0, about_client: bool = False
) -> bool:
    """Whether a reply to `command` is the primary's word to the client.

    `accepted`: recipients that it took before in this transaction. `about_client`: a 421 for
    reasons of policy is about this client, since the primary knows who it is, or was provoked.
    """
    if reply.code == 421:  # RFC 5321 §3.8: it closes, for whatever reason
        return about_client and _subject(reply) == "7"
    if reply.permanent:
        return reply.code not in _OUR_FAULT
    if reply.temporary:
        if reply.enhanced is None:
            # Exim says that there are too many recipients with a bare 452 (RFC 5321 §4.5.3.1.10).
            too_many = command is Command.RCPT and accepted > 0 and reply.code == 452
            return too_many or reply.code not in (451, 452)
        return _subject(reply) not in ("3", "4")
    if command is Command.DATA:
        return reply.code == 354
    return reply.code < 300


def no_service(reply: Reply) -> bool:
    """Whether a reply says that the host gives nobody service now."""
    return reply.code == 421 or reply.enhanced == "4.3.2"


def is_tired(reply: Reply | None) -> bool:
    """Whether a server's last word is that the client was silent for too long (RFC 3463 §3.5), as
    Postfix says it: that is no sign of an outage.
    """
    return reply is not None and reply.code == 421 and reply.enhanced == "4.4.2"


def presentable(reply: Reply, *, utf8: bool) -> Reply:
    """A reply as our client may be told it: bounded, and true on a connection that stays open.
    `utf8`: the client asked for SMTPUTF8 (RFC 6531 §3.5); others are told ASCII only.

    The parser has taken control characters out already.
    """
    code = 451 if reply.code == 421 else reply.code
    lines = tuple(_cut(line, utf8=utf8) for line in reply.lines[:MAX_LINES])
    if code == reply.code and lines == reply.lines:
        return reply
    return Reply(code, reply.enhanced, lines or ("",))


def _cut(line: str, *, utf8: bool) -> str:
    if line.isascii():
        return line[:MAX_TEXT]
    if not utf8:
        return line[:MAX_TEXT].encode("ascii", "replace").decode("ascii")
    return line.encode()[:MAX_TEXT].decode("utf-8", "ignore")  # the limit is one of octets


def _subject(reply: Reply) -> str:
    """The second part of the enhanced code (RFC 3463 §2), "" without one."""
    return reply.enhanced.split(".")[1] if reply.enhanced else ""
