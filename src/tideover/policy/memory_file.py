"""The file behind `memory`, a `side_file`, used by one thread. Everything here blocks.

Senders and recipients are not in it: a triplet's key is a hash.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from tideover.events.client_records import ClientsDamaged, ClientsTrouble
from tideover.events.event import EventSink
from tideover.side_file import Form, SideFile, named_queries

APPLICATION_ID: Final = 0x54494443  # "TIDC"
VERSION: Final = 1
SWEEP_STEP: Final = 5000
"""Marks removed in one go: what waits meanwhile waits some 50 ms."""

_CACHE: Final = 8192
_SHARE: Final = 20  # a kind is counted anew after each twentieth of its limit

_T = TypeVar("_T")


class Kind(StrEnum):
    """KNOWN: networks whose mail was taken. TRIPLET: newcomers that were asked to come again.
    PASSED: networks, SENDER: sender domains that did come again. PATIENT: networks that waited for
    our greeting. DEFERRED: senders that were deferred to a primary that is up, POOL: the same,
    whatever their network. CUT_OFF: networks and their senders that can't reach it. TRAPPED: hosts
    that did what only bots do in a trap, SIDE_DOOR: hosts that came to the last MX first
    (`networks.host_of`).
    """

    KNOWN = "known"
    TRIPLET = "triplet"
    PASSED = "passed"
    SENDER = "sender"
    PATIENT = "patient"
    DEFERRED = "deferred"
    POOL = "pool"
    CUT_OFF = "cut-off"
    TRAPPED = "trapped"
    SIDE_DOOR = "side-door"


class Mark(NamedTuple):
    """When something was noted, and from when on it counts no more. Unix seconds."""

    at: float
    until: float


Note = tuple[Kind, bytes, Mark]
Shelf = OrderedDict[bytes, Mark]


class MemoryFile:
    """The file at `path`. Construction opens it, and never fails; use it in one thread.

    `limits` bounds the marks of each kind; beyond (by a twentieth at most) the oldest go.
    """

    def __init__(self, path: Path, emit: EventSink, *, limits: Mapping[Kind, int]) -> None:
        self._limits = limits
        self._uncounted = dict.fromkeys(Kind, 0)
        self._file = SideFile(
            path,
            Form(APPLICATION_ID, VERSION, _queries()["schema"], _CACHE),
            damaged=partial(_tell_damaged, emit),
            missing=partial(_tell_missing, path, emit),
        )

    def newest(self, kind: Kind, limit: int) -> tuple[Shelf, bool]:
        """The newest marks of a kind, the oldest of them first; and whether these are all.
        Raises sqlite3.Error.
        """
        rows = self._all("newest", (kind.value, limit))
        (count,) = self._all("count", (kind.value,))[0]
        shelf: Shelf = OrderedDict()
        for key, at, until in reversed(rows):
            if isinstance(key, bytes):
                shelf[key] = Mark(_number(at), _number(until))
        return shelf, count == len(rows)

    def get(self, kind: Kind, key: bytes) -> Mark | None:
        """A mark as it was stored, expired or not. Raises sqlite3.Error."""
        rows = self._all("get", (kind.value, key))
        return Mark(_number(rows[0][0]), _number(rows[0][1])) if rows else None

    def put(self, batch: Sequence[Note]) -> float:
        """Store all or none. Returns when the youngest triplet was noted that had to go for it,
        0.0 when none had to. Raises sqlite3.Error.
        """
        return self._run(lambda conn: self._put(conn, batch))

    def sweep(self, at: float) -> bool:
        """Remove some of what counts no more; True: there may be more. Raises sqlite3.Error."""
        query = _queries()["sweep"]
        return self._run(lambda conn: conn.execute(query, (at, SWEEP_STEP)).rowcount == SWEEP_STEP)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    # Parts

    def _put(self, conn: sqlite3.Connection, batch: Sequence[Note]) -> float:
        conn.execute("BEGIN IMMEDIATE")
        rows = [(kind.value, key, mark.at, mark.until) for kind, key, mark in batch]
        conn.executemany(_queries()["put"], rows)
        for kind, _, _ in batch:
            self._uncounted[kind] += 1
        dropped = {kind: self._bound(conn, kind) for kind in Kind}
        conn.execute("COMMIT")
        return dropped[Kind.TRIPLET]

    def _bound(self, conn: sqlite3.Connection, kind: Kind) -> float:
        """Keep a kind within its limit, looking now and then only. Returns as `put`."""
        limit = self._limits[kind]
        if self._uncounted[kind] <= limit // _SHARE:
            return 0.0
        self._uncounted[kind] = 0
        excess = int(conn.execute(_queries()["count"], (kind.value,)).fetchone()[0]) - limit
        if excess <= 0:
            return 0.0
        which = (kind.value, excess)
        youngest = conn.execute(_queries()["youngest_of_oldest"], which).fetchone()[0]
        conn.execute(_queries()["shrink"], which)
        return _number(youngest)

    def _all(self, query: str, values: Sequence[object]) -> list[tuple[object, ...]]:
        return self._run(lambda conn: conn.execute(_queries()[query], values).fetchall())

    def _run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            return work(self._file.conn)
        except sqlite3.DatabaseError as error:
            with suppress(sqlite3.Error):
                self._file.conn.rollback()
            if not self._file.mend(error):
                raise
            return work(self._file.conn)


def _queries() -> Mapping[str, str]:
    return named_queries("tideover.policy", "sql/memory.sql")


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _tell_damaged(emit: EventSink, damage: str, aside: Path) -> None:
    emit(ClientsDamaged(reason=damage, set_aside=str(aside)))


def _tell_missing(path: Path, emit: EventSink, error: Exception) -> None:
    what = "what is remembered of clients is kept in memory only until the next start"
    emit(ClientsTrouble(reason=f"{path}: {error}; {what}"))
