"""The slow hash off the event loop: a bounded number of threads, a bounded line, a bounded memory.

Results are remembered by stage 1, which holds the feed's salt: never by the name itself, and none
of one feed counts for another.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Final

from tideover.recipients.feed.format import Cost
from tideover.recipients.feed.hashing import slow
from tideover.recipients.sources.interface import SourceError

THREADS: Final = 2
LINE: Final = 64
"""Lookups that may be under way or wait."""
REMEMBERED: Final = 20_000
"""Results that are kept."""


class SlowHash:
    """One for all slow feeds of a process. Used on one event loop only."""

    def __init__(
        self, *, threads: int = THREADS, line: int = LINE, remembered: int = REMEMBERED
    ) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="feed")
        self._line = BoundedSemaphore(line)
        self._results: OrderedDict[bytes, int] = OrderedDict()
        self._remembered = remembered

    def known(self, first: Sequence[bytes]) -> tuple[int, ...] | None:
        """The results for these, if all are remembered."""
        if not all(one in self._results for one in first):
            return None
        for one in first:
            self._results.move_to_end(one)
        return tuple(self._results[one] for one in first)

    async def compute(self, first: Sequence[bytes], salt: bytes, cost: Cost) -> tuple[int, ...]:
        """The slow hashes of these results of stage 1, all of them anew.

        Raises:
            SourceError: too many wait already, or memory is short.
        """
        if not self._line.acquire(blocking=False):
            raise SourceError("too many lookups in slow feeds at once")
        try:
            job = self._pool.submit(lambda: tuple(slow(one, salt, cost) for one in first))
        except RuntimeError:  # closed
            self._line.release()
            raise SourceError("closed") from None
        # Not when the caller is done: a thread goes on when its caller has been cancelled.
        job.add_done_callback(lambda _: self._line.release())
        try:
            values = await asyncio.wrap_future(job)
        except MemoryError:
            raise SourceError("no memory for a lookup in a slow feed") from None
        for one, value in zip(first, values, strict=True):
            self._results[one] = value
            self._results.move_to_end(one)
        while len(self._results) > self._remembered:
            self._results.popitem(last=False)
        return values

    def close(self) -> None:
        """End the threads; what waits is cancelled."""
        self._pool.shutdown(wait=False, cancel_futures=True)
