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
from tideover.outbound.places import Places
from tideover.outbound.room import Room
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

IN_USE: Final = 100
"""Connections that are asked or made at once, to all primaries together."""

IDLE_IN_ALL: Final = 50
"""Connections to all primaries together that wait for the next question."""

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0

_MINUTE: Final = 60.0
_STAGGER: Final = 1.0


class _Kept:
    """A connection that is asked, or waits for the next question."""

    __slots__ = ("connection", "refusals")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.refusals = 0

    def worn(self) -> bool:
        """Whether it has been asked enough."""
        return self.refusals >= REFUSALS or self.connection.transactions >= QUESTIONS


class Past:
    """What one primary was asked, and why it is left alone. Times are those of the loop.

    `asked`: when it was, in the last minute. `told`: whether an operator heard that it refuses to
    be asked.
    """

    __slots__ = ("asked", "not_before", "pause", "refused_until", "told", "trouble")

    def __init__(self) -> None:
        self.asked: deque[float] = deque()
        self.told = False
        self.pause = 0.0
        self.not_before = 0.0
        self.refused_until = 0.0
        self.trouble = ""


def new_room() -> Room[_Kept]:
    """What all primaries share that are asked."""
    return Room(IN_USE, IDLE_IN_ALL)


class Destination:
    """One primary. `most`: connections at once; `rate`: questions a minute.

    `connect` makes a connection, `spawn` starts a task that ends within seconds. `past` is
    that of the one whose place it takes.
    """

    def __init__(
        self,
        connect: Callable[[NextHop], Coroutine[Any, Any, Connection]],
        most: int,
        rate: int,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        room: Room[_Kept],
        *,
        past: Past | None = None,
    ) -> None:
        self.past = past or Past()
        self._connect = connect
        self._rate = rate
        self._spawn = spawn
        self._places = Places(most, room, spawn)
        self._asking = 0
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
            self.past.not_before = min(self.past.not_before, self._loop.time() + FIRST_PAUSE)
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
        self.past.pause = min(max(FIRST_PAUSE, self.past.pause * 2), LONGEST_PAUSE)
        self.past.not_before = self._loop.time() + self.past.pause
        self.past.trouble = why

    def answered(self) -> None:
        """It gave an answer."""
        self.past.pause = 0.0
        self.past.told = False

    def refused(self, why: str) -> None:
        """It does not want to be asked."""
        self.past.refused_until = self._loop.time() + LONGEST_PAUSE
        self.past.trouble = why

    def quiet(self) -> bool:
        """Whether nothing is lost when it is forgotten."""
        self._forget_old()
        left_alone = self._loop.time() < max(self.past.not_before, self.past.refused_until)
        return not (self._asking or self._places.waiting or self.past.asked or left_alone)

    def retire(self) -> None:
        """End all connections, those in use after their question."""
        self._places.retire()

    # When

    def _check_pause(self) -> None:
        left = max(self.past.not_before, self.past.refused_until) - self._loop.time()
        if left > 0:
            raise Unavailable(f"{self.past.trouble}; left alone for {left:.0f} s")

    def _forget_old(self) -> None:
        while self.past.asked and self.past.asked[0] <= self._loop.time() - _MINUTE:
            self.past.asked.popleft()

    def _count(self, *, background: bool) -> None:
        self._forget_old()
        allowed = max(1, self._rate // 2) if background else self._rate
        if len(self.past.asked) >= allowed:
            raise Unavailable(f"asked {len(self.past.asked)} times in a minute, the most allowed")
        self.past.asked.append(self._loop.time())

    # Connections

    async def _inquire(self, kept: _Kept, question: Mail) -> Welcome | Verdict:
        if question.smtputf8 and not kept.connection.capabilities.smtputf8:
            raise SourceError(f"{kept.connection.host} does not know SMTPUTF8")
        verdict = await kept.connection.inquire(question)
        kept.refusals += not isinstance(verdict, Welcome)
        return verdict

    async def _take(self, hops: tuple[NextHop, ...]) -> _Kept:
        """A connection of one's own, with a place, until it is put back."""
        await self._places.enter()
        try:
            self._check_pause()  # others may have failed while this one waited
            mine = self._kept(hops) or _Kept(await self._open(hops))
        except BaseException:
            self._places.leave()
            raise
        self._places.taken.add(mine)
        return mine

    def _kept(self, hops: tuple[NextHop, ...]) -> _Kept | None:
        """The latest that waits and is well."""
        while self._places.waiting:
            kept = next(reversed(self._places.waiting))
            self._places.take_out(kept)
            if not kept.connection.usable():
                continue
            if kept.connection.hop in hops:
                return kept
            self._spawn(kept.connection.quit())  # a host that is no next hop any more
        return None

    async def _open(self, hops: tuple[NextHop, ...]) -> Connection:
        try:
            return await first_of(
                hops, self._connect, stagger=_STAGGER, failed=lambda _hop, _error: None
            )
        except ConnectionFailed as error:
            self.failed(str(error))
            raise

    def _put_back(self, kept: _Kept) -> None:
        if self._places.put_back(kept):
            self._places.keep(kept, IDLE, self._places.end)
