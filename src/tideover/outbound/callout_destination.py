"""Callouts to one primary: its connections, how often it is asked, and when it is left alone.

Connections are kept for the next question and used by one at a time. There are never more than
allowed, nor more questions in a minute; after the primary could not be reached, it is left alone
for a while, each time longer. A connection is ended before the server would begin to slow it down,
as most do after some errors.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from tideover.outbound.connection import Connection, ConnectionFailed
from tideover.outbound.transport import first_of
from tideover.primary.interface import NextHop
from tideover.recipients.sources.callout import Unavailable
from tideover.recipients.sources.interface import SourceError
from tideover.smtp.client_values import Lost, Mail, Verdict, Welcome

IDLE: Final = 60.0
"""Seconds that a connection is kept for the next question."""

QUESTIONS: Final = 80
"""Questions on one connection; Postfix minds more than 100 RSETs."""

REFUSALS: Final = 8
"""Refused questions on one connection; Postfix answers slowly from the tenth error on."""

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0

_MINUTE: Final = 60.0
_STAGGER: Final = 1.0


class _Kept:
    """A connection that is asked, or waits for the next question."""

    __slots__ = ("connection", "refusals", "timer")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.refusals = 0
        self.timer: asyncio.TimerHandle | None = None

    def worn(self) -> bool:
        """Whether it has been asked enough."""
        return self.refusals >= REFUSALS or self.connection.transactions >= QUESTIONS


class Destination:
    """One primary. `most`: connections at once; `rate`: questions a minute.

    `connect` makes a connection, `spawn` starts a task that ends within seconds.
    """

    def __init__(
        self,
        connect: Callable[[NextHop], Coroutine[Any, Any, Connection]],
        most: int,
        rate: int,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self.told = False
        """Whether it was told that it refuses to be asked."""
        self._connect = connect
        self._rate = rate
        self._spawn = spawn
        self._slots = asyncio.Semaphore(most)  # held by each open connection that is not idle
        self._asking = 0
        self._idle: list[_Kept] = []
        self._asked: deque[float] = deque()  # when, in the last minute
        self._pause = 0.0
        self._not_before = 0.0
        self._refused_until = 0.0
        self._trouble = ""
        self._retired = False
        self._loop = asyncio.get_running_loop()

    async def ask(
        self, question: Mail, hops: tuple[NextHop, ...], *, background: bool, surely_up: bool
    ) -> tuple[str, Welcome | Verdict]:
        """The host that was asked, and its verdict.

        `background`: nobody waits for it; it may use up half of the rate only. `surely_up`: mail
        reaches it, so that a failure of ours may well be over.

        Raises:
            Unavailable: not now.
            ConnectionFailed: there is no connection to be had.
            SourceError: it can't be asked for such an address.
        """
        if surely_up:
            self._not_before = min(self._not_before, self._loop.time() + FIRST_PAUSE)
        self._check_pause()
        self._count(background=background)
        self._asking += 1
        try:
            while True:
                kept = await self._take(hops)
                fresh = kept.connection.transactions == 0
                try:
                    verdict = await self._inquire(kept, question)
                finally:
                    self._put_back(kept)
                # One that was kept may have been closed just then: that is no answer.
                if fresh or not isinstance(verdict, Lost):
                    return kept.connection.host, verdict
        finally:
            self._asking -= 1

    def failed(self, why: str) -> None:
        """It could not be asked: leave it alone for a while, each time longer."""
        self._pause = min(max(FIRST_PAUSE, self._pause * 2), LONGEST_PAUSE)
        self._not_before = self._loop.time() + self._pause
        self._trouble = why

    def answered(self) -> None:
        """It gave an answer."""
        self._pause = 0.0
        self.told = False

    def refused(self, why: str) -> None:
        """It does not want to be asked."""
        self._refused_until = self._loop.time() + LONGEST_PAUSE
        self._trouble = why

    def quiet(self) -> bool:
        """Whether nothing is lost when it is forgotten."""
        self._forget_old()
        left_alone = self._loop.time() < max(self._not_before, self._refused_until)
        return not (self._asking or self._idle or self._asked or left_alone)

    def retire(self) -> None:
        """End all connections, those in use after their question."""
        self._retired = True
        for kept in self._idle[:]:
            self._end_idle(kept)

    # When

    def _check_pause(self) -> None:
        left = max(self._not_before, self._refused_until) - self._loop.time()
        if left > 0:
            raise Unavailable(f"{self._trouble}; left alone for {left:.0f} s")

    def _forget_old(self) -> None:
        while self._asked and self._asked[0] <= self._loop.time() - _MINUTE:
            self._asked.popleft()

    def _count(self, *, background: bool) -> None:
        self._forget_old()
        allowed = max(1, self._rate // 2) if background else self._rate
        if len(self._asked) >= allowed:
            raise Unavailable(f"asked {len(self._asked)} times in a minute, the most allowed")
        self._asked.append(self._loop.time())

    # Connections

    async def _inquire(self, kept: _Kept, question: Mail) -> Welcome | Verdict:
        if question.smtputf8 and not kept.connection.capabilities.smtputf8:
            raise SourceError(f"{kept.connection.host} does not know SMTPUTF8")
        verdict = await kept.connection.inquire(question)
        kept.refusals += not isinstance(verdict, Welcome)
        return verdict

    async def _take(self, hops: tuple[NextHop, ...]) -> _Kept:
        """A connection of one's own, with a slot, until it is put back."""
        await self._slots.acquire()
        try:
            self._check_pause()  # others may have failed while this one waited
            while self._idle:
                kept = self._idle.pop()
                if kept.timer is not None:
                    kept.timer.cancel()
                if kept.connection.usable():
                    return kept
            return _Kept(await self._open(hops))
        except BaseException:
            self._slots.release()
            raise

    async def _open(self, hops: tuple[NextHop, ...]) -> Connection:
        try:
            return await first_of(
                hops, self._connect, stagger=_STAGGER, failed=lambda _hop, _error: None
            )
        except ConnectionFailed as error:
            self.failed(str(error))
            raise

    def _put_back(self, kept: _Kept) -> None:
        if not kept.connection.usable():
            kept.connection.abort("given up")
            self._slots.release()
        elif self._retired or kept.worn():
            self._spawn(self._end(kept))
        else:
            kept.timer = self._loop.call_later(IDLE, self._end_idle, kept)
            self._idle.append(kept)
            self._slots.release()

    def _end_idle(self, kept: _Kept) -> None:
        if kept.timer is not None:
            kept.timer.cancel()
        self._idle.remove(kept)
        self._spawn(kept.connection.quit())

    async def _end(self, kept: _Kept) -> None:
        """Say goodbye on one that was in use; it holds its slot until then."""
        try:
            await kept.connection.quit()
        finally:
            self._slots.release()
