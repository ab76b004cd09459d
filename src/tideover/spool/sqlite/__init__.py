"""The spool on SQLite: one file in WAL mode, one thread that writes, one that reads."""

from tideover.spool.sqlite.opening import open_spool
from tideover.spool.sqlite.spool import SqliteSpool

__all__ = ["SqliteSpool", "open_spool"]
