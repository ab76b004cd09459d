"""Watches the MX sets of all domains that we follow, also of those without mail.

It asks the router again when what the router remembers has run out, so the TTLs of DNS set the
pace. Look-ups are spread: at most `RATE` a second and `AT_ONCE` at a time, so that no number of
domains floods the resolver; with very many of them, they are looked at later than their TTL says.
"""

import asyncio
import heapq
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from random import Random
from typing import Final

from tideover.config.model import Config
from tideover.events.clock import now as wall_clock
from tideover.events.records import EventSink, RouteTrouble
from tideover.primary.mx_sets import MxState
from tideover.primary.router import ConfigRouter
from tideover.primary.store import MxChange, PrimaryStore

RATE: Final = 50.0
"""Look-ups begun in a second, at most."""

AT_ONCE: Final = 20

_JITTER: Final = 0.05  # of the TTL is waited longer, by chance and at most, up to:
_MOST_JITTER: Final = 30.0
_AGAIN: Final = 60.0  # seconds after which a look-up that failed for a bug is tried again
_IDLE: Final = 3600.0


class Watch:
    """The clockwork: `run` it. Also what `status` shows of a set and its past."""

    def __init__(
        self,
        config: Config,
        router: ConfigRouter,
        store: PrimaryStore | None,
        sink: EventSink,
        *,
        clock: Callable[[], float] = wall_clock,
        random: Random | None = None,
        rate: float = RATE,
    ) -> None:
        self._router = router
        self._store = store
        self._sink = sink
        self._clock = clock
        self._random = random or Random()  # noqa: S311 - spreads load, keeps no secret
        self._rate = rate
        self._due: list[tuple[float, int, str]] = []
        self._number = count()
        self._planned: set[str] = set()
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self.reconfigure(config)

    def reconfigure(self, config: Config) -> None:
        """Watch these domains too, after the router knows them. Others are dropped when due."""
        for name, settings in config.domains.items():
            if settings.primary is None and name not in self._planned:
                self.add(name)

    def add(self, domain: str) -> None:
        """Look at a domain that the router follows as soon as may be, and from then on."""
        if domain not in self._planned:
            self._planned.add(domain)
            self._plan(domain, self._clock())

    def watch_state(self, domain: str) -> MxState | None:
        """How the MX set of a domain (A-labels) stands; None: not watched, or not looked at yet."""
        return self._router.mx_state(domain)

    async def history(self, domain: str, limit: int) -> Sequence[MxChange]:
        """The latest changes of a domain's MX set, newest first."""
        return await self._store.history(domain, limit) if self._store is not None else ()

    async def run(self) -> None:
        """Look up what is due until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                pause = self._due[0][0] - self._clock() if self._due else _IDLE
                if pause > 0:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(min(pause, _IDLE)):
                            await self._wake.wait()
                    continue
                _, _, domain = heapq.heappop(self._due)
                if not self._router.follows(domain):
                    self._planned.discard(domain)
                    continue
                await self._slots.acquire()
                group.create_task(self._look(domain))
                await asyncio.sleep(1 / self._rate)

    async def _look(self, domain: str) -> None:
        now = self._clock()
        due: float | None = None
        try:
            await self._router.route(domain, now=now)
            due = self._router.due(domain)
        except Exception as error:  # a bug that one domain sets off must not end all others
            text = f"a bug, please report it: {type(error).__name__}: {error}"
            self._sink(RouteTrouble(domain=domain, trouble="bug", text=text))
        finally:
            self._slots.release()
        later = max(due if due is not None else now + _AGAIN, now + 1.0)
        most = min(_MOST_JITTER, _JITTER * (later - now))
        self._plan(domain, later + self._random.uniform(0.0, most))

    def _plan(self, domain: str, at: float) -> None:
        heapq.heappush(self._due, (at, next(self._number), domain))
        if self._due[0][2] == domain:
            self._wake.set()
