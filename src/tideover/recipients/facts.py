"""The memory of addresses: what was learned of them, kept in `data_dir/addresses.sqlite`.

Sources that are asked one address at a time remember here what they heard, so that they may be
down together with the primary. Never blocks the event loop: one thread does what `facts_file`
says; what is noted is written in batches, what was read lately is held in memory.

It is a memory, not a promise: a fact that is lost is learned again. So noting returns at once,
trouble with the file is told and never raised, and what can't be read counts as not known.

Invariants
    Each size has a bound: facts a domain, facts in memory, notes that wait.
    What was noted is seen by every later `get`, written or not.
"""

import asyncio
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from tideover.events.clock import now as wall_clock
from tideover.events.event import EventSink
from tideover.events.recipient_records import AddressesTrouble
from tideover.recipients.facts_file import Fact, FactsFile, Key, State, merged

__all__ = ["GOOD_FOR", "PER_DOMAIN", "Fact", "Facts", "State"]

GOOD_FOR: Final = 31 * 86400.0
"""Seconds that a yes is remembered."""

PER_DOMAIN: Final = 100_000
"""Facts of one domain; beyond, the oldest refusals go first."""

IN_MEMORY: Final = 20_000
"""Facts held in memory, known and unknown ones: some 10 MB."""

PENDING: Final = 20_000
"""Notes that wait for the file; beyond, the oldest are dropped."""

MAX_TEXT: Final = 200
"""Characters of a reply that are kept."""

_DELAY: Final = 0.2  # seconds from a note to its writing
_RETRY: Final = 10.0
_SWEEP: Final = 600.0
_STEP: Final = 1000

_T = TypeVar("_T")


class Facts:
    """Made by `open`; used on the loop that ran it; `close` when all is over."""

    def __init__(
        self,
        file: FactsFile,
        thread: ThreadPoolExecutor,
        sink: EventSink,
        clock: Callable[[], float],
    ) -> None:
        self._file = file
        self._thread = thread
        self._sink = sink
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._known: OrderedDict[Key, Fact | None] = OrderedDict()
        self._pending: dict[Key, Fact] = {}
        self._reads: dict[Key, asyncio.Future[Fact | None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failing = False
        self._closed = False
        self._sweeper = self._loop.call_later(_SWEEP, self._sweep_soon)
        self._sweep_soon(again=False)

    @classmethod
    async def open(
        cls,
        path: Path,
        sink: EventSink,
        *,
        per_domain: int = PER_DOMAIN,
        clock: Callable[[], float] = wall_clock,
    ) -> "Facts":
        """Open the memory, making the file where there is none. Never fails: see `facts_file`."""
        thread = ThreadPoolExecutor(1, "addresses")
        file = await asyncio.get_running_loop().run_in_executor(
            thread, lambda: FactsFile(path, sink, limit=per_domain)
        )
        return cls(file, thread, sink, clock)

    # One address

    async def get(self, domain: str, names: Sequence[str], source: str) -> tuple[Fact | None, ...]:
        """What is known now for each of the names, in their order; seeds and facts that count no
        more are not known.
        """
        return tuple([await self._get(Key(domain, source, name)) for name in names])

    def note(self, domain: str, name: str, source: str, fact: Fact) -> None:
        """Remember; at once, and written soon. The more recent fact wins."""
        if self._closed:
            return
        key = Key(domain, source, name)
        if len(fact.text) > MAX_TEXT:
            fact = Fact(state=fact.state, at=fact.at, until=fact.until, due=fact.due,
                        text=fact.text[:MAX_TEXT])  # fmt: skip
        self._known.pop(key, None)
        self._reads.pop(key, None)
        self._pending[key] = merged(self._pending.pop(key, None), fact)
        if len(self._pending) > PENDING:
            del self._pending[next(iter(self._pending))]
        if self._timer is None:
            self._timer = self._loop.call_later(_DELAY, self._flush_soon)

    # One address, for sources that have no memory of their own (`asked.Remembered`)

    async def good_at(self, domain: str, names: Sequence[str], source: str) -> float | None:
        """When the source last said yes to one of the names (Unix time)."""
        known = await self.get(domain, names, source)
        good = [fact.at for fact in known if fact is not None and fact.state is State.GOOD]
        return good[0] if good else None

    def said_yes(self, domain: str, name: str, source: str, now: float) -> None:
        """The source said yes."""
        self.note(domain, name, source, Fact(state=State.GOOD, at=now, until=now + GOOD_FOR))

    async def said_no(self, domain: str, names: Sequence[str], source: str, now: float) -> None:
        """The source said no: what it said before counts no more."""
        for name, fact in zip(names, await self.get(domain, names, source), strict=True):
            if fact is not None:
                over = Fact(state=State.REFUSED, at=now, until=now)
                self.note(domain, name, source, over)

    # Many

    async def seed(self, domain: str, names: Iterable[str], source: str, *, until: float) -> int:
        """Addresses that are worth asking for, from an operator: what is known of them stays.
        Returns how many of them nothing was known of.
        """
        count, due = 0, self._clock()
        batch: list[tuple[Key, Fact]] = []
        for name in names:
            # `at` 0: older than whatever is known
            batch.append((Key(domain, source, name), Fact(state=State.SEED, at=0.0, until=until,
                                                          due=due)))  # fmt: skip
            if len(batch) == _STEP:
                count += await self._put(batch) or 0
                batch = []
        return count + (await self._put(batch) or 0)

    async def count(self, domain: str, source: str) -> dict[State, int]:
        """How many facts there are of each state."""
        await self.flush()
        return await self._ask({}, self._file.count, domain, source, self._clock())

    async def page(
        self, domain: str, source: str, *, after: str = "", limit: int = _STEP
    ) -> list[tuple[str, Fact]]:
        """Local parts in their order, from behind `after`, with what is remembered of them: seeds
        and facts that count no more, too. An empty list is the end.
        """
        await self.flush()
        return await self._ask([], self._file.page, domain, source, after, limit)

    async def due_domains(self, source: str, limit: int, *, after: str = "") -> list[str]:
        """Domains of which some address is due to be asked again, in their order, from behind
        `after`.
        """
        await self.flush()
        return await self._ask([], self._file.due_domains, source, after, self._clock(), limit)

    async def due(self, domain: str, source: str, limit: int) -> list[str]:
        """Local parts that are due to be asked again, the longest due first."""
        return await self._ask([], self._file.due, source, domain, self._clock(), limit)

    async def postpone(self, domain: str, name: str, source: str, due: float) -> None:
        """Ask later than was meant."""
        await self._ask(None, self._file.postpone, Key(domain, source, name), due)

    # The file

    async def flush(self) -> None:
        """Write what waits. Returns when it is in the file, or could not be written now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._pending = self._pending, {}
        if batch and await self._put(list(batch.items())) is None:
            # the newer notes are merged over those that were not written
            for key, fact in batch.items():
                self._pending[key] = merged(fact, later) if (
                    later := self._pending.get(key)) else fact  # fmt: skip
                self._known.pop(key, None)
            while len(self._pending) > PENDING:
                del self._pending[next(iter(self._pending))]
            if not self._closed and self._timer is None:
                self._timer = self._loop.call_later(_RETRY, self._flush_soon)

    async def close(self) -> None:
        """Write what waits and let go of the file. What is noted later is dropped."""
        self._closed = True
        self._sweeper.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.flush()
        await self._loop.run_in_executor(self._thread, self._file.close)
        self._thread.shutdown()

    async def _get(self, key: Key) -> Fact | None:
        if key in self._known:
            self._known.move_to_end(key)
            return self._counting(self._known[key])
        read = self._reads.get(key)
        if read is None:
            read = self._reads[key] = asyncio.ensure_future(self._read(key))
            read.add_done_callback(lambda done: self._have_read(key, done))
        # One caller that gives up must not end the reading for the others.
        fact = await asyncio.shield(read)
        return self._counting(fact)

    async def _read(self, key: Key) -> Fact | None:
        waiting = self._pending.get(key)  # now: it may be written when the answer is here
        stored = await self._ask(None, self._file.get, key)
        return stored if waiting is None else merged(stored, waiting)

    def _have_read(self, key: Key, done: "asyncio.Future[Fact | None]") -> None:
        if self._reads.get(key) is not done:
            return  # something was noted meanwhile
        del self._reads[key]
        if not done.cancelled() and done.exception() is None and not self._failing:
            self._known[key] = done.result()
            if len(self._known) > IN_MEMORY:
                self._known.popitem(last=False)

    def _counting(self, fact: Fact | None) -> Fact | None:
        if fact is None or fact.state is State.SEED or fact.until <= self._clock():
            return None
        return fact

    async def _put(self, batch: list[tuple[Key, Fact]]) -> int | None:
        """Write a batch: how many addresses were new; None: it could not be written."""
        if not batch:
            return 0
        for key, _ in batch:
            self._known.pop(key, None)
            self._reads.pop(key, None)
        added: int | None = await self._ask(None, self._file.put, batch)
        if added is not None:
            self._failing = False
        return added

    async def _ask(self, otherwise: _T, work: Callable[..., _T], *values: Any) -> _T:  # noqa: ANN401 - of any method of the file
        """Have the thread do it; in trouble, which is told once, it is `otherwise`."""
        try:
            return await self._loop.run_in_executor(self._thread, work, *values)
        except (sqlite3.Error, OSError) as error:
            if not self._failing:
                self._failing = True
                self._known.clear()
                self._sink(AddressesTrouble(reason=f"what is learned can't be kept: {error}"))
            return otherwise

    # Timers

    def _flush_soon(self) -> None:
        self._timer = None
        self._spawn(self.flush())

    def _sweep_soon(self, *, again: bool = True) -> None:
        if again:
            self._sweeper = self._loop.call_later(_SWEEP, self._sweep_soon)
        self._spawn(self._sweep())

    async def _sweep(self) -> None:
        while await self._ask(False, self._file.sweep, self._clock()) and not self._closed:
            pass

    def _spawn(self, work: Any) -> None:  # noqa: ANN401 - a coroutine
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
