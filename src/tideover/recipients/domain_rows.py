"""A list of domains as it comes: JSON, CSV, or the rows of a database; into tables as in TOML.

JSON is one object, `{"example.com": {"primary": …, "recipients": […]}}`, with the keys and values
of the configuration's `[domains."NAME"]`. CSV and SQL have columns of those names, `domain` first
or by a header; `primary` and `recipients` are lists with commas, all others are text, and an empty
one is not set.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from tideover.config.document import Table
from tideover.recipients.sources.interface import SourceError

MAX_DOMAINS: Final = 1_000_000
_COLUMNS: Final = ("domain", "primary", "recipients")
_MAX_CELL: Final = 64 * 1024


def from_json(data: bytes) -> dict[str, Table]:
    """The tables of a JSON document, each decoded by itself, as that keeps pauses short.

    Raises:
        SourceError: it is no JSON, or not of this form.
    """
    try:
        raw = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        _bound(len(raw))
        return {name: _table(table) for name, table in raw.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SourceError(f"no JSON object of domains and their settings: {error}") from None


def _table(raw: msgspec.Raw) -> Table:
    table = msgspec.json.decode(raw)
    return table if isinstance(table, dict) else {"primary": table}


def from_csv(data: bytes) -> dict[str, Table]:
    """The tables of a CSV file.

    Raises:
        SourceError: it is no CSV, or not of this form.
    """
    try:
        text = data.decode("utf-8-sig")
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        first = next(rows, None)
        if first is None:
            return {}
        names = [cell.strip().lower() for cell in first]
        if "domain" in names:
            return from_rows(names, rows)
        return from_rows(_COLUMNS, _and(first, rows))
    except (csv.Error, UnicodeDecodeError) as error:
        raise SourceError(f"no CSV: {error}") from None


def _and(first: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    yield first
    yield from rows


def from_rows(names: Sequence[str], rows: Iterable[Sequence[object]]) -> dict[str, Table]:
    """The tables of rows with columns of these names.

    Raises:
        SourceError: a column is missing, or there are more domains than can be.
    """
    if missing := [name for name in _COLUMNS if name not in names]:
        raise SourceError(f"no column named {', '.join(missing)}; there are {', '.join(names)}")
    found: dict[str, Table] = {}
    for row in rows:
        if not row:
            continue
        cells = {name: _text(cell) for name, cell in zip(names, row, strict=False)}
        domain = cells.pop("domain", "")
        if not domain or domain.startswith("#"):
            continue
        table: Table = {name: cell for name, cell in cells.items() if cell}
        if table.get("primary", "mx") != "mx":
            table["primary"] = _split(table["primary"])
        table["recipients"] = _split(table.get("recipients", ""))
        found[domain] = table
        _bound(len(found))
    return found


def _text(cell: object) -> str:
    text = "" if cell is None else str(cell).strip()
    if len(text) > _MAX_CELL:
        raise SourceError(f"a cell of more than {_MAX_CELL // 1024} KiB")
    return text


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _bound(count: int) -> None:
    if count > MAX_DOMAINS:
        raise SourceError(f"it names more than {MAX_DOMAINS} domains")
