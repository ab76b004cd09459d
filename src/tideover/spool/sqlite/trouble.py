"""What SQLite's errors mean for a caller."""

import sqlite3
from typing import Final

from tideover.spool.interface import SpoolError, SpoolFull, SpoolUnavailable

_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def is_damage(error: sqlite3.Error) -> bool:
    """Whether it says that the file is not what SQLite wrote: only a new file helps then."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def spool_error(error: sqlite3.Error) -> SpoolError:
    """The error for the caller. Its text is for the log, not for strangers."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the upper bits are details
    kind = SpoolFull if code == sqlite3.SQLITE_FULL else SpoolUnavailable
    cure = "; the next start saves what can be read into a new file" if is_damage(error) else ""
    return kind(f"{error} ({name}){cure}")
