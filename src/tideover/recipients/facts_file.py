"""The file behind `facts`, a `side_file`, used by one thread. Everything here blocks.

What it holds can be learned again; without the file the facts live in memory until the next start.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Final, NamedTuple, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from tideover.events.event import EventSink
from tideover.events.recipient_records import AddressesDamaged, AddressesTrouble
from tideover.side_file import Form, SideFile, named_queries

APPLICATION_ID: Final = 0x54494441  # "TIDA"
VERSION: Final = 1
SWEEP_STEP: Final = 5000
"""Facts removed in one go: what waits meanwhile waits some 50 ms."""

_SHARE: Final = 20  # a full domain loses a twentieth of its facts at a time
_CHECK_SECONDS: Final = 0.5
_CACHE: Final = 8192

_T = TypeVar("_T")


class State(StrEnum):
    """GOOD: it exists. REFUSED: the primary refuses it. SEED: not known, but worth asking."""

    GOOD = "good"
    REFUSED = "refused"
    SEED = "seed"


class Fact(Struct, frozen=True, kw_only=True):
    """What one source remembers of one address. Times are Unix seconds.

    `at`: when it was last said; `until`: from when it counts no more; `due`: when to ask the
    primary again of its own accord (None: never). `text` is the primary's reply; `uses` counts how
    often it was said.
    """

    state: State
    at: float
    until: float
    due: float | None = None
    text: str = ""
    uses: int = 1


class Key(NamedTuple):
    """Of what a fact is: A-label domain, source, `names.local_key`."""

    domain: str
    source: str
    local: str


def merged(old: Fact | None, new: Fact) -> Fact:
    """The more recent word counts. A seed asks only: it renews what is good."""
    if old is None:
        return new
    if new.at < old.at:
        return old
    if new.state is State.SEED and old.state is State.GOOD:
        due = None if old.due is None else old.due + new.at - old.at
        until = max(old.until, new.until)
        return replace(old, at=new.at, until=until, due=due, uses=old.uses + 1)
    return replace(new, uses=old.uses + 1) if new.state is old.state else new


def _queries() -> Mapping[str, str]:
    return named_queries("tideover.recipients", "sql/facts.sql")


class FactsFile:
    """The file at `path`. Construction opens it, and never fails; use it in one thread.

    `limit` bounds the facts of a domain.
    """

    def __init__(self, path: Path, sink: EventSink, *, limit: int) -> None:
        self._limit = limit
        self._rows: dict[str, int] = {}  # by domain, for those written to
        self._file = SideFile(
            path,
            Form(APPLICATION_ID, VERSION, _queries()["schema"], _CACHE, _check),
            damaged=partial(_tell_damaged, sink),
            missing=partial(_tell_missing, path, sink),
        )

    # Facts

    def get(self, key: Key) -> Fact | None:
        """A fact as it was stored, expired or not. Raises sqlite3.Error."""
        return self._run(lambda conn: _get(conn, key))

    def put(self, batch: Sequence[tuple[Key, Fact]]) -> int:
        """Store all or none. Returns how many addresses were new. Raises sqlite3.Error."""
        return self._run(lambda conn: self._put(conn, batch))

    def count(self, domain: str, source: str, at: float) -> dict[State, int]:
        """How many facts count at that time. Raises sqlite3.Error."""
        rows = self._all("count", (domain, source, at))
        return {State(str(state)): int(str(number)) for state, number in rows}

    def page(self, domain: str, source: str, after: str, limit: int) -> list[tuple[str, Fact]]:
        """Facts in the order of their local parts. Raises sqlite3.Error."""
        rows = self._all("page", (domain, source, after, limit))
        return [(str(row[0]), _fact(row[1:])) for row in rows]

    def due_domains(self, source: str, after: str, at: float, limit: int) -> list[str]:
        """Domains with facts that are due, in their order. Raises sqlite3.Error."""
        return [str(row[0]) for row in self._all("due_domains", (source, after, at, limit))]

    def due(self, source: str, domain: str, at: float, limit: int) -> list[str]:
        """Their local parts, the longest due first. Raises sqlite3.Error."""
        return [str(row[0]) for row in self._all("due", (source, domain, at, limit))]

    def postpone(self, key: Key, due: float) -> None:
        """Ask later. Raises sqlite3.Error."""
        self._all("postpone", (due, *key))

    def sweep(self, at: float) -> bool:
        """Remove some of what counts no more; True: there may be more. Raises sqlite3.Error."""
        self._rows.clear()
        query = _queries()["sweep"]
        return self._run(lambda conn: conn.execute(query, (at, SWEEP_STEP)).rowcount == SWEEP_STEP)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    # Parts

    def _all(self, query: str, values: Sequence[object]) -> list[tuple[object, ...]]:
        return self._run(lambda conn: conn.execute(_queries()[query], values).fetchall())

    def _put(self, conn: sqlite3.Connection, batch: Sequence[tuple[Key, Fact]]) -> int:
        put, grown, new_ones = _queries()["put"], set(), 0
        conn.execute("BEGIN IMMEDIATE")
        for key, new in batch:
            old = _get(conn, key)
            fact = merged(old, new)
            if fact is old:
                continue
            conn.execute(put, (*key, fact.state.value, fact.at, fact.until, fact.due, fact.uses,
                               fact.text))  # fmt: skip
            if old is None:
                new_ones += 1
                grown.add(key.domain)
                if key.domain in self._rows:
                    self._rows[key.domain] += 1
        for domain in grown:
            self._bound(conn, domain)
        conn.execute("COMMIT")
        return new_ones

    def _bound(self, conn: sqlite3.Connection, domain: str) -> None:
        """Keep a domain's facts within the limit."""
        if domain not in self._rows:
            self._rows[domain] = int(conn.execute(_queries()["rows_of"], (domain,)).fetchone()[0])
        excess = self._rows[domain] - self._limit
        if excess > 0:
            excess += self._limit // _SHARE
            conn.execute(_queries()["shrink"], (domain, excess))
            del self._rows[domain]

    def _run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            return work(self._file.conn)
        except sqlite3.DatabaseError as error:
            self._rows.clear()
            with suppress(sqlite3.Error):
                self._file.conn.rollback()
            if not self._file.mend(error):
                raise
            return work(self._file.conn)


def _tell_damaged(sink: EventSink, damage: str, aside: Path) -> None:
    sink(AddressesDamaged(reason=damage, set_aside=str(aside)))


def _tell_missing(path: Path, sink: EventSink, error: Exception) -> None:
    what = "what is learned of addresses is kept in memory only until the next start"
    sink(AddressesTrouble(reason=f"{path}: {error}; {what}"))


def _check(conn: sqlite3.Connection) -> None:
    """Look at the structure, as far as there is time. Raises sqlite3.DatabaseError for damage."""
    timer = Timer(_CHECK_SECONDS, conn.interrupt)
    timer.start()
    try:
        answer = str(conn.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return  # too large to be looked at as a whole; damage shows when it is met
    finally:
        timer.cancel()
        timer.join()
    if answer != "ok":
        damage = sqlite3.DatabaseError(answer.strip().splitlines()[-1])
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damage


def _get(conn: sqlite3.Connection, key: Key) -> Fact | None:
    row = conn.execute(_queries()["get"], (key.domain, key.source, key.local)).fetchone()
    return None if row is None else _fact(row)


def _fact(row: Sequence[object]) -> Fact:
    state, at, until, due, uses, text = row
    assert isinstance(at, float) and isinstance(until, float) and isinstance(uses, int)  # noqa: PT018, S101
    assert due is None or isinstance(due, float)  # noqa: S101
    return Fact(state=State(str(state)), at=at, until=until, due=due, uses=uses, text=str(text))
