"""Small SQLite files beside the spool: what is worth having, and never worth stopping for.

WAL mode, one thread at a time. A damaged file is put aside, whole, and a new one begun; where none
can be opened, memory has to do until the next start. A commit may be lost with a power cut
(`synchronous=NORMAL`), never the file's structure. Everything here blocks. The spool, which loses
nothing, opens its file by rules of its own.
"""

import os
import re
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from tideover.events.clock import now

_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_NAME_LINE: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def named_queries(package: str, file: str) -> Mapping[str, str]:
    """The queries of a .sql file in a package, by the names in its lines `-- name: NAME`."""
    text = files(package).joinpath(file).read_text(encoding="utf-8")
    parts = _NAME_LINE.split(text)[1:]
    return MappingProxyType(
        {name: sql.strip() for name, sql in zip(parts[::2], parts[1::2], strict=True)}
    )


class Form(NamedTuple):
    """What a file must be. `application_id` tells it from other programs' files, `schema` makes
    it, `cache` is in KiB; `check` may raise sqlite3.DatabaseError for damage.
    """

    application_id: int
    version: int
    schema: str
    cache: int
    check: Callable[[sqlite3.Connection], None] = lambda _: None


class SideFile:
    """The file at `path`, open as `conn`. Construction never fails.

    `damaged` is told of a damage and where the file was put aside, `missing` why there is no file.
    """

    def __init__(
        self,
        path: Path,
        form: Form,
        *,
        damaged: Callable[[str, Path], None],
        missing: Callable[[Exception], None],
    ) -> None:
        self._path = path
        self._form = form
        self._damaged = damaged
        self._missing = missing
        self.conn = self._open()

    def mend(self, error: sqlite3.Error) -> bool:
        """After an error: was it damage, and is there a new file now?"""
        if not _is_damage(error):
            return False
        self.close()
        self._set_aside(str(error))
        self.conn = self._open()
        return True

    def close(self) -> None:
        """Let go of the file."""
        with suppress(sqlite3.Error):
            self.conn.close()

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                return _connect(self._path, self._form)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._set_aside(str(error))
                return _connect(self._path, self._form)
        except (sqlite3.Error, OSError) as error:
            self._missing(error)
            return _connect(None, self._form)

    def _set_aside(self, damage: str) -> None:
        """Rename the file with its WAL, which belongs to it by name."""
        aside = self._path.with_name(f"{self._path.name}.damaged-{int(now())}")
        for suffix in ("-wal", "-shm", ""):
            with suppress(OSError):
                self._path.with_name(self._path.name + suffix).rename(
                    aside.with_name(aside.name + suffix)
                )
        self._damaged(damage, aside)


def _connect(path: Path | None, form: Form) -> sqlite3.Connection:
    """Open and check the file, making it where there is none; None: in memory."""
    if path is not None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    conn = sqlite3.connect(
        path or ":memory:", timeout=5.0, isolation_level=None, check_same_thread=False
    )
    try:
        for setting in ("journal_mode = WAL", "synchronous = NORMAL",
                        f"cache_size = -{form.cache}", "temp_store = MEMORY",
                        "trusted_schema = OFF"):  # fmt: skip
            conn.execute(f"PRAGMA {setting}").fetchall()
        _migrate(conn, form)
        form.check(conn)
    except BaseException:
        conn.close()
        raise
    return conn


def _migrate(conn: sqlite3.Connection, form: Form) -> None:
    version = int(conn.execute("PRAGMA user_version").fetchone()[0])
    application = int(conn.execute("PRAGMA application_id").fetchone()[0])
    if application != form.application_id and conn.execute("PRAGMA schema_version").fetchone()[0]:
        raise sqlite3.OperationalError("a database of another program")
    if version > form.version:
        raise sqlite3.OperationalError(f"written by a newer tideover (schema {version})")
    if version < form.version:
        conn.executescript(
            f"BEGIN IMMEDIATE;\n{form.schema}\nPRAGMA application_id = {form.application_id};\n"
            f"PRAGMA user_version = {form.version};\nCOMMIT;"
        )


def _is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED
