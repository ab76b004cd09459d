"""Happenings at the trap: the last MX, which never takes mail."""

from typing import ClassVar

from tideover.events.event import Event


class ClientTrapped(Event, frozen=True, kw_only=True):
    """A client was marked. `why` says what it did: "last-mx-first" (a weak mark by itself),
    "no-quit", "forged-helo", "early-talker", "many-recipients"; "honeypot" when it wrote to one.
    """

    client: str
    helo: str
    why: tuple[str, ...]
    strong: bool
    until: float


class TrapOpened(Event, frozen=True, kw_only=True):
    """All better MX hosts are known to be up: the trap takes connections."""


class TrapSilent(Event, frozen=True, kw_only=True):
    """The trap refuses connections, and ended those that it had: a better MX host is not known to
    be up. Clients that came since it was last seen to be up (`dropped`) are not marked.
    """

    level: ClassVar[str] = "warning"
    reason: str
    closed: int
    dropped: int


class TrapTrouble(Event, frozen=True, kw_only=True):
    """The trap can't take connections as it should; told once until it can."""

    level: ClassVar[str] = "warning"
    reason: str
