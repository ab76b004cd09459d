"""How many connections there may be to all primaries together."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")


class Room(Generic[K]):
    """Shared by the destinations of one purpose. `most`: connections in use at once; `most_idle`:
    connections that wait for the next use.
    """

    __slots__ = ("_most_idle", "idle", "in_use")

    def __init__(self, most: int, most_idle: int) -> None:
        self.in_use = asyncio.Semaphore(most)
        self.idle: dict[K, Callable[[K], None]] = {}  # and what ends it; oldest first
        self._most_idle = most_idle

    def keep(self, kept: K, end: Callable[[K], None]) -> None:
        """One more waits; the one that has waited longest is ended for it."""
        self.idle[kept] = end
        if len(self.idle) > self._most_idle:
            oldest = next(iter(self.idle))
            self.idle[oldest](oldest)
