"""What the writer does when nobody waits: checkpoint the WAL, give disk back to the system.

A checkpoint is also run by SQLite itself, in the commit that makes the WAL longer than
`connection.WAL_PAGES`; that bounds the WAL under load without end. Each step here is short, so
that work that comes meanwhile waits some 10 ms at most.
"""

import sqlite3
from contextlib import suppress
from time import monotonic
from typing import Final

_PATIENCE: Final = 0.25  # seconds without work until upkeep begins
_COUNT_EVERY: Final = 1.0
_STEP_PAGES: Final = 256
_KEEP_PAGES: Final = 4096  # free pages that stay for the next outage


class Upkeep:
    """Upkeep of one database. `free_pages` is what the file holds in pages that are not in use."""

    def __init__(self) -> None:
        self.patience: float | None = _PATIENCE
        self.free_pages = 0
        self._checkpointed = False
        self._count_again_at = 0.0

    def wrote(self, conn: sqlite3.Connection) -> None:
        """A commit was made: there is something to do again."""
        self.patience = _PATIENCE
        self._checkpointed = False
        if (time := monotonic()) >= self._count_again_at:  # work may never pause
            self._count_again_at = time + _COUNT_EVERY
            self._count(conn)

    def step(self, conn: sqlite3.Connection) -> None:
        """Do a little. Sets `patience` to how long to wait for work before the next step."""
        try:
            if not self._checkpointed:
                conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                self._checkpointed = True
            self._count(conn)
            if self.free_pages <= _KEEP_PAGES:
                self.patience = None
                return
            pages = min(_STEP_PAGES, self.free_pages - _KEEP_PAGES)
            # `execute` would stop after the first page: this statement has steps, but no columns.
            conn.executescript(f"PRAGMA incremental_vacuum({pages})")
            self.patience = 0.01
            self._checkpointed = False
        except sqlite3.Error:
            self.patience = None  # upkeep can wait until writing works again

    def _count(self, conn: sqlite3.Connection) -> None:
        with suppress(sqlite3.Error):
            self.free_pages = conn.execute("PRAGMA freelist_count").fetchone()[0]
