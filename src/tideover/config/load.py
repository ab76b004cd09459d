"""From files to a `Config`, or to all of its mistakes at once.

Invariant C1: a `Config` that `load` returns is whole and checked; there is no half configuration.
Only what can't get right by itself is a mistake. A recipient file that is not there yet is none:
`config.check` warns of it, and the daemon answers 4xx until it is there. Files of `domains_dir`
are apart: a broken one spoils its own domain only (C2, in `config.directory`).
"""

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from msgspec import Struct

from tideover.config.contradictions import contradictions
from tideover.config.directory import DomainFiles, read_directory
from tideover.config.document import Table, UnreadableError, locate, parse, read
from tideover.config.domains import DomainReader, rules_of, same
from tideover.config.mistakes import ConfigError, Flaw, Mistake, shown
from tideover.config.model import Config, Domain
from tideover.config.sections import InseparableError, Section, apart
from tideover.config.sources import SourceRules
from tideover.config.validate import InvalidError, validate
from tideover.config.values import parse_domain


class Loaded(Struct, frozen=True, kw_only=True):
    """A configuration fit to serve with, and what its `domains_dir` holds that is not."""

    config: Config
    files: DomainFiles | None = None


def load(path: Path) -> Config:
    """Read, check and return the configuration.

    Raises:
        ConfigError: its main file has mistakes; all of them, and those of `domains_dir`.
    """
    return load_to_serve(path).config


def load_to_serve(path: Path, before: Loaded | None = None) -> Loaded:
    """As `load`; `before` is what the daemon serves with now, of which broken files keep theirs.
    Domains that did not change are the same objects as in `before`.

    Raises:
        ConfigError: as `load`.
    """
    try:
        text = read(path)
        with _no_collections():
            try:
                reading = _Reading(path, before)
                reading.take(*apart(text))
            except InseparableError:
                reading = _Reading(path, before)
                reading.take_whole(parse(text))
            reading.take_directory()
    except UnreadableError as error:
        place = f"column {error.column}: {error}" if error.column else str(error)
        raise ConfigError(path, [Mistake(path="", line=error.line, allowed=place)]) from None
    return reading.result(text)


@contextmanager
def _no_collections() -> Iterator[None]:
    """Collections while a large file is read find nothing and take a third of the time. What was
    read stays for long, and is put out of the collector's sight: to look through 100,000 domains
    would hold up all else for 60 ms.
    """
    enabled = gc.isenabled()
    gc.disable()
    made = gc.get_count()[0]
    try:
        yield
    finally:
        if enabled:
            if gc.get_count()[0] - made > _MANY:
                gc.freeze()
            gc.enable()


class _Reading:
    """The tables of one file turned into values, and what was wrong with them."""

    def __init__(self, path: Path, before: Loaded | None) -> None:
        self._path = path
        self._before = before
        self._known: Mapping[str, Domain] = before.config.domains if before is not None else {}
        self._base = str(path.absolute().parent)
        self._flaws: list[Flaw] = []
        self._domains: dict[str, Domain] = {}
        self._main: Config | None = None
        self._reader = DomainReader(self._base, ())
        self._files: DomainFiles | None = None

    def take(self, main: Table, domains: Iterable[Section]) -> None:
        """Read a file that was taken apart.

        Raises:
            InseparableError: the parts don't tell all; take it whole.
        """
        inline = main.pop("domains", {})
        self._take_main(main)
        self._take_tables(inline)
        for written, text in domains:
            name = self._name(written)
            if name in self._domains:
                raise InseparableError
            try:
                self._domains[name] = same(self._reader.from_text(text), self._known.get(name))
            except InvalidError as error:
                self._note(error, written)
            except UnreadableError:
                raise InseparableError from None

    def take_whole(self, table: Table) -> None:
        """Read a file that was parsed at once."""
        domains = table.pop("domains", {})
        self._take_main(table)
        self._take_tables(domains)

    def _take_main(self, table: Table) -> None:
        try:
            self._main = validate(Config, table, self._base)
        except InvalidError as error:
            self._flaws += error.flaws
        else:
            rules = SourceRules(self._main)
            self._flaws += contradictions(self._main, table, self._base, rules)
            self._reader = DomainReader(self._base, rules_of(self._main, rules))

    def _take_tables(self, domains: object) -> None:
        if not isinstance(domains, dict):
            allowed = "a table is wanted"
            self._flaws.append(Flaw(at=("domains",), found=shown(domains), allowed=allowed))
            return
        for written, table in domains.items():
            name = self._name(written)
            if name in self._domains:
                allowed = f"this domain is there already (as {name})"
                self._flaws.append(Flaw(at=("domains", written), allowed=allowed))
                continue
            try:
                self._domains[name] = same(self._reader.from_table(table), self._known.get(name))
            except InvalidError as error:
                self._note(error, written)

    def _name(self, written: str) -> str:
        """The domain; a name that is none is noted as a flaw, and what it has is read still."""
        try:
            return parse_domain(written)
        except ValueError as error:
            at = "domains", written
            self._flaws.append(Flaw(at=at, found=shown(written), allowed=str(error)))
            return written

    def _note(self, error: InvalidError, written: str) -> None:
        self._flaws += [flaw.within("domains", written) for flaw in error.flaws]

    def take_directory(self) -> None:
        """Read the files of `domains_dir`, if there is one."""
        directory = self._main.domains_dir if self._main is not None else None
        if directory is None:
            return
        try:
            self._files = read_directory(directory, self._reader, self._domains, self._known)
        except UnreadableError as error:
            self._flaws.append(Flaw(at=("domains_dir",), allowed=str(error)))
            return
        before = self._before.files if self._before is not None else None
        had = before.count if before is not None else 0
        if had and not self._files.count:
            allowed = f"{directory} holds no domain any more, and held {had}: {_IF_MEANT}"
            self._flaws.append(Flaw(at=("domains_dir",), allowed=allowed))

    def result(self, text: str) -> Loaded:
        """The checked configuration.

        Raises:
            ConfigError: there were mistakes.
        """
        files = self._files
        if self._main is None or self._flaws:
            lines = locate(text)
            mistakes = [flaw.mistake(lines) for flaw in self._flaws]
            mistakes.sort(key=lambda mistake: mistake.line or 0)
            mistakes += files.mistakes if files else ()
            raise ConfigError(self._path, mistakes, files.more if files else 0)
        if files is not None:
            self._domains |= files.domains
            files.domains = {}
        return Loaded(config=replace(self._main, domains=self._domains), files=files)


_MANY = 50_000  # objects
_IF_MEANT = "is it mounted? If it is meant so, restart, or leave the setting out"
