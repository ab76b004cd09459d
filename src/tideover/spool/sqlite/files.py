"""The spool's files: whose they are, which version they have, and who may use them now.

`spool.db` is the database (with `spool.db-wal` and `spool.db-shm` beside it). `spool.lock` is
locked as long as a daemon uses the spool, so that a second one can't.

Never opens the database file but through SQLite while a connection exists: closing any other
descriptor of it would drop SQLite's locks.
"""

import fcntl
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from tideover.spool.interface import SpoolUnusable
from tideover.spool.sqlite.connection import APPLICATION_ID
from tideover.spool.sqlite.statements import migrations

_LEAST_SQLITE: Final = (3, 38, 0)
_MAGIC: Final = b"SQLite format 3\0"
_HEADER: Final = 100
_VERSION_AT: Final = 60
_APPLICATION_AT: Final = 68


class Lock:
    """The lock file: held from construction until `release`."""

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            SpoolUnusable: another process has it, or the file can't be made.
        """
        lock_path = path.with_suffix(".lock")
        try:
            lock_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._fd = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SpoolUnusable(
                f"{lock_path}: {error.strerror}; make the directory writable for this user"
            ) from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise SpoolUnusable(
                f"{path}: in use by another tideover daemon; stop that one, "
                "or give this one a data_dir of its own"
            ) from None

    def release(self) -> None:
        """Let others use the spool."""
        with suppress(OSError):
            os.close(self._fd)


def check_header(path: Path, *, writing: bool = True) -> bool:
    """Look at the file before SQLite does. Returns False when there is nothing yet.

    A file that was SQLite's and is damaged at its very beginning counts as foreign: we don't touch
    what we can't recognise.

    Raises:
        SpoolUnusable: foreign, newer or unreadable file.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise SpoolUnusable(
            f"{path}: {error.strerror}; give this user the right to read and write it"
        ) from None
    if not header:
        return False
    if len(header) < _HEADER or not header.startswith(_MAGIC):
        raise SpoolUnusable(f"{path}: not a spool; move it away, or choose another data_dir")
    application = int.from_bytes(header[_APPLICATION_AT : _APPLICATION_AT + 4], "big")
    version = int.from_bytes(header[_VERSION_AT : _VERSION_AT + 4], "big")
    if application not in (0, APPLICATION_ID) or (application == 0 and version != 0):
        raise SpoolUnusable(
            f"{path}: a database of another program; move it away, or choose another data_dir"
        )
    if writing and not os.access(path, os.R_OK | os.W_OK):
        raise SpoolUnusable(f"{path}: not writable; give this user the right to read and write it")
    return True


def check_version(conn: sqlite3.Connection, path: Path) -> int:
    """Whether we can read this schema. Returns its version, 0 for a new file.

    Raises:
        SpoolUnusable: foreign or newer, or our SQLite is too old.
        sqlite3.Error: the file can't be read.
    """
    if sqlite3.sqlite_version_info < _LEAST_SQLITE:
        least = ".".join(map(str, _LEAST_SQLITE))
        raise SpoolUnusable(
            f"{path}: SQLite {sqlite3.sqlite_version} is too old; install {least} or newer"
        )
    newest = migrations()[-1][0]
    version = int(conn.execute("PRAGMA user_version").fetchone()[0])
    application = int(conn.execute("PRAGMA application_id").fetchone()[0])
    if application != APPLICATION_ID and conn.execute("PRAGMA schema_version").fetchone()[0]:
        raise SpoolUnusable(
            f"{path}: a database of another program; move it away, or choose another data_dir"
        )
    if version > newest:
        raise SpoolUnusable(
            f"{path}: written by a newer tideover (schema {version}, this one knows {newest}); "
            "install that version again"
        )
    return version


def migrate(conn: sqlite3.Connection, path: Path) -> None:
    """Bring the schema to our version, each step in one transaction.

    Raises:
        SpoolUnusable: foreign or newer.
        sqlite3.Error: the file can't be read or written.
    """
    version = check_version(conn, path)
    for number, sql in migrations():
        if number > version:
            conn.executescript(
                f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA application_id = {APPLICATION_ID};\n"
                f"PRAGMA user_version = {number};\nCOMMIT;"
            )
