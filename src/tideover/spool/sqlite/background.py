"""What goes on beside the daemon's work after a start: the rest of the integrity check, and bodies
that a crash has cut off.

The check reads one snapshot, and as long as it does the WAL can't begin anew. So it is stopped
when the WAL gets long, and tried again later.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Final

from tideover.events.event import EventSink
from tideover.events.records import SpoolTrouble
from tideover.spool.interface import SpoolError
from tideover.spool.sqlite.accept import delete_staged
from tideover.spool.sqlite.connection import connect_reader
from tideover.spool.sqlite.statements import queries
from tideover.spool.sqlite.work import Call
from tideover.spool.sqlite.writer import Writer

_CHECK: Final = queries()["quick_check"]
_CHECK_WHOLE: Final = queries()["whole_check"]
_MOST_WAL: Final = 512 * 1024 * 1024
_LOOK_EVERY: Final = 1.0
_AGAIN_AFTER: Final = 600.0


def check(conn: sqlite3.Connection, *, whole: bool = False) -> str | None:
    """Check the file's structure, with `whole` also whether indexes and tables say the same.
    Returns what is wrong, or None.

    Raises:
        sqlite3.OperationalError: interrupted.
    """
    try:
        answer = str(conn.execute(_CHECK_WHOLE if whole else _CHECK).fetchone()[0])
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        return str(error)
    return None if answer == "ok" else answer.strip().splitlines()[-1]


class Background:
    """Owns those tasks. `close` ends them."""

    def __init__(self, path: Path, sink: EventSink) -> None:
        self._path = path
        self._sink = sink
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, writer: Writer, staged: Sequence[int], *, checked: bool) -> None:
        """Delete these bodies, which a crash has cut off, and check unless that has been done."""
        if staged:
            self._tasks.append(asyncio.create_task(_sweep(writer, staged)))
        if not checked:
            self._tasks.append(asyncio.create_task(self._check()))

    async def close(self) -> None:
        """Stop all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _check(self) -> None:
        while True:
            conn = connect_reader(self._path)
            with closing(conn):
                running = asyncio.ensure_future(asyncio.to_thread(check, conn))
                try:
                    while not running.done():
                        await asyncio.wait([running], timeout=_LOOK_EVERY)
                        if self._wal_is_long():
                            conn.interrupt()
                    damage = await running
                except sqlite3.OperationalError:
                    await asyncio.sleep(_AGAIN_AFTER)
                    continue
                finally:
                    conn.interrupt()
                    await asyncio.wait([running])
                    if not running.cancelled():
                        running.exception()
            if damage is not None:
                mark_suspect(self._path)
                self._sink(
                    SpoolTrouble(
                        reason=f"{self._path}: damaged ({damage}); "
                        "the next start saves what can be read into a new file"
                    )
                )
            return

    def _wal_is_long(self) -> bool:
        with suppress(OSError):
            return self._path.with_name(self._path.name + "-wal").stat().st_size > _MOST_WAL
        return False


async def _sweep(writer: Writer, staged: Sequence[int]) -> None:
    """Delete cut-off bodies, each in a transaction of its own."""
    for number in staged:
        call: Call[None] = Call(writer.loop.create_future(), partial(delete_staged, number=number))
        writer.submit(call)
        with suppress(SpoolError):  # the next start tries again
            await call.future


def suspect_mark(path: Path) -> Path:
    """The file that says that the database was found damaged."""
    return path.with_suffix(".suspect")


def mark_suspect(path: Path) -> None:
    """Have the next start check the whole file before it serves."""
    with suppress(OSError):
        suspect_mark(path).touch()
