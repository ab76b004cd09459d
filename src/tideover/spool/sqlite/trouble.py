"""What SQLite's errors mean for a caller."""

import sqlite3

from tideover.spool.interface import SpoolError, SpoolFull, SpoolUnavailable

_FULL = sqlite3.SQLITE_FULL
_CONNECTION_SPOILT = frozenset(
    {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PROTOCOL,
    }
)


def spool_error(error: sqlite3.Error) -> SpoolError:
    """The error for the caller. Its text is for the log, not for strangers."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    kind = SpoolFull if _primary_code(error) == _FULL else SpoolUnavailable
    return kind(f"{error} ({name})")


def needs_new_connection(error: sqlite3.Error) -> bool:
    """Whether what the connection believes of its files may be wrong now."""
    return _primary_code(error) in _CONNECTION_SPOILT


def _primary_code(error: sqlite3.Error) -> int:
    """The error code without what SQLite adds in the upper bits; 0 when there is none."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
