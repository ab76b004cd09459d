"""The configuration for people: one setting explained, the example, and what is in force.

All texts come from the model by way of `settings`; nothing about a setting is said here.
"""

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from textwrap import wrap

from msgspec import Struct

from tideover.config.directory import tables_in
from tideover.config.document import parse, read
from tideover.config.model import Config
from tideover.config.settings import TABLES, Setting, effective, settings, write
from tideover.config.values import parse_domain, source_beside, without_password


class UnknownSettingError(Exception):
    """There is no setting of this name; the text names the nearest."""


class Effective(Struct, frozen=True, kw_only=True):
    """One setting in force.

    `value` is TOML text, None when unset; `origin` is "file" or "default".
    """

    key: str
    value: str | None
    origin: str


def find(key: str) -> Setting:
    """The setting `key`, as in `smtp.listen`; any domain or source stands for NAME.

    Raises:
        UnknownSettingError: there is none.
    """
    table = {setting.name: setting for setting in settings()}
    for names in TABLES:
        if key.startswith(f"{names}.") and key not in table:
            key = f"{names}.NAME.{key.rpartition('.')[2]}"
    if key in table:
        return table[key]
    same_end = [name for name in table if name.rpartition(".")[2] == key]
    nearest = same_end or get_close_matches(key, table, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
    raise UnknownSettingError(f'there is no setting "{key}"{hint}')


def explain(setting: Setting) -> str:
    """What one setting is: its text, type, how it is written and its default."""
    lines = [setting.name, *(f"  {line}" for line in wrap(setting.text, 76)), ""]
    if setting.table:
        inside = [s.name for s in settings() if s.path[:-1] == setting.path or _below(s, setting)]
        return "\n".join([*lines, f"  table     {setting.written}", *(f"  {n}" for n in inside)])
    lines.append(f"  type      {setting.kind}")
    lines.append(f"  written   {setting.written}")
    default = "none: it is required" if setting.required else setting.default or "not set"
    return "\n".join([*lines, f"  default   {default}"])


def _below(setting: Setting, table: Setting) -> bool:
    return setting.path[:-1] == (*table.path, "NAME")


_EXAMPLE = {
    "hostname": '"mx2.example.org"',
    "data_dir": '"/var/lib/tideover"',
    "domains.NAME.primary": '["mail.example.com:25"]',
    "milters.NAME.socket": '"127.0.0.1:8891"',
    "domains.NAME.recipients": '["file:example.com.recipients"]',
}
"""Values for the settings that have no default, for the example."""

_NAMES = {
    "sources": '[sources."sql:people"]',
    "domains": '[domains."example.com"]',
    "profiles": "[profiles.strict]",
    "dns_lists": '[dns_lists."bl.example.org"]',
    "milters": "[milters.opendkim]",
}
_SAMPLES = ("sources", "profiles", "dns_lists", "milters")
"""Tables that are there only when an operator names some; in the example twice commented out."""


def example() -> str:
    """A commented file with every setting; those that have a default are commented out.

    Tables that are there only when somebody names them are twice commented out.
    """
    lines = [
        "# Configuration of Tideover. A line that starts with '#' shows a default.",
        "# Durations: 500ms, 30s, 5m, 4h, 14d. Sizes: 64KiB, 50MiB, 1GiB.",
    ]
    for setting in settings():
        show = "## " if setting.path[0] in _SAMPLES else ""
        lines.append("")
        lines += [f"# {line}" for line in wrap(setting.text, 96)]
        if setting.table:
            lines.append(show + _NAMES.get(setting.name, f"[{setting.name}]"))
        elif setting.required:
            lines.append(f"{setting.key} = {_EXAMPLE[setting.name]}")
        elif setting.default is None:
            lines.append(f"{show or '# '}{setting.key} =   # {setting.written}")
        else:
            lines.append(f"{show or '# '}{setting.key} = {setting.default}")
    return "\n".join(lines) + "\n"


def in_force(config: Config, path: Path) -> Iterator[Effective]:
    """Every setting of the configuration that was loaded from `path`, with where it comes from."""
    given = parse(read(path))
    base = str(path.absolute().parent)
    tables = {table: given.get(table, {}) for table in TABLES}
    for table in ("domains", "dns_lists"):
        tables[table] = {parse_domain(name): entry for name, entry in tables[table].items()}
    tables["sources"] = {source_beside(name, base): t for name, t in tables["sources"].items()}
    if config.domains_dir is not None:
        tables["domains"] = dict(tables_in(config.domains_dir)) | tables["domains"]
    for setting, location, value in effective(config):
        if "NAME" in setting.path:
            table, name, key = location
            written = key in tables[table].get(name, ())
        else:
            written = _written(given, location)
        origin = "file" if written else "default"
        yield Effective(key=_key(location), value=_text(setting, value), origin=origin)


def _text(setting: Setting, value: object) -> str | None:
    kind = setting.kind.removeprefix("list of ")
    if value is None:
        return '"mx"' if kind == "next hops" else None
    if setting.key == "url":
        value = without_password(str(value))
    return write(value, kind)


def _key(location: tuple[str, ...]) -> str:
    return ".".join(f'"{part}"' if "." in part else part for part in location)


def _written(given: object, location: tuple[str, ...]) -> bool:
    """Whether the file itself says this."""
    for part in location:
        if not isinstance(given, dict):
            return False
        given = given.get(part)
    return given is not None
