"""`domains_dir`: a small file for each domain.

Invariants
    C2: a file that can't be used costs its own domain no more than time, and no other domain
        anything: the domain keeps the settings that it had, or is `UNREADABLE` (its mail is
        deferred). It is never taken for a domain that is not ours, whose mail is refused for good.
    C3: a directory that can't be read, or in which no domain is left, is a mistake of the whole
        configuration: likely it is not mounted. A running daemon goes on with what it has.
"""

import os
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from tideover.config.document import Table, UnreadableError, locate
from tideover.config.domains import UNREADABLE, DomainReader, same
from tideover.config.mistakes import MAX_MISTAKES, Mistake
from tideover.config.model import Domain
from tideover.config.sections import table
from tideover.config.validate import InvalidError
from tideover.config.values import parse_domain

MAX_FILES: Final = 1_000_000
MAX_FILE: Final = 64 * 1024
"""Octets of one domain's file."""

_SUFFIX: Final = ".toml"


class DomainFiles(Struct, kw_only=True):
    """What a directory holds.

    `domains` moves on to the configuration, `count` stays. `mistakes`: the first ones; `more`:
    further files with mistakes. `kept`: domains that go on with what they had; `held`: those that
    had nothing and are deferred. `ignored`: `*.toml` whose names are no domains.
    """

    domains: dict[str, Domain]
    count: int = 0
    mistakes: list[Mistake]
    more: int = 0
    kept: int = 0
    held: int = 0
    ignored: list[str]


def read_directory(
    directory: Path,
    reader: DomainReader,
    taken: Container[str],
    before: Mapping[str, Domain],
) -> DomainFiles:
    """Read all files of the directory.

    `taken` are the domains of the main file, which are left to it. `before` are the settings that
    the daemon has now.

    Raises:
        UnreadableError: the directory can't be read, or holds more than it may.
    """
    found = DomainFiles(domains={}, mistakes=[], ignored=[])
    try:
        names = _names(directory)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UnreadableError(f"{directory} can't be read: {error.strerror}") from None
    try:
        for name in names:
            _take(name, handle, directory, reader, found, taken, before)
    finally:
        os.close(handle)
    found.count = len(found.domains)
    return found


def tables_in(directory: Path) -> Iterator[tuple[str, Table]]:
    """Each domain with its table as it is written, to be shown; what is no TOML is left out."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in _names(directory):
            with suppress(ValueError, UnreadableError, OSError):
                yield parse_domain(name.removesuffix(_SUFFIX)), table(_read(name, handle))
    finally:
        os.close(handle)


def _names(directory: Path) -> list[str]:
    """The files in it that are meant for us, in an order that is the same each time."""
    names = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(_SUFFIX) and not entry.name.startswith("."):
                names.append(entry.name)
                if len(names) > MAX_FILES:
                    raise UnreadableError(f"{directory} holds more than {MAX_FILES} domains")
    return sorted(names)


def _take(
    name: str,
    handle: int,
    directory: Path,
    reader: DomainReader,
    found: DomainFiles,
    taken: Container[str],
    before: Mapping[str, Domain],
) -> None:
    """Read one file and add what it says to `found`."""
    try:
        domain = parse_domain(name.removesuffix(_SUFFIX))
    except ValueError:
        if len(found.ignored) < MAX_MISTAKES:
            found.ignored.append(name)
        return
    if domain in found.domains or domain in taken:
        where = "the main file" if domain in taken else "another spelling in this directory"
        file, allowed = str(directory / name), f"{domain} is there already, in {where}"
        _note(found, [Mistake(path="", allowed=allowed, file=file)])
        return
    text = ""
    try:
        text = _read(name, handle)
        found.domains[domain] = same(reader.from_text(text), before.get(domain))
    except (InvalidError, UnreadableError, OSError, UnicodeDecodeError) as error:
        if isinstance(error, FileNotFoundError) and not _is_still_there(name, handle):
            return  # it went while we read the directory
        _note(found, _mistakes(error, text, str(directory / name)))
        known = before.get(domain, UNREADABLE)
        found.domains[domain] = known
        found.held += known is UNREADABLE
        found.kept += known is not UNREADABLE


def _is_still_there(name: str, handle: int) -> bool:
    """Whether the name is there: as a link whose target is gone, as with a disk not mounted."""
    try:
        os.lstat(name, dir_fd=handle)
    except OSError:
        return False
    return True


def _read(name: str, handle: int) -> str:
    # a FIFO must not keep us waiting
    file = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=handle)
    try:
        data = os.read(file, MAX_FILE + 1)
    finally:
        os.close(file)
    if len(data) > MAX_FILE:
        raise UnreadableError(f"larger than {MAX_FILE // 1024} KiB")
    return data.decode()


def _mistakes(error: Exception, text: str, file: str) -> Iterator[Mistake]:
    match error:
        case InvalidError():
            lines = locate(text)
            for flaw in error.flaws:
                yield flaw.mistake(lines, file)
        case UnreadableError():
            place = f"column {error.column}: {error}" if error.column else str(error)
            yield Mistake(path="", line=error.line, allowed=place, file=file)
        case OSError():
            yield Mistake(path="", allowed=f"can't be read: {error.strerror}", file=file)
        case _:
            yield Mistake(path="", allowed="TOML is written in UTF-8; here is not", file=file)


def _note(found: DomainFiles, mistakes: "Iterator[Mistake] | list[Mistake]") -> None:
    if len(found.mistakes) < MAX_MISTAKES:
        found.mistakes.extend(mistakes)
    else:
        found.more += 1
