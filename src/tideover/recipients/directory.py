"""All recipients of all our domains: which sources each domain has, and the answers.

Never raises for what a client wrote. A lookup is O(1) from memory where the sources are lists of
names; what has to be asked is awaited, within the sources' timeouts.

Invariants
    I8: never an open relay. ACCEPT is said only of a domain that is ours, and only of a local part
    that a source names, its sub-address or its BATV address, of postmaster, and of an SRS address
    that bears a signature by the domain's own key.
    A source that can't be read keeps its last good list, and its silence means 4xx.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from tideover.config.model import Config, Domain, Source
from tideover.config.values import source_kind
from tideover.events.clock import now as wall_clock
from tideover.events.event import EventSink
from tideover.recipients.asked import AskedSource
from tideover.recipients.domain_table import DomainTable
from tideover.recipients.interface import Confidence, Finding, Says, Silence, Verdict
from tideover.recipients.listing import Listing, NameList
from tideover.recipients.loaded import LoadedSource
from tideover.recipients.names import a_label, local_key
from tideover.recipients.registry import Registry
from tideover.recipients.report import Explanation, Refreshed, SourceSays, SourceStatus
from tideover.recipients.return_addresses import ReturnKeys, return_keys
from tideover.recipients.sources.opening import Surroundings
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
        self._registry = Registry(config, around, sink, self.forget, clock)
        self._tables: dict[str, DomainTable] = {}
        self._returns = _keys_by_profile(config)
        self._leaving: set[asyncio.Future[None]] = set()

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

    def trap(self, local: str, domain: str) -> Finding | None:
        """As `Directory.trap`."""
        settings = self._config.domains.get(domain)
        if settings is None:
            return None
        now = self._clock()
        return self._table(domain, settings, now).trap(local, now)

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
            sources = self._registry.of(name, settings)
            returns = self._returns.get(settings.profile)
            table = self._tables[name] = DomainTable(name, settings, sources, now, returns)
        return table

    # Life

    async def start(self) -> None:
        """Open all sources, and read what can be read quickly."""
        await self._registry.start()

    def was_read(self) -> bool:
        """Whether all sources with lists were tried once."""
        return self._registry.was_read()

    async def watch(self) -> None:
        """Keep all sources up to date until cancelled."""
        await self._registry.run()

    async def reconfigure(self, config: Config) -> None:
        """Use another configuration; sources that stay as they are keep what they have read."""
        before, self._returns = self._returns, _keys_by_profile(config)
        self._config = config
        if before or self._returns:  # tables hold the keys of their profiles
            self._tables.clear()
        await self._registry.reconfigure(config)

    def forget(self, domain: str) -> None:
        """The sources of a domain say something else, or it is ours no more."""
        self._tables.pop(domain, None)

    def lose(self, domain: str, settings: Domain) -> None:
        """A domain that was discovered is ours no more, and gone from the configuration."""
        self.forget(domain)
        leaving = asyncio.ensure_future(self._registry.leave(domain, settings))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Let go of all sources."""
        await self._registry.close()

    # What operators ask

    def listing(self, domain: str) -> Sequence[str]:
        """All valid addresses of a domain of ours that are known in clear, sorted."""
        name = a_label(domain) or ""
        locals_ = {
            local
            for source in self._of(name)
            if isinstance(source, LoadedSource)
            for listing in source.of(name)
            for local in _valid(listing)
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
        return self._registry.of(name, settings)

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
        up = down = finding
        if finding.verdict is not Verdict.CLOSED:
            up = table.decide(
                local, [_when(says, "the primary would be asked") for says in said], now
            )
            down = table.decide(local, [_when(says, "the primary is down") for says in said], now)
        return Explanation(
            address=address,
            primary_up=up,
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
            work = asyncio.ensure_future(
                self._registry.clockwork(source).refresh(source, confirmed=confirm)
            )
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
                return await self._registry.clockwork(source).refresh(source, confirmed=False)
        raise KeyError(domain)


def _keys_by_profile(config: Config) -> Mapping[str, ReturnKeys]:
    return {
        name: keys for name, profile in config.profiles.items() if (keys := return_keys(profile))
    }


def _valid(listing: Listing) -> Iterable[str]:
    """The names of a list without honeypots, and without those whose mail is to be refused."""
    if not isinstance(listing, NameList) or not listing.terms:
        return listing.names()
    refused = (n for n, terms in listing.terms.items() if terms.honeypot or terms.reject)
    return listing.names().difference(refused)


def _when(says: Says, what: str) -> Says:
    """The same, with what would become of a question that the primary has not answered yet."""
    if source_kind(says.source) == "callout" and says.match is None:
        return Says(says.source, None, Silence.UNSURE, what)
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
