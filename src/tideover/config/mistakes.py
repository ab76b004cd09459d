"""What is wrong with a configuration, in words that say how to put it right. Values only."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from tideover.config.document import Location, line_of
from tideover.config.settings import Setting, settings

_SHOWN = 60
MAX_MISTAKES: Final = 1000
"""So many are put into words; of 100,000 domains with the same mistake nobody reads all."""


class Mistake(Struct, frozen=True, kw_only=True):
    """One mistake.

    `path` is dotted TOML, as in `smtp.listen[1]` ("" for the file as a whole);
    `line` counts from 1; `found` is what stands there; `allowed` what may; `nearest` is the
    setting that a misspelt key probably meant; `file` is the file, when it is not the main one.
    """

    path: str
    allowed: str
    line: int | None = None
    found: str | None = None
    nearest: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        path = f"{self.path}: " if self.path else ""
        found = f"found {self.found}; " if self.found else ""
        nearest = f'; did you mean "{self.nearest}"?' if self.nearest else ""
        return f"{where}{path}{found}{self.allowed}{nearest}"


class ConfigError(Exception):
    """The configuration can't be used. `mistakes` holds all of them, in the file's order, up to
    `MAX_MISTAKES`; `more` have been counted beyond.
    """

    def __init__(self, file: Path, mistakes: Sequence[Mistake], more: int = 0) -> None:
        more += len(mistakes) - len(mistakes[:MAX_MISTAKES])
        mistakes = mistakes[:MAX_MISTAKES]
        if more:
            mistakes = [*mistakes, Mistake(path="", allowed=f"and {more} more of them")]
        super().__init__(f"{file}: {'; '.join(map(str, mistakes))}")
        self.file = file
        self.mistakes = tuple(mistakes)

    def lines(self) -> tuple[str, ...]:
        """One line a mistake, `FILE: line N: PATH: what is wrong`."""
        return tuple(f"{mistake.file or self.file}: {mistake}" for mistake in self.mistakes)


class Flaw(Struct, frozen=True, kw_only=True):
    """A mistake whose line is not looked up yet. `at` is where it is, from the table outwards."""

    at: Location
    allowed: str
    found: str | None = None
    nearest: str | None = None

    def mistake(self, lines: Mapping[Location, int], file: str | None = None) -> Mistake:
        """The mistake, with its line from what `document.locate` found."""
        return Mistake(
            path=dotted(self.at),
            line=line_of(lines, self.at),
            allowed=self.allowed,
            found=self.found,
            nearest=self.nearest,
            file=file,
        )

    def within(self, *table: str) -> "Flaw":
        """The same, seen from further outside."""
        return replace(self, at=(*table, *self.at))


def dotted(location: Sequence[str | int]) -> str:
    """`("domains", "example.com", "primary", 0)` -> `domains."example.com".primary[0]`."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = part and all(c.isalnum() or c in "-_" for c in part) and part.isascii()
            text += ("." if text else "") + (part if bare else f'"{part}"')
    return text


def shown(value: object) -> str:
    """A value from TOML as a person would write it, cut to a line's part."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = (
        "[" + ", ".join(map(shown, value)) + "]"
        if isinstance(value, list)
        else (f'"{value}"' if isinstance(value, str) else str(value))
    )
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def unknown_key(at: Location, table: Location) -> Flaw:
    """A key in `table` that is no setting: name the nearest, or the table in which it belongs."""
    names, key = tuple(map(str, (*table, *at[:-1]))), str(at[-1])
    here = {s.key: s for s in settings() if _same_table(s, names)}
    elsewhere = [s for s in settings() if s.key == key]
    nearest = get_close_matches(key, here, n=1, cutoff=0.6)
    allowed = "there is no such setting"
    if nearest:
        return Flaw(at=at, allowed=allowed, nearest=nearest[0])
    if elsewhere:
        where = dotted(elsewhere[0].path[:-1])
        place = f"in [{where}]" if where else "at the top of the file, before the first [table]"
        return Flaw(at=at, allowed=f"it belongs {place}")
    return Flaw(at=at, allowed=f"{allowed}; allowed here: {', '.join(sorted(here))}")


def _same_table(setting: Setting, table: tuple[str, ...]) -> bool:
    """Whether the setting stands directly in this table; NAME matches any name."""
    theirs = setting.path[:-1]
    return len(theirs) == len(table) and all(
        a in ("NAME", b) for a, b in zip(theirs, table, strict=True)
    )
