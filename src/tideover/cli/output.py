"""What verbs print: tables for people, JSON for programs.

On a terminal tables are drawn by rich; in a pipe they are plain columns, never cut, without
colours. Text that strangers wrote can't steer the terminal.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import click
import msgspec

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")
_STEERING = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_FOLDED = 8
"""The narrowest that a column is folded to."""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table. Columns named ">…" are aligned to the right, "~…" may be folded: name so what
    can be long, as domains and texts.
    """
    names = [name.lstrip(">~") for name in columns]
    cells = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _draw(columns, names, cells)
        return
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    for row in [names, *cells]:
        aligned = (
            cell.rjust(width) if column.startswith(">") else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        )
        click.echo("  ".join(aligned).rstrip())


def _draw(columns: Sequence[str], names: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0, show_edge=False)
    for column, name in zip(columns, names, strict=True):
        drawn.add_column(
            name,
            justify="right" if column.startswith(">") else "left",
            no_wrap=not column.startswith("~"),
            overflow="fold",
        )
    for row in cells:
        drawn.add_row(*map(Text, row))
    console = Console()
    # rich would cut columns, numbers too, until the table fits: rather let the terminal wrap it
    console.width = max(console.width, _narrowest(columns, names, cells))
    console.print(drawn)


def _narrowest(columns: Sequence[str], names: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    """The least width of a table in which nothing is cut."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(names, *cells, strict=True)]
    least = (
        min(width, _FOLDED) if column.startswith("~") else width
        for width, column in zip(widths, columns, strict=True)
    )
    return sum(least) + len(columns) - 1  # one space between two columns


def json(value: object) -> None:
    """Print one JSON value, indented."""
    click.echo(_escaped(msgspec.json.format(msgspec.json.encode(value), indent=2)))


def json_array(values: Iterable[object]) -> None:
    """Print a JSON array as its values come: a million of them need no memory."""
    start = "["
    for value in values:
        click.echo(f"{start}\n  {_escaped(msgspec.json.encode(value))}", nl=False)
        start = ","
    click.echo("[]" if start == "[" else "\n]")


def _escaped(value: bytes) -> str:
    """JSON that means the same and can't steer a terminal: also C1 controls and the marks that
    turn the direction of writing are escaped.
    """
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", value.decode())


def printable(text: str) -> str:
    """Text without control characters."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def iso(time: float | None) -> str | None:
    """Unix time -> ISO 8601 in UTC, as `2026-11-21T10:51:02.123Z`."""
    if time is None:
        return None
    text = datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def local(time: float | None) -> str:
    """Unix time -> local date and time for people; "" for None."""
    if time is None:
        return ""
    return datetime.fromtimestamp(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def age(seconds: float) -> str:
    """A span for people, in its two largest units: `3d4h`, `12m5s`."""
    left = max(0, int(seconds))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2]) or "0s"


def octets(size: int) -> str:
    """A size for people: `4.0 KiB`."""
    value, unit = float(size), 0
    while value >= 1024 and unit < len(_SIZES) - 1:
        value, unit = value / 1024, unit + 1
    return f"{size} B" if unit == 0 else f"{value:.1f} {_SIZES[unit]}"


def many(count: int, noun: str) -> str:
    """`1 message`, `3 messages`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
