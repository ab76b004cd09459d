"""The health of all primaries, by route: what `Standings` answer from, and `Evidence` goes to.

Bounded by the routes of domains of ours and the destinations that mail is on its way to.
"""

from collections.abc import Awaitable, Callable, Iterable
from heapq import nsmallest
from itertools import islice
from typing import Final, Protocol

from msgspec import Struct

from tideover.config.primaries import Health as Settings
from tideover.events.clock import now as wall_clock
from tideover.events.delivery_records import PrimaryChanged
from tideover.events.event import EventSink
from tideover.primary.health import Health, Terms
from tideover.primary.interface import PrimaryState, Route
from tideover.primary.standing import Standing
from tideover.primary.store import PrimaryStore
from tideover.smtp.capabilities import Capabilities

_NAMED: Final = 5  # domains named in an event
_SAMPLE: Final = 100  # of which these are the first
_MOST_APART: Final = 0.5
_TOUCH: Final = 86_400.0  # seconds after which offers are written again that didn't change


class Routes(Protocol):
    """What is known of routes, from memory."""

    def known(self, domain: str) -> Route | None:
        """The route of a domain of ours that is in use now."""


class Held(Struct, frozen=True):
    """A domain whose mail an operator stopped. `since` is Unix time."""

    since: float
    reason: str


class Healths:
    """Implements `Standings` and `Evidence`. Its methods never wait but `look`, and never raise.

    `checker` makes a check of a domain's primary, or joins one, and says whether it gave service;
    None when there is nothing to check. Until somebody sets it, `look` knows no more than
    `standing`. `wanted` is told the key of a route that is to be checked soon. `served` name the
    domains of a route.
    """

    def __init__(
        self,
        settings: Settings,
        routes: Routes,
        emit: EventSink,
        *,
        store: PrimaryStore | None = None,
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self.checker: Callable[[str], Awaitable[bool | None]] | None = None
        self.wanted: Callable[[str], None] = _ignore
        self.served: list[Callable[[str], Iterable[str]]] = []
        self.routes = routes
        self._emit = emit
        self._store = store
        self._clock = clock
        self._healths: dict[str, Health] = {}
        self._held: dict[str, Held] = {}
        self._terms = _terms(settings)

    # Standings

    def standing(self, domain: str) -> Standing:
        """As `Standings.standing`."""
        route = self.routes.known(domain)
        held = self._held.get(domain)
        if route is None:
            state, since, reason = PrimaryState.UNKNOWN, 0.0, "no route yet"
            if held is not None:
                state, since, reason = PrimaryState.HELD, held.since, held.reason
            return Standing(key=None, state=state, since=since, reason=reason, doubt=True)
        health, now = self.of(route.key), self._clock()
        state, since, reason = health.state, health.since, health.reason
        if held is not None:
            state, since, reason = PrimaryState.HELD, held.since, held.reason
        elif all(hop.intermediate for hop in route.hops):
            state, reason = PrimaryState.DOWN, "only other backups can be reached"
        return Standing(
            key=route.key,
            state=state,
            since=since,
            reason=reason,
            doubt=health.doubt(now),
            capabilities=health.offers.together,
            checked_at=health.checked_at,
            ailing=tuple([host for host in health.hosts if health.ailing(host, now)]),
        )

    async def look(self, domain: str) -> Standing:
        """As `Standings.look`. A check that failed is an outage to who asked for it, although it
        takes some of them until the state says so.
        """
        served = await self.checker(domain) if self.checker is not None else None
        found = self.standing(domain)
        if served is False and found.may_be_up:
            health = self.of(found.key) if found.key is not None else None
            return Standing(
                key=found.key,
                state=PrimaryState.DOWN,
                since=self._clock(),
                reason=health.trouble if health is not None else found.reason,
                doubt=True,
                capabilities=found.capabilities,
                checked_at=found.checked_at,
            )
        return found

    # Evidence

    def reached(self, key: str, host: str, offered: Capabilities) -> None:
        """As `Evidence.reached`."""
        health = self._healths.get(key)
        if health is not None:
            health.reached(host, self._clock())
            self.offers(health, host, offered)

    def failed(self, key: str, host: str, reason: str) -> None:
        """As `Evidence.failed`. Where there are more hosts it is the route that failed only when
        all of them did.
        """
        health = self._healths.get(key)
        if health is not None:
            now = self._clock()
            was_failing = health.failing
            health.host_failed(host, now)
            if health.all_ail(now):
                health.failed(reason, now)
            if not was_failing:
                self.wanted(key)

    # What else is known of a route

    def of(self, key: str) -> Health:
        """The health of a route; of one not known yet, a new one."""
        health = self._healths.get(key)
        if health is None:
            health = Health(key, self._terms, self._clock(), self._changed)
            if self._store is not None:
                health.offers.together = self._store.offers.get(key)
            self._healths[key] = health
        return health

    def ailing(self, key: str, host: str) -> bool:
        """Whether a host of a route failed lately, so that others are to be preferred."""
        health = self._healths.get(key)
        return health is not None and health.ailing(host, self._clock())

    def offers(self, health: Health, host: str, offered: Capabilities) -> None:
        """A host of a route offers us this."""
        changed = health.offers.note(host, offered)
        now = self._clock()
        together = health.offers.together
        old = not 0.0 <= now - health.offers.written_at < _TOUCH
        if self._store is not None and together is not None and (changed or old):
            health.offers.written_at = now
            self._store.put_offers(health.key, together, now)

    def up(self, key: str) -> bool | None:
        """Whether the primary of a route is up, as far as is known."""
        health = self._healths.get(key)
        match health.state if health is not None else None:
            case PrimaryState.UP | PrimaryState.RECOVERING:
                return True
            case PrimaryState.DOWN:
                return False
            case _:
                return None

    def sweep(self) -> None:
        """Forget routes by which no domain goes any more."""
        unused = [k for k in self._healths if not any(any(served(k)) for served in self.served)]
        for key in unused:
            del self._healths[key]

    def set_hold(self, domain: str, held: Held | None) -> None:
        """An operator stopped the mail of a domain, or lets it go on."""
        if held is None:
            self._held.pop(domain, None)
        else:
            self._held[domain] = held

    def reconfigure(self, settings: Settings) -> None:
        """Use other thresholds from now on."""
        self._terms = _terms(settings)
        for health in self._healths.values():
            health.terms = self._terms

    def _changed(self, health: Health, before: PrimaryState) -> None:
        names = {name for served in self.served for name in islice(served(health.key), _SAMPLE)}
        self._emit(
            PrimaryChanged(
                time=health.since,
                destination=health.key,
                before=before.value,
                after=health.state.value,
                reason=health.reason,
                domains=tuple(nsmallest(_NAMED, names)),
            )
        )


def _ignore(_key: str) -> None:
    pass


def _terms(settings: Settings) -> Terms:
    return Terms(
        failures=settings.failures,
        successes=settings.successes,
        apart=min(_MOST_APART, settings.check_interval / 10),
        stale=3 * settings.check_interval + settings.timeout,
    )
