"""The file behind `store`: SQLite in WAL mode, used by one thread. Everything here blocks.

What it holds is the past of DNS, worth having but never worth stopping for: a damaged file is put
aside, whole, and a new one begun; where none can be opened, memory has to do until the next start.
A commit may be lost with a power cut (`synchronous=NORMAL`), never the file's structure.
"""

import os
import re
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from tideover.events.clock import now
from tideover.events.domain_records import RouteMemoryTrouble
from tideover.events.event import EventSink

APPLICATION_ID: Final = 0x54494450  # "TIDP"
VERSION: Final = 1

_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_NAME_LINE: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)

Row = tuple[object, ...]
Values = Sequence[object] | dict[str, object]


class StoreFile:
    """The file at `path`. Construction opens it, and never fails; use it in one thread."""

    def __init__(self, path: Path, sink: EventSink) -> None:
        self._path = path
        self._sink = sink
        self._conn = self._open()

    def read(self, query: str, values: Values = ()) -> list[Row]:
        """All rows of a named query. Raises sqlite3.Error."""
        try:
            return self._conn.execute(_queries()[query], values).fetchall()
        except sqlite3.DatabaseError as error:
            self._replace_if_damaged(error)
            raise

    def write(self, batch: Sequence[tuple[str, Values]]) -> int | None:
        """Run these named queries, all or none. Returns how many. Raises sqlite3.Error."""
        try:
            self._conn.execute("BEGIN IMMEDIATE")
            for query, values in batch:
                self._conn.execute(_queries()[query], values)
            self._conn.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            with suppress(sqlite3.Error):
                self._conn.execute("ROLLBACK")
            self._replace_if_damaged(error)
            raise
        return len(batch)

    def close(self) -> None:
        """Let go of the file."""
        with suppress(sqlite3.Error):
            self._conn.close()

    def _replace_if_damaged(self, error: sqlite3.DatabaseError) -> None:
        if _is_damage(error):
            self.close()
            self._set_aside(str(error))
            self._conn = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                return _connect(self._path)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._set_aside(str(error))
                return _connect(self._path)
        except (sqlite3.Error, OSError) as error:
            text = f"{self._path}: {error}; what DNS says is remembered until the next start only"
            self._sink(RouteMemoryTrouble(reason=text))
            return _connect(None)

    def _set_aside(self, damage: str) -> None:
        """Rename the file with its WAL, which belongs to it by name."""
        aside = self._path.with_name(f"{self._path.name}.damaged-{int(now())}")
        for suffix in ("-wal", "-shm", ""):
            with suppress(OSError):
                self._path.with_name(self._path.name + suffix).rename(
                    aside.with_name(aside.name + suffix)
                )
        text = f"{self._path} was damaged ({damage}); it was set aside as {aside.name}"
        self._sink(RouteMemoryTrouble(reason=text))


@cache
def _queries() -> dict[str, str]:
    text = files("tideover.primary").joinpath("sql/store.sql").read_text(encoding="utf-8")
    parts = _NAME_LINE.split(text)[1:]
    return {name: sql.strip() for name, sql in zip(parts[::2], parts[1::2], strict=True)}


def _connect(path: Path | None) -> sqlite3.Connection:
    """Open and check the file, making it where there is none; None: in memory."""
    if path is not None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    conn = sqlite3.connect(
        path or ":memory:", timeout=5.0, isolation_level=None, check_same_thread=False
    )
    try:
        for setting in ("journal_mode = WAL", "synchronous = NORMAL", "cache_size = -4096",
                        "temp_store = MEMORY", "trusted_schema = OFF"):  # fmt: skip
            conn.execute(f"PRAGMA {setting}").fetchall()
        _migrate(conn)
    except BaseException:
        conn.close()
        raise
    return conn


def _migrate(conn: sqlite3.Connection) -> None:
    version = int(conn.execute("PRAGMA user_version").fetchone()[0])
    application = int(conn.execute("PRAGMA application_id").fetchone()[0])
    if application != APPLICATION_ID and conn.execute("PRAGMA schema_version").fetchone()[0]:
        raise sqlite3.OperationalError("a database of another program")
    if version > VERSION:
        raise sqlite3.OperationalError(f"written by a newer tideover (schema {version})")
    if version < VERSION:
        conn.executescript(
            f"BEGIN IMMEDIATE;\n{_queries()['schema']}\n"
            f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {VERSION};\nCOMMIT;"
        )


def _is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED
