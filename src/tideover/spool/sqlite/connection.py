"""How connections to the spool's file are set up.

All settings that decide about durability stand here: WAL with `synchronous=FULL` means that a
COMMIT returns after the fsync of the WAL.
"""

import sqlite3
from pathlib import Path
from typing import Final

APPLICATION_ID: Final = 0x54494445  # "TIDE"
PAGE_SIZE: Final = 16384
WAL_PAGES: Final = 1024
"""A commit that makes the WAL longer than this checkpoints it: 16 MiB, which takes some 10 ms."""

_CACHE_KIB: Final = 16384
_READER_CACHE_KIB: Final = 4096
_BUSY_SECONDS: Final = 5.0
_STATEMENTS: Final = 256


def text(raw: bytes) -> str:
    """A text as stored. Octets that are none, which only damage makes, spoil no more than
    themselves: an error of SQLite's would fail the statement for all messages that it is about.
    """
    return raw.decode("utf-8", "replace")


def connect_writer(path: Path) -> sqlite3.Connection:
    """The connection that writes and checkpoints: there must be only one at a time.

    Raises:
        sqlite3.Error, UnicodeDecodeError: it can't be opened.
    """
    conn = sqlite3.connect(
        path,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_STATEMENTS,
    )
    conn.text_factory = text
    try:
        for setting in (
            f"page_size = {PAGE_SIZE}",
            "auto_vacuum = INCREMENTAL",
            "journal_mode = WAL",
            "synchronous = FULL",
            f"wal_autocheckpoint = {WAL_PAGES}",
            f"cache_size = -{_CACHE_KIB}",
            "secure_delete = OFF",
            "temp_store = MEMORY",
            "trusted_schema = OFF",
            "cell_size_check = ON",
        ):
            conn.execute(f"PRAGMA {setting}").fetchall()
    except BaseException:  # a UnicodeDecodeError, too, where SQLite quotes a damaged schema
        conn.close()
        raise
    return conn


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads.

    Raises:
        sqlite3.Error, UnicodeDecodeError: it can't be opened.
    """
    conn = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    conn.text_factory = text
    try:
        for setting in (f"cache_size = -{_READER_CACHE_KIB}", "trusted_schema = OFF"):
            conn.execute(f"PRAGMA {setting}").fetchall()
    except BaseException:  # a UnicodeDecodeError, too, where SQLite quotes a damaged schema
        conn.close()
        raise
    return conn
