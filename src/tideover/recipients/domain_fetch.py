"""Getting a list of domains from where it is."""

import asyncio
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from tideover.config.document import Table
from tideover.config.model import Source, SourceFormat
from tideover.config.values import source_kind
from tideover.recipients.domain_rows import from_csv, from_json, from_rows
from tideover.recipients.sources.interface import SourceError

if TYPE_CHECKING:
    from sqlalchemy import Row

    from tideover.recipients.sources.threads import Stop

_ROWS_AT_ONCE: Final = 1000
MAX_SIZE: Final = 256 * 1024 * 1024
"""Octets of a list, if `max_size` does not say less."""


class Fetched(Struct, frozen=True):
    """The tables of a list, and what tells it from the next one."""

    tables: dict[str, Table]
    version: str | None


async def fetch(
    source: str, settings: Source, scratch: Path, version: str | None
) -> Fetched | None:
    """The list at `source`; None: it is still that of `version`. Files are made in `scratch`.

    Raises:
        SourceError: it can't be had, or is no list of domains.
    """
    if source_kind(source) == "sql":
        return Fetched(await _select(settings), None)
    return await _download(source, settings, scratch, version)


async def _select(settings: Source) -> dict[str, Table]:
    from tideover.recipients.sources.threads import Threads

    threads = Threads(1, "sql-domains")
    try:
        return await threads.run(lambda stop: _read_rows(settings, stop))
    finally:
        threads.close()


def _read_rows(settings: Source, stop: "Stop") -> dict[str, Table]:
    from sqlalchemy import text

    from tideover.recipients.sources.sql_database import Database

    statement = text(settings.query or "")
    if names := statement.compile().params:
        raise SourceError(f'query: ":{next(iter(names))}" is not known where domains come from')
    database = Database(
        settings, timeout=settings.timeout, connect_timeout=settings.lookup_timeout, kept=0
    )
    try:
        with database.reading(stop) as connection:
            result = connection.execute(
                statement.execution_options(stream_results=True, yield_per=_ROWS_AT_ONCE)
            )
            if not result.returns_rows:
                raise SourceError("query: is no SELECT")
            rows = (tuple(row) for part in result.partitions() for row in _unless(stop, part))
            return from_rows([name.lower() for name in result.keys()], rows)  # noqa: SIM118
    finally:
        database.close()


def _unless(stop: "Stop", part: "Sequence[Row[Any]]") -> "Sequence[Row[Any]]":
    if stop.is_set:
        raise SourceError("nobody waits for it any more")
    return part


async def _download(
    source: str, settings: Source, scratch: Path, version: str | None
) -> Fetched | None:
    from tideover.recipients.sources.download import download
    from tideover.recipients.sources.secret import read_password

    token = await asyncio.to_thread(read_password, settings.password_file)
    path = await asyncio.to_thread(_temporary, scratch)
    try:
        new = await download(
            source,
            path,
            validators=version,
            max_size=min(settings.max_size, MAX_SIZE),
            token=token,
            ca_file=settings.ca_file,
        )
        if new is None:
            return None
        return Fetched(await asyncio.to_thread(_read, path, settings.format), new)
    finally:
        path.unlink(missing_ok=True)


def _temporary(scratch: Path) -> Path:
    try:
        handle, name = tempfile.mkstemp(prefix="domains-", suffix=".tmp", dir=scratch)
    except OSError as error:
        raise SourceError(f"{scratch}: {error.strerror}") from None
    os.close(handle)
    return Path(name)


def _read(path: Path, form: SourceFormat) -> dict[str, Table]:
    data = path.read_bytes()
    is_json = form is SourceFormat.AUTO and data.lstrip()[:1] in (b"{", b"[")
    return from_json(data) if is_json else from_csv(data)
