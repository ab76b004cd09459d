"""How a domain's primary stands, as those see it who ask: values and interfaces only."""

from typing import Protocol

from msgspec import Struct

from tideover.primary.interface import PrimaryState
from tideover.smtp.capabilities import Capabilities


class Standing(Struct, frozen=True, kw_only=True):
    """How the primary of a domain stands now.

    `key` is that of its route (`Route.key`), None while there is none. `since` is Unix time,
    `reason` for the operator. `doubt`: the state is unknown, its last check failed, or it is too
    old, so that who has to know must try. `capabilities`: what the primary last offered us, also
    while it is down; None when it never did. `checked_at`: when it last was found to be up (Unix
    time, of the beginning of that check); 0.0: never. `ailing`: those of its hosts that failed
    lately, although others give service.
    """

    key: str | None
    state: PrimaryState
    since: float
    reason: str
    doubt: bool
    capabilities: Capabilities | None = None
    checked_at: float = 0.0
    ailing: tuple[str, ...] = ()

    @property
    def may_be_up(self) -> bool:
        """Whether it is worth asking the primary itself."""
        return self.state not in (PrimaryState.DOWN, PrimaryState.HELD)


class Standings(Protocol):
    """What is known of primaries. Never raises."""

    def standing(self, domain: str) -> Standing:
        """Of a domain of ours (A-labels), from memory."""

    async def look(self, domain: str) -> Standing:
        """The same after a check made now, or one that is under way: within `[health] timeout`."""


class Evidence(Protocol):
    """Is told what happens on connections to primaries, whoever made them."""

    def reached(self, key: str, host: str, offered: Capabilities) -> None:
        """A host of the route gave service, and offers this (after STARTTLS, if that was done)."""

    def failed(self, key: str, host: str, reason: str) -> None:
        """A host of the route gave none: refused, silent, 421, 4.3.2."""
