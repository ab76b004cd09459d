"""SQL databases: a query of the operator, read whole or asked for one address.

The query may use :domain, and for one address :local and :address too; they are bound, never
written into it.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from tideover.config.model import Source
from tideover.recipients.formats.entry import EntryError
from tideover.recipients.interface import Confidence, Match
from tideover.recipients.sources.entries import Entries
from tideover.recipients.sources.interface import Load, SourceError
from tideover.recipients.sources.sql_database import Database, LostError
from tideover.recipients.sources.sql_rows import Columns, text_of
from tideover.recipients.sources.threads import Stop, Threads

if TYPE_CHECKING:
    from sqlalchemy import CursorResult, TextClause

_ROWS_AT_ONCE: Final = 1000


class SqlLoader:
    """A query that is read whole."""

    __slots__ = ("_domain", "_settings", "_wanted", "source")

    def __init__(
        self,
        source: str,
        settings: Source,
        *,
        wanted: Callable[[str], bool] | None = None,
        domain: str | None = None,
    ) -> None:
        self.source = source
        self._settings = settings
        self._wanted = wanted
        self._domain = domain

    async def load(self, version: str | None, progress: Callable[[int], None]) -> Load:
        """As `Loader.load`. A query has no version that could be compared."""
        del version
        loop = asyncio.get_running_loop()
        entries = Entries(
            self._settings,
            wanted=self._wanted,
            domain=self._domain,
            progress=lambda count: _tell(loop, progress, count),
        )
        threads = Threads(1, "sql-load")
        try:
            return await threads.run(lambda stop: self._read(stop, entries))
        finally:
            threads.close()

    def _read(self, stop: Stop, entries: Entries) -> Load:
        settings = self._settings
        known = {} if self._domain is None else {"domain": self._domain}
        statement = _statement(settings, known)
        database = Database(
            settings,
            timeout=settings.timeout,
            connect_timeout=settings.lookup_timeout,
            kept=0,
        )
        try:
            with (
                database.reading(stop) as connection,
                database.streaming(connection, statement, _ROWS_AT_ONCE) as result,
            ):
                _take_all(_rows(result), entries, stop)
        finally:
            database.close()
        return entries.load()

    async def close(self) -> None:
        """Nothing stays open between two loads."""


def _tell(loop: asyncio.AbstractEventLoop, progress: Callable[[int], None], count: int) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(progress, count)


def _take_all(result: "CursorResult[object]", entries: Entries, stop: Stop) -> None:
    columns = Columns(list(result.keys()), strict=True)
    number = 0
    for rows in result.partitions(_ROWS_AT_ONCE):
        for row in rows:
            number += 1
            _take(tuple(row), number, columns, entries)
        if stop.is_set:
            raise SourceError("nobody waits for it any more")


def _take(row: Sequence[object], number: int, columns: Columns, entries: Entries) -> None:
    where = f"row {number}"
    try:
        text = text_of(row[0])
        domain, terms = columns.domain_in(row), columns.terms_in(row)
    except EntryError as error:
        if number == 1 and row[0] is not None and not isinstance(row[0], (str, bytes)):
            raise SourceError(f"query: its first column must be the address: {error}") from None
        entries.spoiled(where, str(error))
    else:
        entries.take(where, text.strip(), domain, terms)


class SqlAsker:
    """A query that is asked for each address, in at most `max_lookups` threads and connections."""

    def __init__(self, source: str, settings: Source) -> None:
        self.source = source
        self._settings = settings
        self._threads = Threads(settings.max_lookups, "sql-lookup")
        self._lock = threading.Lock()
        self._database: Database | None = None

    async def ask(self, domain: str, names: Sequence[str]) -> Match | None:
        """As `Asker.ask`."""
        if any("\0" in name for name in names):
            return None  # which PostgreSQL can't even be asked
        return await self._threads.run(lambda stop: self._look(stop, domain, tuple(names)))

    def _look(self, stop: Stop, domain: str, names: Sequence[str]) -> Match | None:
        database = self._opened()
        try:
            return self._query(database, stop, domain, names)
        except LostError:
            if stop.is_set:
                raise
        return self._query(database, stop, domain, names)  # it was closed while it was idle

    def _query(
        self, database: Database, stop: Stop, domain: str, names: Sequence[str]
    ) -> Match | None:
        with database.reading(stop) as connection:
            for name in names:
                values = {"address": f"{name}@{domain}", "local": name, "domain": domain}
                result = _rows(connection.execute(_statement(self._settings, values)))
                columns = Columns(list(result.keys()), strict=False)
                row = result.first()
                if row is not None:
                    return _match(name, tuple(row), columns)
        return None

    def _opened(self) -> Database:
        with self._lock:
            if self._database is None:
                _check_lookup(self._settings)
                seconds = self._settings.lookup_timeout
                self._database = Database(
                    self._settings,
                    timeout=seconds,
                    connect_timeout=seconds,
                    kept=self._settings.max_lookups,
                )
            return self._database

    async def close(self) -> None:
        """Close the connections that are kept."""
        self._threads.close()
        database, self._database = self._database, None
        if database is not None:
            await asyncio.to_thread(database.close)


def _match(name: str, row: Sequence[object], columns: Columns) -> Match:
    try:
        return Match(Confidence.LISTED, name, columns.terms_in(row))
    except EntryError as error:
        raise SourceError(f"the row of an address: {error}") from None


def _rows(result: "CursorResult[object]") -> "CursorResult[object]":
    if not result.returns_rows:
        raise SourceError("query: is no SELECT")
    return result


def _check_lookup(settings: Source) -> None:
    known = dict.fromkeys(("domain", "local", "address"), "")
    asked = _statement(settings, known).compile().params
    if not asked.keys() & {"local", "address"}:
        raise SourceError("query: a lookup needs :address or :local in it")


def _statement(settings: Source, values: Mapping[str, str]) -> "TextClause":
    """The query with these values bound, as far as it uses them.

    Raises:
        SourceError: there is none, or it uses others.
    """
    from sqlalchemy import text

    if not settings.query or not settings.query.strip():
        raise SourceError("query: is missing")
    statement = text(settings.query)
    used = statement.compile().params
    for name in used:
        if name not in values:
            allowed = ", ".join(f":{name}" for name in values) or "no such value here"
            raise SourceError(
                rf'query: ":{name}" is not known, only {allowed}; a colon itself is "\:"'
            )
    return statement.bindparams(**{name: values[name] for name in used})
