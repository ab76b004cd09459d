"""All recipients of all our domains: answers from memory, and keeps up with the files.

Never waits in `lookup` and never raises for what a client wrote; files are read off the loop.

Invariants
    I8: never an open relay. LISTED is said only of a domain that the configuration names, and only
    of a local part that a source names, its sub-address, or postmaster.
    A source that can't be read keeps its last good list; one that was never read makes its
    domain UNAVAILABLE (4xx), never "nobody exists".
"""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from tideover.config.model import Config
from tideover.events.records import EventSink, RecipientsFailed, RecipientsLoaded
from tideover.recipients.domain_table import DomainTable
from tideover.recipients.file_source import FileSource
from tideover.recipients.interface import Finding, Standing
from tideover.recipients.names import a_label, local_key
from tideover.smtp.address import PathError, parse_path

POLL: Final = 1.0
"""Seconds between two looks at the files."""

_Key = tuple[str, str]  # domain and source, as configured

_FOREIGN: Final = Finding(standing=Standing.FOREIGN, reason="not a domain of ours")


def _parts(address: str) -> tuple[str, str]:
    """Local part without quotes, and domain, of an address as a person types it."""
    try:
        mailbox, _ = parse_path(f"<{address}>".encode())
    except (PathError, UnicodeEncodeError):
        mailbox = None
    if mailbox is None:
        local, _, domain = address.rpartition("@")
        return local, domain
    return mailbox.local, mailbox.domain


class SourceSays(Struct, frozen=True, kw_only=True):
    """What one source knows of an address. `matched` is the entry that names it, or None;
    `addresses` counts the source's entries, None when it was never read; `trouble` is what is
    wrong with it now.
    """

    source: str
    matched: str | None
    addresses: int | None
    trouble: str | None


class Explanation(Struct, frozen=True, kw_only=True):
    """Why an address gets the finding that it gets."""

    address: str
    finding: Finding
    sources: tuple[SourceSays, ...]


class DirectoryTable:
    """The `Directory` of a configuration. Call `load` at the start, then run `watch`.

    Relative paths of sources start at `base_dir`.
    """

    def __init__(self, config: Config, base_dir: Path, sink: EventSink) -> None:
        self._config = config
        self._base_dir = base_dir
        self._sink = sink
        self._sources: dict[_Key, FileSource] = {}
        self._tables: dict[str, DomainTable] = {}
        self._changing = asyncio.Lock()

    def lookup(self, local: str, domain: str) -> Finding:
        """As `Directory.lookup`: O(1), from memory."""
        table = self._tables.get(domain)
        if table is None:
            table = self._tables.get(a_label(domain) or "")
            if table is None:
                return _FOREIGN
        return table.lookup(local)

    def load(self) -> None:
        """Read all sources now; blocks. A source that can't be read is reported, not raised."""
        self._sources = self._sources_of(self._config)
        news = [key for key, source in self._sources.items() if source.read()]
        self._use(news, self._config.domains)

    async def watch(self) -> None:
        """Poll the files until cancelled."""
        while True:
            await asyncio.sleep(POLL)
            await self.poll()

    async def poll(self) -> None:
        """Look once at every file and use what has changed."""
        async with self._changing:
            sources = self._sources
            news = await asyncio.to_thread(
                lambda: [key for key, source in sources.items() if source.poll()]
            )
            self._use(news, {domain for domain, _ in news})

    async def reconfigure(self, config: Config) -> None:
        """Use another configuration; sources that stay keep what they have read."""
        async with self._changing:
            sources = self._sources_of(config)
            fresh = [key for key in sources if key not in self._sources]
            news = await asyncio.to_thread(lambda: [key for key in fresh if sources[key].read()])
            self._config, self._sources, self._tables = config, sources, {}
            self._use(news, config.domains)

    def listing(self, domain: str) -> Sequence[str]:
        """All addresses of a domain of ours, sorted; empty for any other."""
        name = a_label(domain)
        locals_ = {
            local
            for (of, _), source in self._sources.items()
            if of == name
            for local in source.names or ()
        }
        return sorted(f"{local}@{name}" for local in locals_)

    def explain(self, address: str) -> Explanation:
        """What each source of the address's domain says. `address` is `local@domain`."""
        local, domain = _parts(address)
        finding = self.lookup(local, domain)
        table = self._tables.get(finding.domain)
        key = local_key(local)
        spellings = (key, table.base(key)) if table else ()
        return Explanation(
            address=address,
            finding=finding,
            sources=tuple(
                SourceSays(
                    source=name,
                    matched=next((s for s in spellings if s in (source.names or ())), None),
                    addresses=None if source.names is None else len(source.names),
                    trouble=source.trouble,
                )
                for (of, name), source in self._sources.items()
                if of == finding.domain
            ),
        )

    def _sources_of(self, config: Config) -> dict[_Key, FileSource]:
        """The sources of a configuration, those that we have already taken over."""
        return {
            (domain, name): self._sources.get((domain, name)) or self._open(name, domain)
            for domain, settings in config.domains.items()
            for name in settings.recipients
        }

    def _open(self, name: str, domain: str) -> FileSource:
        return FileSource(self._base_dir / name.removeprefix("file:"), domain)

    def _use(self, news: Iterable[_Key], domains: Iterable[str]) -> None:
        """Make the tables of these domains anew, then say what is new."""
        for domain in domains:
            settings = self._config.domains[domain]
            self._tables[domain] = DomainTable(
                domain,
                {name: self._sources[domain, name].names for name in settings.recipients},
                settings.recipient_delimiter,
            )
        for domain, name in news:
            source = self._sources[domain, name]
            if source.trouble is not None:
                self._sink(RecipientsFailed(domain=domain, source=name, reason=source.trouble))
            else:
                count = len(source.names or ())
                self._sink(RecipientsLoaded(domain=domain, source=name, addresses=count))
