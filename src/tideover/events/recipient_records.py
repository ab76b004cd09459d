"""Happenings with recipients: sources, honeypots, what is learned of addresses, feeds."""

from typing import ClassVar

from tideover.events.event import Event


class RecipientsLoaded(Event, frozen=True, kw_only=True):
    """A recipient source was read. `domain` is "" when several use it; `mistakes` are the first
    malformed lines, which were left out, and `bad` counts all of them.
    """

    domain: str
    source: str
    addresses: int
    mistakes: tuple[str, ...] = ()
    bad: int = 0


class RecipientsFailed(Event, frozen=True, kw_only=True):
    """A recipient source can't be read; the last good list stays (or none was ever read)."""

    level: ClassVar[str] = "error"
    domain: str
    source: str
    reason: str


class HoneypotHit(Event, frozen=True, kw_only=True):
    """A client named a honeypot as a recipient; `source` says that it is one."""

    session: str
    client: str
    sender: str
    recipient: str
    source: str


class MessageSwallowed(Event, frozen=True, kw_only=True):
    """A message was for honeypots alone, and the operator has such mail swallowed: the client was
    told 250, and nothing is kept.
    """

    session: str
    client: str
    message: str
    sender: str
    recipients: tuple[str, ...]
    size: int


class AddressesTrouble(Event, frozen=True, kw_only=True):
    """The file with what was learned of addresses can't be used now; mail goes on."""

    level: ClassVar[str] = "warning"
    reason: str


class AddressesDamaged(Event, frozen=True, kw_only=True):
    """The file with what was learned of addresses was damaged: set aside, a new one was begun."""

    level: ClassVar[str] = "error"
    reason: str
    set_aside: str


class CalloutsRefused(Event, frozen=True, kw_only=True):
    """The primary won't be asked: it refuses the null sender, or us. Told once until it answers."""

    level: ClassVar[str] = "warning"
    domain: str
    host: str
    reply: str


class CatchAllFound(Event, frozen=True, kw_only=True):
    """The primary takes an address that nobody has: callouts say nothing about this domain's."""

    level: ClassVar[str] = "warning"
    domain: str
    reply: str


class FeedPushed(Event, frozen=True, kw_only=True):
    """A primary pushed its feed, and it is in use. `changed`: its entries are other ones now."""

    domain: str
    client: str
    entries: int
    changed: bool


class FeedPushRefused(Event, frozen=True, kw_only=True):
    """A pushed feed was refused, or its sender had no right to push (`status` 401: told once for
    a client, and when it is not listened to any more). `status` is the HTTP status.
    """

    level: ClassVar[str] = "warning"
    domain: str
    client: str
    status: int
    reason: str
