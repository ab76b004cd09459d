"""The SQLite spool as the rest of the daemon sees it; see `tideover.spool.interface.Spool`.

Writing goes to the writer's thread, reading to one reader's thread, so that neither holds up the
loop or the other.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from tideover.events.records import EventSink
from tideover.message.envelope import QueueId
from tideover.spool.ids import IdSource
from tideover.spool.interface import Claim, Lost, Settlement
from tideover.spool.sqlite import claims
from tideover.spool.sqlite.accept import SqliteIntake
from tideover.spool.sqlite.claims import Lease
from tideover.spool.sqlite.connection import PAGE_SIZE, connect_writer
from tideover.spool.sqlite.files import Lock, check_header, migrate
from tideover.spool.sqlite.settle import Settle
from tideover.spool.sqlite.work import Call, Transaction
from tideover.spool.sqlite.writer import Writer

T = TypeVar("T")


class SqliteSpool:
    """A durable queue in one file. Make it with `open_spool`."""

    def __init__(self, path: Path, lock: Lock, writer: Writer, ids: IdSource) -> None:
        self.path = path
        self._lock = lock
        self._writer = writer
        self._ids = ids
        self.new_id = ids.next

    @classmethod
    async def start(
        cls, path: Path, *, sink: EventSink, loop: asyncio.AbstractEventLoop | None = None
    ) -> Self:
        """Open the spool at `path`, making it when it isn't there.

        Raises:
            SpoolUnusable: foreign or newer file, missing right, used by another daemon.
        """
        loop = loop or asyncio.get_running_loop()
        lock = Lock(path)
        check_header(path)
        conn = connect_writer(path)
        migrate(conn, path)
        last = conn.execute("SELECT coalesce(max(id),0) FROM message").fetchone()[0]
        conn.close()
        return cls(path, lock, Writer(partial(connect_writer, path), loop, sink), IdSource(last))

    def open(self, queue_id: QueueId) -> SqliteIntake:
        """Start taking in the body of a message."""
        return SqliteIntake(self._writer, queue_id)

    async def claim(self, domain: str, *, limit: int, lease: float, now: float) -> Sequence[Claim]:
        """Lease the oldest queued messages of a domain."""
        future: asyncio.Future[Sequence[Claim]] = self._writer.loop.create_future()
        self._writer.submit(Lease(future, domain, limit, now + lease, now))
        return await future

    async def settle(self, settlements: Sequence[Settlement], *, now: float) -> Sequence[QueueId]:
        """Store the ends of attempts; durable when this returns (I4)."""
        future: asyncio.Future[Sequence[QueueId]] = self._writer.loop.create_future()
        self._writer.submit(Settle(future, settlements, now))
        return await future

    async def close(self) -> None:
        """Finish what was asked for, then close."""
        await self._writer.close()
        self._lock.release()

    def _call(self, function: Callable[[Transaction], T]) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self._writer.loop.create_future()
        self._writer.submit(Call(future, function))
        return future
