"""The last good copy of each loaded source, in data_dir, so that a source may be down together
with the primary while we start.

A convenience, never a truth: a copy that is damaged or missing only means that the source itself
must be read. So nothing is flushed to the disk in haste, and a damaged file is put aside.
Everything here blocks; call it in a thread.
"""

import contextlib
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, Final

import msgspec

from tideover.recipients.formats import plain
from tideover.recipients.listing import ListBuilder, Listing, NameList
from tideover.recipients.sources.interface import Load

NAME: Final = "recipients.sqlite"
_VERSION: Final = 2
_LARGEST: Final = 900 * 1024 * 1024
"""Octets of one copy after compression; SQLite bounds a value to 1 GB."""
_PIECE_LINES: Final = 5_000
_BLOCK: Final = 1 << 15
_LENGTH: Final = 4
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS copy (
    source TEXT PRIMARY KEY,
    loaded_at REAL NOT NULL,
    version TEXT,
    data BLOB NOT NULL
) WITHOUT ROWID
"""


class Copies:
    """The copies in one directory. `directory` None: none are kept. `read_only`: nothing is
    written, as beside a daemon that does not run and has another owner.
    """

    def __init__(self, directory: Path | None, *, read_only: bool = False) -> None:
        self._read_only = read_only
        self._path = directory / NAME if directory is not None else None
        self._lock = Lock()
        self._database: sqlite3.Connection | None = None

    def get(self, source: str, *, other_than: str | None = None) -> tuple[Load, float] | None:
        """The last good copy, and when it was loaded (Unix time); None also if it is that of the
        version `other_than`.
        """
        with self._lock:
            row = self._execute(
                "SELECT version, data, loaded_at FROM copy"
                " WHERE source = ? AND (version IS NULL OR version IS NOT ?)",
                (source, other_than),
            )
        if row is None:
            return None
        version, data, loaded_at = row
        with contextlib.suppress(zlib.error, msgspec.DecodeError, ValueError):
            return Load(lists=_unpacked(data), version=version), loaded_at
        return None

    def put(
        self, source: str, version: str | None, lists: Mapping[str, Listing], loaded_at: float
    ) -> None:
        """Keep these lists, unless those of this version are there already."""
        if self._read_only:
            return
        if version is not None:
            known = "SELECT version, '', 0 FROM copy WHERE source = ? AND version = ?"
            with self._lock:
                if self._execute(known, (source, version)) is not None:
                    return
        data = _packed(lists)
        if len(data) > _LARGEST:
            return
        with self._lock:
            self._execute(
                "INSERT OR REPLACE INTO copy VALUES (?, ?, ?, ?)",
                (source, loaded_at, version, data),
            )

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What is put in between is written at once, at the end: ten times as fast."""
        begun = not self._read_only and self._do("BEGIN")
        try:
            yield
        finally:
            if begun:
                self._do("COMMIT")

    def _do(self, statement: str) -> bool:
        with self._lock:
            self._execute(statement, ())
            return self._database is not None

    def all(self) -> list[tuple[str, float]]:
        """What there are copies of, and when each was loaded."""
        with self._lock:
            rows = self._execute_all("SELECT source, loaded_at FROM copy")
        return [(str(source), float(at)) for source, at in rows]

    def remove(self, sources: Iterable[str]) -> None:
        """Forget these: afterwards nothing of them is in the file."""
        if self._read_only:
            return
        with self.together():
            for source in sources:
                with self._lock:
                    self._execute("DELETE FROM copy WHERE source = ?", (source,))
        with self._lock:
            self._execute("PRAGMA wal_checkpoint(TRUNCATE)", ())

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _execute(
        self, statement: str, values: tuple[object, ...]
    ) -> tuple[str, bytes, float] | None:
        """One statement, and the first row of its answer, if there is one."""
        return next(iter(self._execute_all(statement, values)), None)

    def _execute_all(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        """One statement; without an answer when the file fails, whatever it is that fails."""
        if self._path is None:
            return []
        try:
            if self._database is None:
                self._database = (_open_to_read if self._read_only else _open)(self._path)
            return self._database.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            self._close_bad(error)
            return []

    def _close_bad(self, error: sqlite3.DatabaseError) -> None:
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None
        damaged = not isinstance(error, sqlite3.OperationalError)  # not: a full disk, a lock
        if damaged and self._path is not None and not self._read_only:
            with contextlib.suppress(OSError):
                os.replace(self._path, self._path.with_suffix(".damaged"))


def _open_to_read(path: Path) -> sqlite3.Connection:
    where = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    return sqlite3.connect(where, uri=True, isolation_level=None, check_same_thread=False)


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA secure_delete = ON")  # what is forgotten is names of people
        if database.execute("PRAGMA user_version").fetchone()[0] not in (0, _VERSION):
            database.execute("DROP TABLE IF EXISTS copy")
        database.execute(f"PRAGMA user_version = {_VERSION}")
        database.execute(_TABLE)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _packed(lists: Mapping[str, Listing]) -> bytes:
    """Compressed pieces, each with its length: a piece is what is made without a pause for all
    other threads.
    """
    pack = zlib.compressobj(1)
    data = bytearray()
    for domain, listing in lists.items():
        lines = plain.write(listing) if isinstance(listing, NameList) else iter(())
        while batch := list(islice(lines, _PIECE_LINES)):
            piece = msgspec.msgpack.encode((domain, "\n".join(batch)))
            data += pack.compress(len(piece).to_bytes(_LENGTH, "big") + piece)
    return bytes(data + pack.flush())


def _unpacked(data: bytes) -> dict[str, NameList]:
    """The lists again.

    Raises:
        ValueError, zlib.error, msgspec.DecodeError: it is damaged.
    """
    builder = ListBuilder()
    unpack = zlib.decompressobj()
    waiting = bytearray()
    for start in range(0, len(data), _BLOCK):
        waiting += unpack.decompress(data[start : start + _BLOCK])
        while len(waiting) >= _LENGTH:
            end = _LENGTH + int.from_bytes(waiting[:_LENGTH], "big")
            if len(waiting) < end:
                break
            domain, text = msgspec.msgpack.decode(waiting[_LENGTH:end], type=tuple[str, str])
            plain.read(text.encode(), builder, domain=domain)
            del waiting[:end]
    if waiting or not unpack.eof:
        raise ValueError("cut short")
    return builder.build()
