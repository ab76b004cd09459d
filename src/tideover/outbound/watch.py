"""Checks all primaries of our domains, those without mail too, so that it is known how they stand.

One that is up is checked when nothing was heard of it for `[health] check_interval`; what mail and
others hear counts. After a failure, and while it is down, it is checked each `[outbound]
probe_interval`. While mail waits for one that is down, the probes of `destination` do that. Each
check begins with another host of the route, so that all are looked at in turn.

With the default settings an outage is known within 15 s also where packets are dropped (5 s until
the next check, and two that take 4 s each), a return within 2 s: while a primary is not up, no
check waits longer than `HASTE` for a connection to open, as the kernel repeats a SYN ever more
rarely; and beside one that waits for an answer fresh ones are made, as what was begun before the
return may never hear of it.

Checks are bounded in rate and number: with thousands of primaries each has its turn later.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Final

from tideover.config.model import Config
from tideover.events.clock import now as wall_clock
from tideover.events.domain_records import RouteTrouble
from tideover.events.event import EventSink
from tideover.outbound.checking import Check, Checker
from tideover.outbound.connection import host_text
from tideover.outbound.context import PROBE_RATE
from tideover.primary.health import Health
from tideover.primary.healths import Healths
from tideover.primary.homes import Homes
from tideover.primary.interface import NextHop, NoRoute, PrimaryState, Route
from tideover.primary.pacer import Pacer
from tideover.primary.router import ConfigRouter

AT_ONCE: Final = 512
"""Checks under way."""

LOOKS: Final = 64
"""Checks beyond these, that clients wait for."""

HASTE: Final = 1.5
"""Seconds for a connection to one that is not up to open."""

FRESH: Final = 64
"""Checks beside which fresh ones are made; of more primaries that are silent the return is seen
later.
"""

SLOW: Final = 2.0
"""Times `[health] timeout` that a check of one that is not up may take: postscreen lets those whom
it does not know yet wait 6 s for its greeting, and knows them for a day when they did.
"""

HANDSHAKES: Final = 20.0
"""TLS handshakes a second with those that are up, in all, as each costs both sides: with more
primaries than that allows TLS is tried at some of the checks only.
"""

_FIND_RATE: Final = 50.0
_FINDERS: Final = 20
_AGAIN: Final = 60.0  # seconds after which a look-up or check that met a bug is tried again
_RECENT: Final = 0.2  # seconds for which a check is news to who looks
_LEAST: Final = 0.1  # seconds between two checks of one primary, when the first took its time


class HealthWatch:
    """Keeps `healths` true: `run` it. `check` is the `checker` of these."""

    def __init__(
        self,
        config: Config,
        router: ConfigRouter,
        healths: Healths,
        checker: Checker,
        emit: EventSink,
        *,
        clock: Callable[[], float] = wall_clock,
        random: Random | None = None,
    ) -> None:
        self._config = config
        self._router = router
        self._healths = healths
        self._checker = checker
        self._emit = emit
        self._clock = clock
        self._planned: set[str] = set()
        self._seen: dict[str, _Seen] = {}
        self._looks = asyncio.Semaphore(LOOKS)
        self._due = asyncio.Semaphore(AT_ONCE)
        self._patient = 0  # checks beside which fresh ones are made
        chance = random or Random()  # noqa: S311 - spreads load, keeps no secret
        self._pacer = Pacer(
            self._look,
            clock=clock,
            random=chance,
            rate=PROBE_RATE,
            at_once=AT_ONCE,
            least=min(_LEAST, config.outbound.probe_interval),
        )
        self._finder = Pacer(
            self._find, clock=clock, random=chance, rate=_FIND_RATE, at_once=_FINDERS
        )
        self.homes = Homes(config, router, self._appeared)
        healths.routes = self.homes
        healths.served.append(self.homes.domains)
        healths.wanted = self._soon
        healths.checker = self.check
        self._find_unknown()

    async def run(self) -> None:
        """Check what is due until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pacer.run())
                group.create_task(self._finder.run())
        finally:
            for seen in self._seen.values():
                if seen.check is not None:
                    seen.check.cancel()

    def reconfigure(self, config: Config) -> None:
        """Watch the primaries of these domains, after the router knows them."""
        self._config = config
        self._checker.reconfigure(config)
        self._healths.reconfigure(config.health)
        self.homes.reconfigure(config)
        self._find_unknown()
        for key in self.homes.routes():
            self._watch(key)

    async def check(self, domain: str) -> bool | None:
        """Check the primary of a domain of ours now, or wait for a check that is under way.

        Returns whether it gave service, in time; None when there is no host to ask.
        """
        try:
            async with asyncio.timeout(self._config.health.timeout):
                route = await self._router.route(domain, now=self._clock())
                if not isinstance(route, Route) or not _primaries(route):
                    return None
                seen = self._seen_of(route.key)
                loop = asyncio.get_running_loop()
                if seen.check is None and loop.time() - seen.ended < _RECENT:
                    return seen.served
                return await self._check(route, domain, self._looks)
        except TimeoutError:
            return False
        except Exception as error:  # who looks must get an answer
            self._tell_bug(domain, error)
            return None

    # What is due

    async def _look(self, key: str) -> float | None:
        now = self._clock()
        domain = next(iter(self.homes.domains(key)), None)
        if domain is None:
            self._planned.discard(key)
            self._seen.pop(key, None)
            return None
        health = self._healths.of(key)
        if health.state is PrimaryState.DOWN and health.backlog:
            return now + self._config.outbound.probe_interval
        interval = self._interval(health)
        if not health.failing and health.fresh(interval, now):
            return health.heard_at + interval
        try:
            route = await self._router.route(domain, now=now)
            if isinstance(route, NoRoute) or route.key != key:
                if isinstance(route, NoRoute):
                    self.homes.forget(domain)
                    if not self._router.follows(domain):
                        self._finder.plan(domain, route.retry_at)
                return now  # another domain, if any
            if not _primaries(route):
                return now + _AGAIN
            await self._check(route, domain, self._due)
        except Exception as error:  # a bug that one sets off must not end all others
            self._tell_bug(domain, error)
            return now + _AGAIN
        return now + self._interval(health)

    def _tell_bug(self, domain: str, error: Exception) -> None:
        text = f"a bug, please report it: {type(error).__name__}: {error}"
        self._emit(RouteTrouble(domain=domain, trouble="bug", text=text))

    def _interval(self, health: Health) -> float:
        if health.state is PrimaryState.UP and not health.failing:
            return self._config.health.check_interval
        return self._config.outbound.probe_interval

    async def _find(self, domain: str) -> float | None:
        """The route of a domain that speaks for others is not known."""
        if domain not in self._config.domains:
            return None
        answer = await self._router.route(domain, now=self._clock())
        return max(answer.retry_at, self._clock()) if isinstance(answer, NoRoute) else None

    def _find_unknown(self) -> None:
        for domain in self.homes.unknown():
            if domain not in self._finder:
                self._finder.plan(domain, self._clock())

    def _appeared(self, key: str) -> None:
        route = self.homes.route(key)
        if route is not None:
            health = self._healths.of(key)
            health.hosts = tuple(host_text(hop) for hop in _primaries(route))
            health.offers.keep(health.hosts)
        self._watch(key)

    def _watch(self, key: str) -> None:
        if key not in self._planned and len(self._planned) < self._config.health.max_watched:
            self._planned.add(key)
            self._pacer.plan(key, self._clock())

    def _soon(self, key: str) -> None:
        """There is reason to look."""
        if key in self._planned and self._seen_of(key).check is None:
            self._pacer.plan(key, max(self._clock(), self._seen_of(key).next_at))

    # Checks

    def _seen_of(self, key: str) -> "_Seen":
        if len(self._seen) > 2 * self._config.health.max_watched + LOOKS:
            self._seen = {k: seen for k, seen in self._seen.items() if seen.check is not None}
        return self._seen.setdefault(key, _Seen())

    async def _check(self, route: Route, domain: str, slots: asyncio.Semaphore) -> bool:
        """Join the check that is under way, or begin one when there is a slot."""
        seen = self._seen_of(route.key)
        if seen.check is None:
            seen.check = asyncio.ensure_future(self._make(route, domain, seen, slots))
        # One who gives up must not end the check for the others.
        return await asyncio.shield(seen.check)

    async def _make(
        self, route: Route, domain: str, seen: "_Seen", slots: asyncio.Semaphore
    ) -> bool:
        try:
            async with slots:
                seen.served = await self._make_now(route, domain, seen)
        finally:
            seen.check = None
            seen.ended = asyncio.get_running_loop().time()
        return seen.served

    async def _make_now(self, route: Route, domain: str, seen: "_Seen") -> bool:
        health = self._healths.of(route.key)
        began, started = self._clock(), asyncio.get_running_loop().time()
        interval, timeout = self._config.outbound.probe_interval, self._config.health.timeout
        seen.next_at = began + min(1.0, interval)
        well = health.state is PrimaryState.UP and not health.failing
        secure = not well or started - seen.secured >= len(self._planned) / HANDSHAKES

        def make(limit: float, failed: Callable[[str], None]) -> Coroutine[Any, Any, Check]:
            return self._checker.check(
                seen.turn(_primaries(route)),
                domain,
                limit=limit,
                patience=limit if well else max(HASTE, interval),
                secure=secure,
                doubtful=not well,
                failed=failed,
            )

        def failed(host: str) -> None:
            health.host_failed(host, self._clock())

        if health.state is PrimaryState.UP:
            check = await make(timeout, failed)
        else:
            patient = make(timeout * SLOW, failed)
            check = await self._refreshed(patient, lambda: make(interval, _ignore), interval)
        health = self._healths.of(route.key)
        if well and health.failing and check.trouble is None:
            return True  # who failed meanwhile may have met more than this check asked for
        served = self._note(health, check, began)
        if secure and served:
            seen.secured = started
        return served

    async def _refreshed(
        self,
        patient: Coroutine[Any, Any, Check],
        fresh: Callable[[], Coroutine[Any, Any, Check]],
        interval: float,
    ) -> Check:
        """A check, with fresh ones beside it one after the other: the first that finds service."""
        first = asyncio.ensure_future(patient)
        loop = asyncio.get_running_loop()
        pause = interval if self._patient < FRESH else None
        self._patient += 1
        try:
            while not (await asyncio.wait((first,), timeout=pause))[0]:
                started = loop.time()
                found = await fresh()
                if found.trouble is None:
                    return found
                pause = max(0.0, started + interval - loop.time())
            return first.result()
        finally:
            self._patient -= 1
            first.cancel()

    def _note(self, health: Health, check: Check, began: float) -> bool:
        now = self._clock()
        if check.trouble is not None:
            health.failed(check.trouble, now)
            return False
        health.reached(check.host, now, began)
        if check.offered is not None:
            self._healths.offers(health, check.host, check.offered)
        return True


class _Seen:
    """What the watch remembers of a route. Times are the loop's, `next_at` Unix time."""

    __slots__ = ("check", "ended", "next_at", "rounds", "secured", "served")

    def __init__(self) -> None:
        self.check: asyncio.Task[bool] | None = None
        self.ended = -_AGAIN
        self.next_at = 0.0
        self.secured = -math.inf
        self.served = False
        self.rounds = 0

    def turn(self, hops: tuple[NextHop, ...]) -> tuple[NextHop, ...]:
        """The hops, beginning with another one each time."""
        self.rounds += 1
        first = self.rounds % len(hops)
        return hops[first:] + hops[:first]


def _ignore(_host: str) -> None:
    pass


def _primaries(route: Route) -> tuple[NextHop, ...]:
    return tuple(hop for hop in route.hops if not hop.intermediate)
