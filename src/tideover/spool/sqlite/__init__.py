"""The spool on SQLite: one file in WAL mode, one thread that writes, one that reads."""

from tideover.spool.sqlite.offline import OfflineSpool, open_readonly
from tideover.spool.sqlite.opening import open_spool
from tideover.spool.sqlite.quarantine import Quarantined
from tideover.spool.sqlite.spool import SqliteSpool

__all__ = ["OfflineSpool", "Quarantined", "SqliteSpool", "open_readonly", "open_spool"]
