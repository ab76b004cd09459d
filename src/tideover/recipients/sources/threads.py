"""Work that blocks, in a few threads of one source, which end when nobody waits any more.

A thread can't be cancelled. So each piece of work is given a `Stop`, with which it says how to
wake it (shut its socket, interrupt its query); and it bounds its waits itself.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


class Stop:
    """Whether nobody waits for a piece of work any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wake: Callable[[], None] | None = None
        self.is_set = False

    def set(self) -> None:
        """Nobody waits any more: wake the work."""
        with self._lock:
            self.is_set = True
            self._wake_it()

    def wake_by(self, wake: Callable[[], None] | None) -> None:
        """From now on `wake` is called when nobody waits any more: from another thread, and at
        once when that is so already. It must not block. None: there is nothing to wake.
        """
        with self._lock:
            self._wake = wake
            if self.is_set:
                self._wake_it()

    def _wake_it(self) -> None:
        if self._wake is not None:
            with contextlib.suppress(Exception):
                self._wake()


class Threads:
    """At most `count` threads, made when they are needed."""

    def __init__(self, count: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(count, name)

    async def run(self, work: Callable[[Stop], _T]) -> _T:
        """Run it in a thread, which is told to stop when this is cancelled.

        Raises:
            Exception: whatever the work raises.
        """
        stop = Stop()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, stop)
        except asyncio.CancelledError:
            stop.set()
            raise

    def close(self) -> None:
        """Take no more work. Does not wait for what still ends."""
        self._pool.shutdown(wait=False, cancel_futures=True)
