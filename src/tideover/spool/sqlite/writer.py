"""The one thread that writes: takes all work that waits, one transaction, one commit, one answer.

Why one thread and one connection: group commit needs nothing more, and SQLite before 3.51.3 can
corrupt a WAL that two connections write or checkpoint at the same moment. So all writing and all
checkpoints happen here; other connections read only.

A batch that fails is rolled back, then each work of it is tried alone, so that one that can't be
done does not fail the others. After `_GIVE_UP` failures in a row the rest of the batch fails, too.
A commit whose fsync failed counts as failed, and nobody hears that its frames are safe (I1, I6).
The connection is kept on purpose: SQLite then writes the next transaction over those frames. Were
it opened anew, recovery would take them for good, though the kernel may have dropped them,
and all that is appended behind them would be lost with the next power cut. For the same reason
`opening` moves what it finds in the WAL into the database, with fresh writes and an fsync.

Never touches the loop but by `call_soon_threadsafe`, once a batch.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from itertools import groupby
from operator import attrgetter
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final

from tideover.events.clock import now
from tideover.events.event import Event, EventSink
from tideover.events.records import SpoolRecovered, SpoolTrouble
from tideover.spool.interface import SpoolError, SpoolUnavailable
from tideover.spool.sqlite.trouble import is_damage, spool_error
from tideover.spool.sqlite.upkeep import Upkeep
from tideover.spool.sqlite.work import Transaction, Work

_GIVE_UP: Final = 3

Batch = list[Work[Any]]


def _class(work: Work[Any]) -> type[Work[Any]]:
    return type(work)


class Writer:
    """Runs work in batches. Its methods are for the loop's thread."""

    def __init__(
        self,
        conn: sqlite3.Connection,
        loop: asyncio.AbstractEventLoop,
        sink: EventSink,
        damaged: Callable[[], None],
    ) -> None:
        self.loop = loop
        self.failing = False
        self.upkeep = Upkeep()
        self._conn = conn
        self._sink = sink
        self._damaged = damaged
        self._inbox: Batch = []
        self._queue: SimpleQueue[Batch | None] = SimpleQueue()
        self._closed = False
        self._failing_since = 0.0
        self._finished: asyncio.Future[None] = loop.create_future()
        self._thread = Thread(target=self._main, name="spool-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work[Any]) -> None:
        """Hand work over. All that one turn of the loop submits goes to the thread together."""
        if self._closed:
            work.error = SpoolUnavailable("the spool is closed")
            self.loop.call_soon(work.resolve)
            return
        self._inbox.append(work)
        if len(self._inbox) == 1:
            self.loop.call_soon(self._hand_over)

    async def close(self) -> None:
        """Finish what was submitted, then end the thread."""
        if not self._closed:
            self._closed = True
            self._hand_over()
            self._queue.put(None)
        await self._finished
        self._thread.join()

    def _hand_over(self) -> None:
        if self._inbox:
            self._queue.put(self._inbox)
            self._inbox = []

    def _told(self, batch: Batch, events: list[Event]) -> None:
        """Back in the loop: what came of a batch."""
        for work in batch:
            work.resolve()
        for event in events:
            self._sink(event)

    # From here on: the thread.

    def _main(self) -> None:
        while True:
            batch = self._next_batch()
            if batch is None:
                break
            events = self._run(batch)
            self.loop.call_soon_threadsafe(self._told, batch, events)
        self._conn.close()
        self.loop.call_soon_threadsafe(self._finished.set_result, None)

    def _next_batch(self) -> Batch | None:
        """All that waits; None when the end has come. Idle time goes to upkeep."""
        while True:
            try:
                batch = self._queue.get(timeout=self.upkeep.patience)
            except Empty:
                self.upkeep.step(self._conn)
                continue
            if batch is None:
                return None
            while not self._queue.empty():
                more = self._queue.get()
                if more is None:
                    self._queue.put(None)
                    break
                batch += more
            return batch

    def _run(self, batch: Batch) -> list[Event]:
        """Do a batch, if need be one by one. Returns what to tell the sink."""
        events: list[Event] = []
        error = self._attempt(batch, events)
        if error is not None and len(batch) > 1:
            failures = 0
            for work in batch:
                if failures < _GIVE_UP:
                    error = self._attempt([work], events)
                    failures = failures + 1 if error else 0
                work.error = error
        elif error is not None:
            batch[0].error = error
        self._note_health(error, events)
        return events

    def _attempt(self, batch: Batch, events: list[Event]) -> Exception | None:
        """Do works in one transaction. Returns None when they are durable, else the error."""
        conn = self._conn
        tx = Transaction(conn)
        try:
            if (single := _single_statement(batch)) is not None:
                conn.execute(*single)
            else:
                conn.execute("BEGIN IMMEDIATE")
                if len(batch) > 1:
                    batch = sorted(batch, key=attrgetter("rank"))
                for kind, works in groupby(batch, _class):
                    kind.apply(tx, tuple(works))
                conn.execute("COMMIT")
        except Exception as error:
            return self._undone(error)
        self.upkeep.wrote(conn)
        events += tx.events
        return None

    def _undone(self, error: Exception) -> Exception:
        """Roll back after an error. Returns the error for the callers."""
        if self._conn.in_transaction:
            with suppress(sqlite3.Error):  # SQLite has rolled back by itself
                self._conn.execute("ROLLBACK")
        if not isinstance(error, sqlite3.Error):
            return error
        if is_damage(error):
            self._damaged()
        return spool_error(error)

    def _note_health(self, error: Exception | None, events: list[Event]) -> None:
        """Tell when writing begins to fail, and when it works again."""
        failing = isinstance(error, SpoolError)
        if failing and not self.failing:
            self._failing_since = now()
            events.append(SpoolTrouble(reason=str(error)))
        elif self.failing and not failing:
            events.append(SpoolRecovered(seconds=now() - self._failing_since))
        self.failing = failing


def _single_statement(batch: Batch) -> tuple[str, list[object]] | None:
    """The one statement that does the whole batch, when it is of one class that has such a one.

    A statement by itself is a transaction: insert, commit and flush are then one step, in which
    the interpreter lock is free, and the loop's thread is interrupted once, not five times.
    """
    kind = type(batch[0])
    if any(type(work) is not kind for work in batch):
        return None
    return kind.single_statement(batch)
