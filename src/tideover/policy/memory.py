"""What is remembered of clients between sessions, and across restarts: `data_dir/clients.sqlite`.

Never blocks the event loop: one thread does what `memory_file` says, and what is noted is written
in batches, a second later at the most. What is asked comes from memory without suspending. Only of
triplets the file may hold more than memory (a flood of newcomers): then the thread is asked.

It is a memory, not a promise: noting returns at once, trouble is told once and never raised. While
`trouble` says something, what is not known may have been forgotten.

Invariants
    Each size has a bound: marks of each kind in memory and in the file, notes that wait.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from tideover.events.client_records import ClientsTrouble
from tideover.events.clock import now as wall_clock
from tideover.events.event import EventSink
from tideover.policy.buckets import Buckets
from tideover.policy.memory_file import Kind, Mark, MemoryFile, Note, Shelf

__all__ = ["HELD", "KNOWN_FOR", "NAME", "TRIPLETS", "Kind", "Mark", "Memory"]

NAME: Final = "clients.sqlite"

KNOWN_FOR: Final = 36 * 86400.0
_PATIENT_FOR: Final = 86400.0
"""Seconds for which a client network is known after a message of it was taken."""

HELD: Final = 100_000
"""Marks of each kind in memory: at most some 35 MB."""

TRIPLETS: Final = 1_000_000
"""Triplets in the file; of all other kinds it has as many as memory."""

PENDING: Final = 50_000
"""Notes that wait for the file; beyond, the oldest are dropped."""

OVERRUN: Final = 3600.0
"""Seconds: triplets that have to go before they are as old as this were a flood, and for as long
memory is in trouble.
"""

_RENEW: Final = 3600.0  # a mark younger than this is not worth a write
_DELAY: Final = 0.2  # seconds from a note to its writing
_RETRY: Final = 10.0
_SWEEP: Final = 600.0

_T = TypeVar("_T")


class Memory:
    """Known clients, greylist triplets and rates. Made by `open`; used on the loop that ran it."""

    def __init__(
        self,
        file: MemoryFile,
        thread: ThreadPoolExecutor,
        emit: EventSink,
        clock: Callable[[], float],
    ) -> None:
        self.buckets = Buckets()
        self._file = file
        self._thread = thread
        self._emit = emit
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._shelves: dict[Kind, Shelf] = {kind: Shelf() for kind in Kind}
        self._forgotten: dict[Kind, float] = {}
        self._complete = True  # memory has all triplets that the file has
        self._pending: dict[tuple[Kind, bytes], Mark] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._failing = ""
        self._overrun_until = 0.0
        self._closed = False

    @classmethod
    async def open(
        cls,
        path: Path,
        emit: EventSink,
        *,
        triplets: int = TRIPLETS,
        clock: Callable[[], float] = wall_clock,
    ) -> "Memory":
        """Open the file at `path`, in a thread; never fails (see `side_file`)."""
        thread = ThreadPoolExecutor(1, "clients")
        limits = dict.fromkeys(Kind, HELD) | {Kind.TRIPLET: triplets}
        file = await asyncio.get_running_loop().run_in_executor(
            thread, lambda: MemoryFile(path, emit, limits=limits)
        )
        memory = cls(file, thread, emit, clock)
        await memory._load()
        memory._sweeper = asyncio.create_task(memory._sweep())
        return memory

    async def close(self) -> None:
        """Write what is still to be written, and close. What is noted later is dropped."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
        await self.flush()
        await self._loop.run_in_executor(self._thread, self._file.close)
        self._thread.shutdown()

    # Known clients

    def is_known(self, network: str) -> bool:
        """Whether a client of this network (`network_of`) has behaved before: from memory."""
        return self.get(Kind.KNOWN, network.encode(), self._clock()) is not None

    def met(self, network: str, now: float) -> None:
        """A message of this client was taken: remember it. Returns at once."""
        self.renew(Kind.KNOWN, network.encode(), now, KNOWN_FOR)

    def is_patient(self, network: str) -> bool:
        """Whether a client of this network is known, or has waited for our greeting lately."""
        now = self._clock()
        return self.is_known(network) or self.get(Kind.PATIENT, network.encode(), now) is not None

    def waited(self, network: str, now: float) -> None:
        """A client of this network waited for our greeting. Returns at once."""
        self.renew(Kind.PATIENT, network.encode(), now, _PATIENT_FOR)

    # Marks

    def get(self, kind: Kind, key: bytes, now: float) -> Mark | None:
        """A mark that counts, as far as memory knows: for all kinds but triplets that is all."""
        mark = self._shelves[kind].get(key)
        return mark if mark is not None and mark.until > now else None

    async def triplet(self, key: bytes, now: float) -> Mark | None:
        """When a triplet was first seen. Suspends only when memory could not hold all of them."""
        mark = self._shelves[Kind.TRIPLET].get(key)
        if mark is None and not self._complete:
            mark = self._pending.get((Kind.TRIPLET, key))
            mark = mark or await self._ask(None, self._file.get, Kind.TRIPLET, key)
        return mark if mark is not None and mark.until > now else None

    def note(self, kind: Kind, key: bytes, mark: Mark) -> None:
        """Remember; at once, and written soon."""
        if self._closed:
            return
        shelf = self._shelves[kind]
        shelf[key] = mark
        shelf.move_to_end(key)
        self._make_room(kind, shelf, mark.at)
        self._pending[kind, key] = mark
        self._bound_pending()
        self._write_in(_DELAY)

    def renew(self, kind: Kind, key: bytes, now: float, keep: float) -> None:
        """It was seen again: remember it for `keep` seconds from now."""
        mark = self.get(kind, key, now)
        if mark is None or not 0 <= now - mark.at < min(_RENEW, keep / 10):
            self.note(kind, key, Mark(now, now + keep))

    def forget(self, kind: Kind, key: bytes, now: float) -> bool:
        """It counts no more. Returns whether it did; not for triplets."""
        if self.get(kind, key, now) is None:
            return False
        self.note(kind, key, Mark(now, now))
        return True

    def marks(self, kind: Kind, now: float) -> list[tuple[bytes, Mark]]:
        """All marks of a kind that count, oldest first, as memory has them now."""
        return [(key, mark) for key, mark in self._shelves[kind].items() if mark.until > now]

    def forgotten(self, kind: Kind) -> float:
        """When the youngest mark was noted that counted and had to go for others; 0.0: none had.
        Not for triplets.
        """
        return self._forgotten.get(kind, 0.0)

    @property
    def trouble(self) -> str:
        """Why what is not known may have been forgotten; "" when all is well."""
        if self._failing:
            return self._failing
        return "too many newcomers at once" if self._clock() < self._overrun_until else ""

    async def flush(self) -> None:
        """Write what waits. Returns when it is in the file, or could not be written now."""
        if self._writing is not None:
            await asyncio.wait([self._writing])
        self._start_writing()
        if self._writing is not None:
            await asyncio.wait([self._writing])

    # Parts

    async def _load(self) -> None:
        for kind in Kind:
            empty: tuple[Shelf, bool] = (Shelf(), True)
            shelf, whole = await self._ask(empty, self._file.newest, kind, HELD)
            self._shelves[kind] = shelf
            if kind is Kind.TRIPLET:
                self._complete = whole

    def _make_room(self, kind: Kind, shelf: Shelf, now: float) -> None:
        """Let go of the oldest: one that is too many, and two that count no more."""
        for old, mark in list(islice(shelf.items(), 2)):
            if mark.until <= now:
                del shelf[old]
        if len(shelf) > HELD:
            _, gone = shelf.popitem(last=False)
            if gone.until > now:
                self._forgotten[kind] = max(gone.at, self.forgotten(kind))
            if kind is Kind.TRIPLET:
                self._complete = False

    def _bound_pending(self) -> None:
        while len(self._pending) > PENDING:
            del self._pending[next(iter(self._pending))]

    def _write_in(self, seconds: float) -> None:
        if self._timer is None and not self._closed:
            self._timer = self._loop.call_later(seconds, self._start_writing)

    def _start_writing(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is None and self._pending:
            self._writing = asyncio.create_task(self._write())
            self._writing.add_done_callback(self._written)

    def _written(self, _: "asyncio.Task[None]") -> None:
        self._writing = None

    async def _write(self) -> None:
        batch, self._pending = self._pending, {}
        notes: list[Note] = [(kind, key, mark) for (kind, key), mark in batch.items()]
        dropped: float | None = await self._ask(None, self._file.put, notes)
        if dropped is None:
            self._pending = batch | self._pending
            self._bound_pending()
            self._write_in(_RETRY)
            return
        if self._clock() - dropped < OVERRUN:
            self._overrun()
        if self._pending:
            self._write_in(_DELAY)

    def _overrun(self) -> None:
        if self._clock() >= self._overrun_until:
            text = "so many newcomers at once that some are forgotten before they come again"
            self._emit(ClientsTrouble(reason=text))
        self._overrun_until = self._clock() + OVERRUN

    async def _sweep(self) -> None:
        while True:
            while await self._ask(False, self._file.sweep, self._clock()):
                pass
            await asyncio.sleep(_SWEEP)

    async def _ask(self, otherwise: _T, work: Callable[..., _T], *values: Any) -> _T:  # noqa: ANN401 - of any method of the file
        """Have the thread do it; in trouble, which is told once, it is `otherwise`."""
        try:
            done = await self._loop.run_in_executor(self._thread, work, *values)
        except (sqlite3.Error, OSError) as error:
            if not self._failing:
                text = f"what is remembered of clients can't be read or kept: {error}"
                self._emit(ClientsTrouble(reason=text))
            self._failing = str(error) or type(error).__name__
            return otherwise
        self._failing = ""
        return done
