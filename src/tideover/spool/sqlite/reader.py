"""The thread that reads, on a connection of its own, so that lists never hold up the writer."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from tideover.spool.interface import SpoolUnavailable
from tideover.spool.sqlite.trouble import is_damage, spool_error

T = TypeVar("T")


class Reader:
    """Answers questions one after the other."""

    def __init__(
        self,
        conn: sqlite3.Connection,
        loop: asyncio.AbstractEventLoop,
        damaged: Callable[[], None],
    ) -> None:
        self._conn = conn
        self._damaged = damaged
        self._loop = loop
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="spool-reader")
        self._closed = False

    async def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Run `question` in the reader's thread.

        Raises:
            SpoolError: it can't be read.
        """
        if self._closed:
            raise SpoolUnavailable("the spool is closed")
        return await self._loop.run_in_executor(self._pool, partial(self._run, question))

    async def close(self) -> None:
        """Finish what was asked, then close."""
        if not self._closed:
            self._closed = True
            await self._loop.run_in_executor(self._pool, self._conn.close)
            self._pool.shutdown()

    def _run(self, question: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return question(self._conn)
        except sqlite3.Error as error:
            if is_damage(error):
                self._damaged()
            raise spool_error(error) from None
