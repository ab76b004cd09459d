"""What SQLite's errors mean for a caller."""

import sqlite3

from tideover.spool.interface import SpoolError, SpoolFull, SpoolUnavailable


def spool_error(error: sqlite3.Error) -> SpoolError:
    """The error for the caller. Its text is for the log, not for strangers."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the upper bits are details
    kind = SpoolFull if code == sqlite3.SQLITE_FULL else SpoolUnavailable
    return kind(f"{error} ({name})")
