"""The connections of one destination: places for those in use, and those that wait for a next use.

When one is taken, for whom, and how long it waits, is the owner's matter. What all destinations
share is in `room`.

Invariant: a place is left once for each time that one was entered: when its connection begins to
wait, or is gone. One on which we say goodbye after use holds its place until then.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

from tideover.outbound.connection import Connection
from tideover.outbound.room import Room


class Used(Protocol):
    """A connection with what its owner notes of it."""

    connection: Connection

    def worn(self) -> bool:
        """Whether it has been used enough."""


K = TypeVar("K", bound=Used)


class Places(Generic[K]):
    """`most`: connections in use at once. `spawn` starts a task that ends within seconds.

    `in_use`: places that are held. `taken`: the connections in them, once there are. `waiting`:
    oldest first, with what ends each. `retired`: none is kept any more.
    """

    __slots__ = ("_loop", "_room", "_slots", "_spawn", "in_use", "retired", "taken", "waiting")

    def __init__(
        self, most: int, room: Room[K], spawn: Callable[[Coroutine[Any, Any, None]], None]
    ) -> None:
        self.in_use = 0
        self.taken: set[K] = set()
        self.waiting: dict[K, asyncio.TimerHandle] = {}
        self.retired = False
        self._slots = asyncio.Semaphore(most)
        self._room = room
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()

    # Places

    async def enter(self) -> None:
        """Wait for a place here and in the room; it is held until `leave`."""
        await self._slots.acquire()
        try:
            await self._room.in_use.acquire()
        except BaseException:
            self._slots.release()
            raise
        self.in_use += 1

    def leave(self) -> None:
        """Give a place back that no connection is in."""
        self.in_use -= 1
        self._room.in_use.release()
        self._slots.release()

    # Connections that were in use

    def put_back(self, kept: K) -> bool:
        """Nothing is open on it. Whether it may be used again; else it is ended."""
        if not kept.connection.usable():
            self.drop(kept, "given up")
        elif self.retired or kept.worn():
            self._spawn(self._end_taken(kept))
        else:
            self.taken.discard(kept)
            self.leave()
            return True
        return False

    def drop(self, kept: K, text: str) -> None:
        """It is of no more use."""
        kept.connection.abort(text)
        if kept in self.taken:
            self.taken.discard(kept)
            self.leave()

    # Connections that wait

    def keep(self, kept: K, seconds: float, expired: Callable[[K], None]) -> None:
        """It waits for its next use; after so long `expired` is called, which is to `end` it."""
        self.waiting[kept] = self._loop.call_later(seconds, expired, kept)
        self._room.keep(kept, self.end)

    def take_out(self, kept: K) -> None:
        """It does not wait any more."""
        self.waiting.pop(kept).cancel()
        self._room.idle.pop(kept, None)

    def end(self, kept: K) -> None:
        """It has waited in vain."""
        self.take_out(kept)
        self._spawn(kept.connection.quit())

    def retire(self) -> None:
        """End all connections, those in use when they are put back."""
        self.retired = True
        for kept in list(self.waiting):
            self.end(kept)

    async def _end_taken(self, kept: K) -> None:
        try:
            await kept.connection.quit()
        finally:
            self.drop(kept, "closed by us")
