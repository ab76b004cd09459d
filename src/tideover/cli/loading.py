"""A recipient source read once, for verbs that need no daemon."""

import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tideover.cli.trouble import BAD, WRONG, Problem

if TYPE_CHECKING:
    from tideover.config.model import Source
    from tideover.recipients.sources.interface import Load

_DETAILED = ("sql", "ldap")
_NO_LISTS = ("feed", "callout", "learn")


class Loaded:
    """What one load brought for one domain."""

    def __init__(self, load: "Load", domain: str) -> None:
        from tideover.recipients.listing import ANY_DOMAIN, NameList

        found = [load.lists[name] for name in (domain, ANY_DOMAIN) if name in load.lists]
        self.lists: list[NameList] = [each for each in found if isinstance(each, NameList)]
        others = sum(len(each) for name, each in load.lists.items() if name not in ("", domain))
        self.skipped = load.skipped + others
        self.mistakes = load.mistakes
        self.bad = load.bad

    def __len__(self) -> int:
        return sum(map(len, self.lists))


def load_once(
    name: str, domain: str, settings: "Source", progress: Callable[[int], None]
) -> Loaded:
    """Load a source for a domain (A-labels). `progress` is told the entries read so far.

    Raises:
        Problem: the source can't be loaded, or has no list that could be.
    """
    from tideover.config.model import SourceMode
    from tideover.config.values import source_kind
    from tideover.recipients.sources.interface import SourceError

    if source_kind(name) in _NO_LISTS:
        raise Problem(f"{name} holds no names; take the source that it comes from", WRONG)
    if settings.mode is SourceMode.LOOKUP:
        text = 'can only be asked for one address: give it a query or filter for all, mode = "full"'
        raise Problem(f"{name} {text}", WRONG)
    try:
        return Loaded(asyncio.run(_load(name, domain, settings, progress)), domain)
    except SourceError as error:
        raise Problem(str(error), BAD) from None
    except TimeoutError:
        raise Problem(f"{name}: not read within {settings.timeout:g} s", BAD) from None


async def _load(
    name: str, domain: str, settings: "Source", progress: Callable[[int], None]
) -> "Load":
    from tideover.config.model import Domain
    from tideover.recipients.loaded import LoadedSource
    from tideover.recipients.sources.interface import SourceError
    from tideover.recipients.sources.opening import Surroundings, open_source

    of = Domain(primary=None, recipients=(name,))
    with tempfile.TemporaryDirectory(prefix="tideover-") as directory:
        source = open_source(name, settings, domain, of, Surroundings(data_dir=Path(directory)))
        if not isinstance(source, LoadedSource):
            raise AssertionError(f"{name} has no list")  # noqa: TRY004 - excluded by the caller
        try:
            async with asyncio.timeout(settings.timeout):
                load = await source.loader.load(None, progress)
        finally:
            await source.loader.close()
    if load is None:
        raise SourceError(f"{name}: nothing was read")
    return load


def details(name: str, config: Path, *, given: bool) -> "Source":
    """The `[sources."NAME"]` of a configuration file, which may hold nothing else; the defaults
    where `name` is a kind that needs none and no file was `given`.

    Raises:
        ConfigError: the file can't be read, or the table has mistakes.
        Problem: there is no such table, and this kind of source needs it.
    """
    from tideover.config.model import Source
    from tideover.config.values import source_beside, source_kind

    if not given and source_kind(name) not in _DETAILED:
        return Source()
    wanted = f'the details of {name} are wanted in a table [sources."{name}"]'
    if not given and not config.exists():
        raise Problem(f"{wanted} of a file: name it with --config", WRONG)
    base = str(config.absolute().parent)
    tables = _tables(config)
    for key, table in tables.items():
        if source_beside(key, base) == name:
            return _checked(config, key, table, base)
    if source_kind(name) in _DETAILED:
        raise Problem(f"{config}: {wanted}", WRONG)
    return Source()


def _tables(config: Path) -> dict[str, dict[str, object]]:
    from tideover.config.document import UnreadableError, parse, read
    from tideover.config.mistakes import ConfigError, Mistake

    try:
        found = parse(read(config)).get("sources", {})
    except UnreadableError as error:
        raise ConfigError(config, [Mistake(path="", line=error.line, allowed=str(error))]) from None
    return found if isinstance(found, dict) else {}


def _checked(config: Path, key: str, table: dict[str, object], base: str) -> "Source":
    from tideover.config.document import locate, read
    from tideover.config.mistakes import ConfigError
    from tideover.config.model import Source
    from tideover.config.validate import InvalidError, validate

    try:
        found: Source = validate(Source, table, base, ("sources", "SOURCE"))
    except InvalidError as error:
        lines = locate(read(config))
        flaws = [flaw.within("sources", key).mistake(lines) for flaw in error.flaws]
        raise ConfigError(config, flaws) from None
    return found


def with_format(settings: "Source", name: str | None) -> "Source":
    """The details with another format of lists; None: as they are."""
    from tideover.config.model import SourceFormat

    return settings if name is None else replace(settings, format=SourceFormat(name))


FORMATS = ("auto", "plain", "postfix", "aliases", "csv", "passwd")


def domain_name(text: str) -> str:
    """A domain as somebody typed it -> its A-labels.

    Raises:
        click.UsageError: it is none.
    """
    from tideover.config.values import parse_domain

    try:
        return parse_domain(text)
    except ValueError as error:
        raise click.UsageError(f"--domain {text!r}: {error} is wanted.") from None


@contextmanager
def bar(text: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """On a terminal a bar on stderr, moved by calling what this yields; else nothing at all."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(text, total=total)
        yield lambda count: shown.update(task, completed=count)
