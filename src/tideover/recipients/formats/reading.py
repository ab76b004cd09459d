"""From the bytes of a list in whatever format to a `Load`."""

from collections.abc import Callable
from os.path import basename
from typing import IO

from tideover.config.model import Source, SourceFormat
from tideover.recipients.formats import aliases, csv_table, passwd, plain, postfix
from tideover.recipients.formats.intake import Intake
from tideover.recipients.listing import ListBuilder
from tideover.recipients.sources.interface import Load


def format_of(name: str, settings: Source) -> SourceFormat:
    """The format of a list: as set, else by the name of its file."""
    if settings.format is not SourceFormat.AUTO:
        return settings.format
    name = basename(name).lower()
    if name.startswith("aliases"):
        return SourceFormat.ALIASES
    if name.startswith("passwd"):
        return SourceFormat.PASSWD
    if name.endswith((".csv", ".tsv")):
        return SourceFormat.CSV
    return SourceFormat.PLAIN


def read_list(
    file: IO[bytes],
    label: str,
    settings: Source,
    *,
    wanted: Callable[[str], bool] | None = None,
    domain: str | None = None,
    version: str | None = None,
    tick: Callable[[int], None] = lambda _: None,
) -> Load:
    """Read a list to its end. Blocks; holds some 2 MiB besides what it makes.

    `label` is its path, URL or program, for mistakes and for `format_of`; `wanted` says of a domain
    whether its recipients count, None: all; `domain` is the only one, if so. `tick` is told the
    number of entries every few milliseconds, and may raise to stop.

    Raises:
        SourceError: too many mistakes, or nothing for us.
    """
    builder = ListBuilder() if wanted is None else ListBuilder(wanted)
    intake = Intake(label, builder, tick)
    match format_of(label, settings):
        case SourceFormat.POSTFIX:
            postfix.parse(file, intake)
        case SourceFormat.ALIASES:
            aliases.parse(file, intake)
        case SourceFormat.CSV:
            csv_table.parse(file, intake, settings.column)
        case SourceFormat.PASSWD:
            passwd.parse(file, intake)
        case _:
            plain.parse(file, intake)
    return intake.load(settings.max_mistakes, domain, version)
