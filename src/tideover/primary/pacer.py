"""A clockwork that looks at many domains, each at its own time, never at too many at once."""

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from random import Random
from typing import Final

_JITTER: Final = 0.05  # of the wait is waited longer, by chance, so that equal TTLs part
_MOST_JITTER: Final = 30.0
_IDLE: Final = 10.0  # seconds until the clock is looked at again
_SET_BACK: Final = 1.0  # seconds; less is no matter


class Pacer:
    """Calls `look` with each planned domain when it is due; that returns when it is due again
    (Unix time), or None to drop it, and must not raise. `rate`: looks begun a second, at most;
    `at_once`: looks under way. What is due later than that allows is late. No domain is looked at
    again within `least` seconds. A clock that is set back puts nothing off.
    """

    def __init__(
        self,
        look: Callable[[str], Awaitable[float | None]],
        *,
        clock: Callable[[], float],
        random: Random,
        rate: float,
        at_once: int,
        least: float = 1.0,
    ) -> None:
        self._look = look
        self._clock = clock
        self._random = random
        self._rate = rate
        self._least = least
        self._slots = asyncio.Semaphore(at_once)
        self._due: list[tuple[float, int, str]] = []
        self._number = count()
        self._known: dict[str, int] = {}  # the number of the plan that counts; 0: it is looked at
        self._wake = asyncio.Event()
        self._offset = 0.0  # of the clock, from the loop's, when it was looked at last

    def __contains__(self, domain: str) -> bool:
        return domain in self._known

    def plan(self, domain: str, at: float) -> None:
        """Look at this domain then, and no more at the time that was planned before."""
        number = next(self._number) + 1
        self._known[domain] = number
        heapq.heappush(self._due, (at, number, domain))
        if self._due[0][1] == number:
            self._wake.set()

    def drop(self, domain: str) -> None:
        """Look at it no more."""
        self._known.pop(domain, None)

    async def run(self) -> None:
        """Look at what is due until cancelled."""
        self._offset = self._offset_now()
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                self._follow_clock()
                pause = self._due[0][0] - self._clock() if self._due else _IDLE
                if pause > 0:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(min(pause, _IDLE)):
                            await self._wake.wait()
                    continue
                _, number, domain = heapq.heappop(self._due)
                if self._known.get(domain) != number:
                    continue  # dropped, or planned anew
                await self._slots.acquire()
                self._known[domain] = 0
                group.create_task(self._one(domain))
                await asyncio.sleep(1 / self._rate)

    def _offset_now(self) -> float:
        return self._clock() - asyncio.get_running_loop().time()

    def _follow_clock(self) -> None:
        before, self._offset = self._offset, self._offset_now()
        if self._offset < before - _SET_BACK:
            step = self._offset - before
            self._due = [(at + step, number, domain) for at, number, domain in self._due]

    async def _one(self, domain: str) -> None:
        began = self._offset_now()
        try:
            due = await self._look(domain)
        finally:
            self._slots.release()
        if due is not None and (step := self._offset_now() - began) < -_SET_BACK:
            due += step
        if self._known.get(domain) != 0:
            return  # dropped or planned anew meanwhile
        if due is None:
            self.drop(domain)
            return
        now = self._clock()
        most = min(_MOST_JITTER, _JITTER * max(due - now, 0.0))
        self.plan(domain, max(due, now + self._least) + self._random.uniform(0.0, most))
