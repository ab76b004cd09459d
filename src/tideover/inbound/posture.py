"""What a client meets at RCPT: the primary itself, the queue, or "later" (`when_primary_up`).

    accept                                  queue
    primary down, held, without route       queue, by the rules for an outage
    pass-through                            the primary's own verdict; the queue when it has none
    defer, primary surely up                450 4.3.2, but for who evidently can't reach it
    defer, primary recovering               queue: who came during the outage tries again now
    auto                                    pass-through where the primary grants us XCLIENT,
                                            else defer

While it is in doubt whether the primary is up, it is asked at once: by the transaction itself, or
by a check.
"""

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Final

from msgspec import Struct

from tideover.config.model import Domain, WhenPrimaryUp
from tideover.message.envelope import Recipient
from tideover.primary.interface import PrimaryState
from tideover.primary.relay import Relay
from tideover.primary.standing import Standing, Standings
from tideover.smtp.replies import reply

DEFERRED: Final = reply(
    450, "4.3.2", "Mail is not taken here now; please use the domain's better mail exchangers"
)
"""Names no host: a better MX is in the DNS, and spammers read replies."""

CutOff = Callable[[str, str, Recipient], Awaitable[str | None]]
"""Of client address, sender and recipient: why the client can't reach the primary, although it is
up, as far as is known; None when nothing says so."""


class Mode(Enum):
    """What becomes of a recipient's mail."""

    QUEUE = "queue"
    PASS = "pass"  # noqa: S105 - not a password
    DEFER = "defer"
    LOOK = "look"  # QUEUE or DEFER, by what a check now finds


class Way(Struct, frozen=True):
    """Where a recipient's mail goes. `key` is that of the route to the primary."""

    mode: Mode
    key: str | None = None
    hidden: bool = False


_FEW: Final = 1000
QUEUED: Final = Way(Mode.QUEUE)
_TO_BE_FOUND: Final = Way(Mode.LOOK)


class Gate(Struct, frozen=True):
    """Decides; and opens the way to primaries for those who pass."""

    standings: Standings
    relay: Relay
    cut_off: CutOff

    def way(self, domain: str, settings: Domain | None) -> Way:
        """The way of mail for a domain (A-labels), by what is known now. Without settings it may
        still turn out to be ours.
        """
        if settings is None:
            return _TO_BE_FOUND
        if settings.when_primary_up is WhenPrimaryUp.ACCEPT:
            return QUEUED
        standing = self.standings.standing(domain)
        return Way(mode(settings.when_primary_up, standing), standing.key, settings.hide_primary)

    def any_passes(self, domains: Mapping[str, Domain]) -> bool:
        """Whether mail for one of these domains may now go through to its primary. Of very many
        not all are looked at: then it may.
        """
        if len(domains) > _FEW:
            return True
        return any(self.way(name, one).mode is Mode.PASS for name, one in domains.items())

    async def look(self, domain: str, settings: Domain) -> Way:
        """The way after a check of the primary that is made now, for `Mode.LOOK`."""
        standing = await self.standings.look(domain)
        found = mode(settings.when_primary_up, standing)
        if found is Mode.LOOK:  # even the check is in doubt: what it saw counts
            found = Mode.DEFER if standing.state is PrimaryState.UP else Mode.QUEUE
        return Way(found, standing.key, settings.hide_primary)


def mode(posture: WhenPrimaryUp, standing: Standing) -> Mode:
    """What a posture means while the primary stands so."""
    offered = standing.capabilities
    if posture is WhenPrimaryUp.ACCEPT or not standing.may_be_up:
        return Mode.QUEUE
    if standing.key is None:
        return Mode.LOOK
    if posture is WhenPrimaryUp.PASS_THROUGH:
        return Mode.PASS
    if posture is WhenPrimaryUp.AUTO and offered is not None and offered.xclient:
        return Mode.PASS
    if standing.state is PrimaryState.RECOVERING:
        return Mode.QUEUE
    return Mode.LOOK if standing.doubt else Mode.DEFER
