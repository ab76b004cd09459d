"""Getting a list of domains from where it is."""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Final

from msgspec import Struct

from tideover.config.document import Table
from tideover.config.model import Source, SourceFormat
from tideover.config.values import source_kind
from tideover.recipients.domain_rows import from_csv, from_json, from_rows
from tideover.recipients.sources.interface import SourceError

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
        from tideover.recipients.sources.sql import query

        names, rows = await query(source, settings)
        return Fetched(await asyncio.to_thread(from_rows, names, rows), None)
    return await _download(source, settings, scratch, version)


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
