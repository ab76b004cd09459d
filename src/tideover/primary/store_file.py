"""The file behind `store`, a `side_file`, used by one thread. Everything here blocks.

What it holds is the past of DNS; without the file, memory has to do until the next start.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from tideover.events.domain_records import RouteMemoryTrouble
from tideover.events.event import EventSink
from tideover.side_file import Form, SideFile, named_queries

APPLICATION_ID: Final = 0x54494450  # "TIDP"
VERSION: Final = 2

_CACHE: Final = 4096

Row = tuple[object, ...]
Values = Sequence[object] | dict[str, object]


class StoreFile:
    """The file at `path`. Construction opens it, and never fails; use it in one thread."""

    def __init__(self, path: Path, sink: EventSink) -> None:
        self._file = SideFile(
            path,
            Form(APPLICATION_ID, VERSION, _queries()["schema"], _CACHE),
            damaged=partial(_tell_damaged, path, sink),
            missing=partial(_tell_missing, path, sink),
        )

    def read(self, query: str, values: Values = ()) -> list[Row]:
        """All rows of a named query. Raises sqlite3.Error."""
        try:
            return self._file.conn.execute(_queries()[query], values).fetchall()
        except sqlite3.DatabaseError as error:
            self._file.mend(error)
            raise

    def write(self, batch: Sequence[tuple[str, Values]]) -> int | None:
        """Run these named queries, all or none. Returns how many. Raises sqlite3.Error."""
        conn = self._file.conn
        try:
            conn.execute("BEGIN IMMEDIATE")
            for query, values in batch:
                conn.execute(_queries()[query], values)
            conn.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            with suppress(sqlite3.Error):
                conn.execute("ROLLBACK")
            self._file.mend(error)
            raise
        return len(batch)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _queries() -> Mapping[str, str]:
    return named_queries("tideover.primary", "sql/store.sql")


def _tell_damaged(path: Path, sink: EventSink, damage: str, aside: Path) -> None:
    text = f"{path} was damaged ({damage}); it was set aside as {aside.name}"
    sink(RouteMemoryTrouble(reason=text))


def _tell_missing(path: Path, sink: EventSink, error: Exception) -> None:
    text = f"{path}: {error}; what DNS says is remembered until the next start only"
    sink(RouteMemoryTrouble(reason=text))
