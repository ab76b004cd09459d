"""Finds out whether an address can be reached from here: once for all who ask, and not too often.

What is sent for one question: one TCP connection, one echo request, and unless one of them arrives
a trace of at most two packets a hop; once a day one to a network that answers. A verdict is kept
for its network; an unknown one, for its address only.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Struct

from tideover.agent.judge import Judgement, judge
from tideover.agent.knock import knock
from tideover.agent.protocol import Verdict
from tideover.agent.routes import Routes, near
from tideover.agent.sights import Said, Sight, Trace
from tideover.agent.trace import Pinger, trace

AT_ONCE: Final = 32
"""Addresses that are looked for at the same time; more are unknown at once."""
_KEPT: Final = 10_000  # verdicts
_FIRST: Final = 1.0  # seconds for the host itself, before a trace begins
_LEAST: Final = 0.3  # seconds without which no trace is begun
_FAR: Final = 64  # time to live of an echo request that is to arrive


class Echo(Pinger, Protocol):
    """As `echo.Echoes`."""

    def can(self, address: str) -> bool:
        """Whether addresses of this family can be asked."""


class Found(Struct, frozen=True):
    """A judgement, and when it was made (Unix time)."""

    judgement: Judgement
    at: float


class Reach:
    """Answers from memory, or by looking. `timeout` and `keep` in seconds."""

    def __init__(
        self,
        echo: Echo,
        *,
        timeout: float,
        hops: int,
        keep: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._echo = echo
        self._timeout = timeout
        self._hops = hops
        self._keep = keep
        self._clock = clock
        self._routes = Routes()
        self._known: OrderedDict[str, Found] = OrderedDict()
        self._looking: dict[str, asyncio.Task[Found]] = {}
        self._learning: asyncio.Task[None] | None = None

    def remembered(self, address: str) -> Found | None:
        """What was found lately, if it still counts."""
        for key in (near(address), address):
            found = self._known.get(key)
            if found is not None and 0 <= self._clock() - found.at < self._keep:
                return found
        return None

    async def find(self, address: str, port: int) -> Found | None:
        """Within the timeout; None: too many are looked for. Never raises."""
        known = self.remembered(address)
        if known is not None:
            return known
        task = self._looking.get(address)
        if task is None:
            if len(self._looking) >= AT_ONCE:
                return None
            task = asyncio.create_task(self._look(address, port))
            self._looking[address] = task
            task.add_done_callback(lambda _: self._looking.pop(address, None))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End what is under way."""
        left: list[asyncio.Task[Found] | asyncio.Task[None]] = [*self._looking.values()]
        if self._learning is not None:
            left.append(self._learning)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _look(self, address: str, port: int) -> Found:
        judgement = await self._see(address, port)
        found = Found(judgement, self._clock())
        if judgement.verdict is Verdict.REACHABLE:
            self._learn(address)
        key = address if judgement.verdict is Verdict.UNKNOWN else near(address)
        self._known[key] = found
        self._known.move_to_end(key)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return found

    async def _see(self, address: str, port: int) -> Judgement:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._timeout
        tcp = asyncio.create_task(knock(address, port, self._timeout))
        try:
            first = min(_FIRST, self._timeout)
            echo = await self._first(tcp, address, first)
            walked, left = Trace(), end - loop.time()
            arrived = echo.said is Said.ARRIVED or _said(tcp) is Said.ARRIVED
            if not arrived and left > _LEAST and self._echo.can(address):
                walked = await trace(self._echo, address, hops=self._hops, timeout=left)
            knocked = tcp.result() if tcp.done() else Sight(Said.SILENCE)
        finally:
            tcp.cancel()
        now = time.monotonic()
        short = self._routes.too_short(address, walked, now)
        if walked.hops:
            self._routes.note(address, walked, now)
        return judge(address, knocked, echo, walked, short)

    def _learn(self, address: str) -> None:
        """See once a day how far traces to this network get, so that a broken route shows later.
        One at a time, and nobody waits for it.
        """
        wanted = self._routes.is_new(address, time.monotonic()) and self._echo.can(address)
        if wanted and (self._learning is None or self._learning.done()):
            self._learning = asyncio.create_task(self._walk(address))

    async def _walk(self, address: str) -> None:
        walked = await trace(self._echo, address, hops=self._hops, timeout=self._timeout)
        if walked.hops:
            self._routes.note(address, walked, time.monotonic())

    async def _first(self, tcp: "asyncio.Task[Sight]", address: str, timeout: float) -> Sight:
        """Ask the host itself: what the echo request brought, when one of both has arrived."""
        echo = asyncio.ensure_future(self._echo.ask(address, _FAR, timeout))
        try:
            waiting: set[asyncio.Future[Sight]] = {tcp, echo}
            while waiting:
                done, waiting = await asyncio.wait(
                    waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
                )
                if not done or any(task.result().said is Said.ARRIVED for task in done):
                    break
            return echo.result() if echo.done() else Sight(Said.SILENCE)
        finally:
            echo.cancel()


def _said(tcp: "asyncio.Task[Sight]") -> Said | None:
    return tcp.result().said if tcp.done() else None
