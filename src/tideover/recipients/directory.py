"""All recipients of all our domains: which sources each domain has, and the answers.

Never raises for what a client wrote. A lookup is O(1) from memory where the sources are lists of
names; what has to be asked is awaited, within the sources' timeouts.

Invariants
    I8: never an open relay. ACCEPT is said only of a domain that is ours, and only of a local part
    that a source names, its sub-address, or postmaster.
    A source that can't be read keeps its last good list, and its silence means 4xx.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Protocol

from tideover.config.model import Config, Domain, Source
from tideover.config.values import source_kind
from tideover.events.clock import now as wall_clock
from tideover.events.records import EventSink
from tideover.recipients.asked import AskedSource
from tideover.recipients.copies import Copies
from tideover.recipients.domain_table import DomainTable
from tideover.recipients.file_watch import FileWatch, Quick
from tideover.recipients.interface import Confidence, Finding, Says, Silence, Verdict
from tideover.recipients.loaded import LoadedSource
from tideover.recipients.names import a_label, local_key
from tideover.recipients.refresh import Refresher
from tideover.recipients.report import Explanation, Refreshed, SourceSays, SourceStatus
from tideover.recipients.sources.opening import Surroundings, belongs_to_one, open_source
from tideover.recipients.taking import Taking
from tideover.smtp.address import PathError, parse_path

START_WAIT: Final = 2.0
"""Seconds that the start waits for first loads; what takes longer goes on in the background."""

_Key = tuple[str, str | None]  # the source's text, and the domain that it serves alone
_FOREIGN: Final = Finding(verdict=Verdict.FOREIGN, reason="not a domain of ours")
_NO_DETAILS: Final = Source()


class Primaries(Protocol):
    """What recipients need to know of the primaries."""

    def closed(self, domain: str) -> str | None:
        """Why the domain takes no mail at all (a null MX), or None."""
        ...

    @property
    def may_be_more(self) -> bool:
        """Whether a domain that is not in the configuration may be ours all the same."""
        ...

    async def discover(self, domain: str) -> bool | None:
        """Whether a domain that is not configured becomes one of ours; None: can't be said now."""
        ...


class DirectoryTable:
    """The `Directory` of a configuration. `start` it, then run `watch`."""

    def __init__(
        self,
        config: Config,
        around: Surroundings,
        sink: EventSink,
        *,
        primaries: Primaries | None = None,
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self._config = config
        self._around = around
        self._primaries = primaries
        self._clock = clock
        self._copies = Copies(around.data_dir, read_only=around.read_only)
        taking = Taking(self._copies, sink, self._changed)
        self._refresher = Refresher(taking, clock)
        self._files = FileWatch(taking, clock)
        self._work: asyncio.Future[tuple[None, None]] | None = None
        self._sources: dict[_Key, LoadedSource | AskedSource] = {}
        self._tables: dict[str, DomainTable] = {}
        self._users: dict[str, list[str]] = {}

    # Asking

    def lookup(self, local: str, domain: str) -> Finding | Awaitable[Finding]:
        """As `Directory.lookup`."""
        now = self._clock()
        table = self._tables.get(domain)
        if table is None or table.until <= now:
            name = a_label(domain) or ""
            settings = self._config.domains.get(name)
            if settings is None:
                return self._foreign(local, name)
            table = self._table(name, settings, now)
        if self._primaries is not None and (why := self._primaries.closed(table.domain)):
            return Finding(verdict=Verdict.CLOSED, domain=table.domain, reason=why)
        return table.lookup(local, now)

    def is_ours(self, domain: str) -> bool:
        """Whether mail for this domain is ours to take."""
        return (a_label(domain) or "") in self._config.domains

    def _foreign(self, local: str, name: str) -> Finding | Awaitable[Finding]:
        if not name or self._primaries is None or not self._primaries.may_be_more:
            return _FOREIGN
        return self._discover(local, name)

    async def _discover(self, local: str, name: str) -> Finding:
        assert self._primaries is not None  # noqa: S101 - for the type checker
        ours = await self._primaries.discover(name)
        if ours is None:
            return Finding(verdict=Verdict.DEFER, reason="whether it is ours can't be said now")
        settings = self._config.domains.get(name)
        if not ours or settings is None:
            return _FOREIGN
        now = self._clock()
        found = self._table(name, settings, now).lookup(local, now)
        return found if isinstance(found, Finding) else await found

    def _table(self, name: str, settings: Domain, now: float) -> DomainTable:
        table = self._tables.get(name)
        if table is None or table.until <= now:
            sources = [self._source(text, name, settings) for text in settings.recipients]
            table = self._tables[name] = DomainTable(name, settings, sources, now)
        return table

    # Sources

    def _source(self, text: str, domain: str, of: Domain) -> LoadedSource | AskedSource:
        """The source, opened if it is not yet."""
        settings = self._config.sources.get(text, _NO_DETAILS)
        key = text, domain if belongs_to_one(text, settings) else None
        source = self._sources.get(key)
        if source is None:
            source = self._sources[key] = open_source(text, settings, domain, of, self._around)
            if isinstance(source, LoadedSource):
                self._clockwork(source).add(source)
        return source

    def _clockwork(self, source: LoadedSource) -> FileWatch | Refresher:
        return self._files if isinstance(source.loader, Quick) else self._refresher

    def _open_all(self) -> None:
        self._users = {}
        for name, settings in self._config.domains.items():
            for text in settings.recipients:
                source = self._source(text, name, settings)
                if source.domain is None:
                    self._users.setdefault(text, []).append(name)

    def _changed(self, source: LoadedSource) -> None:
        """The tables of all domains that use this source are made anew when they are asked."""
        if source.domain is not None:
            self._tables.pop(source.domain, None)
        else:
            for domain in self._users.get(source.name, ()):
                self._tables.pop(domain, None)

    # Life

    async def start(self) -> None:
        """Open all sources, and read what can be read quickly."""
        self._open_all()
        loaded = [s for s in self._sources.values() if isinstance(s, LoadedSource)]
        for source in loaded:
            if not isinstance(source.loader, Quick):
                await self._refresher.restore(source)
                if self._around.read_only:
                    source.left_as_it_is(self._clock())
            elif self._around.read_only:
                await self._files.refresh(source, confirmed=False)
        if self._around.read_only:
            return
        self._work = asyncio.gather(self._files.run(), self._refresher.run())
        deadline = asyncio.get_running_loop().time() + START_WAIT
        for source in loaded:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0 or not await source.first_read(left):
                break

    async def watch(self) -> None:
        """Keep all sources up to date until cancelled."""
        if self._work is not None:
            await self._work

    async def reconfigure(self, config: Config) -> None:
        """Use another configuration; sources that stay as they are keep what they have read."""
        before, self._config = self._config, config
        old, self._sources = self._sources, {}
        for key, source in old.items():
            text, domain = key
            if before.sources.get(text) == config.sources.get(text) and _same(
                before.domains.get(domain or ""), config.domains.get(domain or "")
            ):
                self._sources[key] = source
        self._tables = {}
        self._open_all()
        used = set(self._sources.values())
        gone = [source for source in old.values() if source not in used]
        for source in gone:
            if isinstance(source, LoadedSource):
                self._clockwork(source).remove([source])
        await _close(gone)

    def forget(self, domain: str) -> None:
        """A domain is ours no more."""
        self._tables.pop(domain, None)

    async def close(self) -> None:
        """Let go of all sources."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        await _close(self._sources.values())
        await asyncio.to_thread(self._copies.close)

    # What operators ask

    def listing(self, domain: str) -> Sequence[str]:
        """All addresses of a domain of ours that are known in clear, sorted."""
        name = a_label(domain) or ""
        locals_ = {
            local
            for source in self._of(name)
            if isinstance(source, LoadedSource)
            for listing in source.of(name)
            for local in listing.names()
        }
        return sorted(f"{local}@{name}" for local in locals_)

    def sources(self, domain: str | None = None) -> Sequence[SourceStatus]:
        """How the sources of a domain stand, or those of all domains."""
        now = self._clock()
        names = self._config.domains if domain is None else [a_label(domain) or ""]
        return [source.status(name, now) for name in names for source in self._of(name)]

    def _of(self, name: str) -> Sequence[LoadedSource | AskedSource]:
        settings = self._config.domains.get(name)
        if settings is None:
            return ()
        return [self._source(text, name, settings) for text in settings.recipients]

    async def explain(self, address: str) -> Explanation:
        """What each source of the address's domain says. `address` is `local@domain`."""
        local, domain = _parts(address)
        now = self._clock()
        name = a_label(domain) or ""
        settings = self._config.domains.get(name)
        looked = self.lookup(local, domain)
        finding = looked if isinstance(looked, Finding) else await looked
        if settings is None:
            return Explanation(
                address=address, primary_up=finding, primary_down=finding, sources=()
            )
        table = self._table(name, settings, now)
        said = await table.ask(local, now)
        down = finding
        if finding.verdict is not Verdict.CLOSED:
            down = table.decide(local, [_when_down(says) for says in said], now)
        return Explanation(
            address=address,
            primary_up=finding,
            primary_down=down,
            sources=tuple(map(_shown, said, table.sources)),
        )

    async def refresh(
        self,
        domain: str | None,
        *,
        confirm: bool = False,
        progress: Callable[[str, int], None] = lambda _source, _count: None,
    ) -> Sequence[Refreshed]:
        """Load the sources of a domain, or all, now. `progress` is told how many entries were
        read of which source, each second and when one is done.
        """
        names = self._config.domains if domain is None else [a_label(domain) or ""]
        wanted = {
            id(source): source
            for name in names
            for source in self._of(name)
            if isinstance(source, LoadedSource)
        }
        done = []
        for source in wanted.values():
            work = asyncio.ensure_future(self._clockwork(source).refresh(source, confirmed=confirm))
            while not (await asyncio.wait([work], timeout=1.0))[0]:
                progress(source.name, source.progress or 0)
            done.append(work.result())
            progress(source.name, done[-1].entries or 0)
        return done

    async def seed(self, domain: str, addresses: Sequence[str]) -> int:
        """Addresses of a domain that are worth a callout. Returns how many were not known yet.

        Raises:
            KeyError: there are no callouts.
        """
        if self._around.seed is None:
            raise KeyError(domain)
        keys = [local_key(_parts(address)[0] or address) for address in addresses]
        return await self._around.seed(a_label(domain) or "", keys)

    async def push(self, domain: str, file: Path) -> Refreshed:
        """A feed was pushed: take it, if it is right.

        Raises:
            KeyError: the domain is not ours, or has no feed.
            SourceError: it is refused.
        """
        from tideover.recipients.sources.feed_source import FeedLoader

        for source in self._of(a_label(domain) or ""):
            if not isinstance(source, LoadedSource):
                continue
            loader = source.loader
            if isinstance(loader, FeedLoader) and loader.is_pushed:
                await loader.offer(file)
                return await self._refresher.refresh(source, confirmed=False)
        raise KeyError(domain)


def _same(before: Domain | None, after: Domain | None) -> bool:
    """Whether what a source of its own knows of its domain stays."""
    if before is None or after is None:
        return before is after
    return (before.feed_signer, before.feed_key_file) == (after.feed_signer, after.feed_key_file)


async def _close(sources: Iterable[LoadedSource | AskedSource]) -> None:
    for source in sources:
        if isinstance(source, LoadedSource):
            await source.loader.close()
        else:
            await source.asker.close()


def _when_down(says: Says) -> Says:
    """The same, while the primary can't be asked."""
    if source_kind(says.source) == "callout" and says.match is None:
        return Says(
            says.source, None, Silence.UNSURE, "the primary can't be asked while it is down"
        )
    return says


def _shown(says: Says, source: LoadedSource | AskedSource) -> SourceSays:
    match = says.match
    return SourceSays(
        source=says.source,
        confidence=match.confidence if match is not None else Confidence.NEVER_SEEN,
        matched=match.entry if match is not None else None,
        at=match.at if match is not None else None,
        silence=None if match is not None else says.silence,
        trouble=says.trouble,
        loaded_at=source.loaded_at if isinstance(source, LoadedSource) else None,
    )


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
