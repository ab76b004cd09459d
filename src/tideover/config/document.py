"""The file as text: read within a bound, parsed by tomllib, and searched for line numbers."""

import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MAX_FILE = 256 * 1024 * 1024
_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_KEYS = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_HEADER = re.compile(rf"[ \t]*\[[ \t]*({_KEYS})[ \t]*\][ \t]*(?:#.*)?")
_KEY = re.compile(rf"[ \t]*({_KEYS})[ \t]*=[ \t]*(.*)")

Table = dict[str, Any]


class UnreadableError(Exception):
    """The file can't be read at all. `line` and `column` count from 1 where they are known."""

    def __init__(self, text: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(text)
        self.line = line
        self.column = column


def read(path: Path) -> str:
    """The file's text.

    Raises:
        UnreadableError: missing, no right, not a plain file, too large, not UTF-8.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            kind = "a directory" if stat.S_ISDIR(found.st_mode) else "no plain file"
            raise UnreadableError(f"the configuration must be a file; this is {kind}")
        if found.st_size > MAX_FILE:
            raise UnreadableError(f"the configuration is larger than {MAX_FILE // 2**20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"can't be read: {error.strerror}") from None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UnreadableError("TOML is written in UTF-8; here is something else", line) from None


def parse(text: str) -> Table:
    """The whole text as one table.

    Raises:
        UnreadableError: it is not TOML; with line and column.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason, _, place = str(error).partition(" (at ")
        numbers = [int(n) for n in re.findall(r"\d+", place)]
        if len(numbers) < 2:  # "at end of document"
            numbers = [text.count("\n") + 1, len(text) - text.rfind("\n")]
        raise UnreadableError(f"not TOML: {reason}", numbers[0], numbers[1]) from None
    except RecursionError:
        raise UnreadableError("not TOML: nested too deeply") from None
    except ValueError:  # Python reads no whole number of more than 4,300 digits
        raise UnreadableError("not TOML: a number is too long") from None


Location = tuple[str | int, ...]


def locate(text: str) -> dict[Location, int]:
    """The line of each table, key and list item, counted from 1.

    For error texts: what it can't find (a key within an inline table) is simply not there.
    """
    lines = text.split("\n")
    found: dict[Location, int] = {}
    prefix: Location = ()
    number = 0
    while number < len(lines):
        line = lines[number]
        if header := _HEADER.fullmatch(line.rstrip("\r")):
            prefix = _keys(header[1])
            found.setdefault(prefix, number + 1)
        elif key := _KEY.match(line):
            path = prefix + _keys(key[1])
            found.setdefault(path, number + 1)
            end, value = _value(lines, number, key[2])
            _items(found, path, value, lines, number, end)
            number = end
        number += 1
    return found


def line_of(found: Mapping[Location, int], location: Location) -> int | None:
    """The line of a location, or of the nearest table or key around it."""
    for length in range(len(location), 0, -1):
        if line := found.get(location[:length]):
            return line
    return None


def _keys(text: str) -> Location:
    """`a."b.c"` -> `("a", "b.c")`, by tomllib's own rules."""
    keys: list[str] = []
    table: object = tomllib.loads(f"{text} = 0")
    while isinstance(table, dict):
        key, table = next(iter(table.items()))
        keys.append(key)
    return tuple(keys)


def _value(lines: list[str], start: int, first: str) -> tuple[int, object]:
    """The last line of a value that starts in line `start`, and the value."""
    text = first
    for end in range(start, len(lines)):
        if end > start:
            text += "\n" + lines[end]
        if end == start or any(mark in lines[end] for mark in ("]", "}", '"""', "'''")):
            try:
                return end, tomllib.loads(f"x = {text}")["x"]
            except tomllib.TOMLDecodeError:
                if not text.startswith(("[", "{", '"""', "'''")):
                    break
    return start, None


def _items(
    found: dict[Location, int],
    path: Location,
    value: object,
    lines: list[str],
    start: int,
    end: int,
) -> None:
    """Note the line of each item of a list: the next one that holds the item's text."""
    if not isinstance(value, list):
        return
    line = start
    for index, item in enumerate(value):
        while line < end and str(item) not in lines[line]:
            line += 1
        found[(*path, index)] = line + 1
