"""Where a domain's mail goes home to."""

from enum import StrEnum
from typing import Protocol

from msgspec import Struct


class NextHop(Struct, frozen=True):
    """One host to try: `name` for TLS, logs and people, `address` a literal IP, `port`.
    `preference`: lower ones are tried first, equal ones in random order (`primary.choice`).

    `intermediate`: DNS names better hosts, so this one is a backup like us. It brings mail closer
    to its home, but what it takes is not the primary's word on an address.
    """

    name: str
    address: str
    port: int
    intermediate: bool = False
    preference: int = 0


class Route(Struct, frozen=True, kw_only=True):
    """Hosts by preference, the lowest first (RFC 5321 §5.1).

    Two domains with the same `key` share one destination: one probe, one pace, one set of
    connections. `expires_at` (Unix time) is when to ask again; None: never (static). `warning`
    is what an operator should know although there is a route, or None.
    """

    key: str
    hops: tuple[NextHop, ...]
    expires_at: float | None = None
    warning: str | None = None


class Trouble(StrEnum):
    """Why there is no route. Only NULL_MX is a verdict on the mail (RFC 7505); all others hold
    it: a DNS mistake never costs a message (blueprint: never bounce for a DNS mistake).
    """

    TEMPORARY = "temporary"  # DNS is slow, failing or lying: ask again soon
    NO_SUCH_DOMAIN = "no-such-domain"
    BEST_MX = "best-mx"  # we are the best MX, or the only one
    NULL_MX = "null-mx"


class NoRoute(Struct, frozen=True, kw_only=True):
    """No host to try now. `text` is for the operator; ask again at `retry_at` (Unix time)."""

    trouble: Trouble
    text: str
    retry_at: float


class Router(Protocol):
    """From a domain to its next hops. Never raises for what DNS says; cached within TTLs."""

    async def route(self, domain: str, *, now: float) -> Route | NoRoute:
        """Where mail for this domain (A-labels) goes. `now` is Unix time in seconds."""

    def is_ours(self, domain: str) -> bool:
        """Whether the config names this domain as one to back up."""


class PrimaryState(StrEnum):
    """The words of `status --json`."""

    UP = "up"
    DOWN = "down"
    RECOVERING = "recovering"
    HELD = "held"
    UNKNOWN = "unknown"
