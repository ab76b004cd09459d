"""What is wrong with a configuration, in words that say how to put it right. Values only."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from msgspec import Struct

from tideover.config.settings import Setting, settings

_SHOWN = 60


class Mistake(Struct, frozen=True, kw_only=True):
    """One mistake.

    `path` is dotted TOML, as in `smtp.listen[1]` ("" for the file as a whole);
    `line` counts from 1; `found` is what stands there; `allowed` what may; `nearest` is the
    setting that a misspelt key probably meant.
    """

    path: str
    allowed: str
    line: int | None = None
    found: str | None = None
    nearest: str | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        path = f"{self.path}: " if self.path else ""
        found = f"found {self.found}; " if self.found else ""
        nearest = f'; did you mean "{self.nearest}"?' if self.nearest else ""
        return f"{where}{path}{found}{self.allowed}{nearest}"


class ConfigError(Exception):
    """The configuration can't be used. `mistakes` holds all of them, in the file's order."""

    def __init__(self, file: Path, mistakes: Sequence[Mistake]) -> None:
        super().__init__(f"{file}: {'; '.join(map(str, mistakes))}")
        self.file = file
        self.mistakes = tuple(mistakes)

    def lines(self) -> tuple[str, ...]:
        """One line a mistake, `FILE: line N: PATH: what is wrong`."""
        return tuple(f"{self.file}: {mistake}" for mistake in self.mistakes)


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


def unknown_key(location: Sequence[str | int], line: int | None) -> Mistake:
    """A key that is no setting: name the nearest, or the table in which it belongs."""
    table, key = tuple(map(str, location[:-1])), str(location[-1])
    here = {s.key: s for s in settings() if _same_table(s, table)}
    elsewhere = [s for s in settings() if s.key == key]
    nearest = get_close_matches(key, here, n=1, cutoff=0.6)
    allowed = "there is no such setting"
    if nearest:
        return Mistake(path=dotted(location), line=line, allowed=allowed, nearest=nearest[0])
    if elsewhere:
        where = dotted(elsewhere[0].path[:-1])
        place = f"in [{where}]" if where else "at the top of the file, before the first [table]"
        return Mistake(path=dotted(location), line=line, allowed=f"it belongs {place}")
    allowed += f"; allowed here: {', '.join(sorted(here))}"
    return Mistake(path=dotted(location), line=line, allowed=allowed)


def _same_table(setting: Setting, table: tuple[str, ...]) -> bool:
    """Whether the setting stands directly in this table; NAME matches any domain."""
    theirs = setting.path[:-1]
    return len(theirs) == len(table) and all(
        a in ("NAME", b) for a, b in zip(theirs, table, strict=True)
    )
