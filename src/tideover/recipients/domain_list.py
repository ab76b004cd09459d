"""`domains_from`: domains that an URL or a database names, kept up to date.

Invariants
    The last good list stays in use whatever happens to its source, also over a restart.
    A list that lost more than its share of domains (`max_shrink`), or names none, is not used.
    A row that can't be used costs its own domain no more than time (C2): it keeps its settings,
    or is deferred. More than `max_mistakes` percent of such rows, and the list is not used.
    While the list was never read, or its source is in trouble for longer than `expire`, a domain
    that it does not name may be a new one: `doubt` says so, and such mail is deferred, not refused.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from msgspec import Struct

from tideover.config.document import Table
from tideover.config.domains import UNREADABLE, from_tables, same
from tideover.config.model import Config, Domain, Source
from tideover.config.values import parse_domain
from tideover.events.domain_records import DomainListLoaded, DomainListTrouble
from tideover.events.event import EventSink
from tideover.recipients.domain_copy import DomainCopy
from tideover.recipients.domain_fetch import Fetched, fetch
from tideover.recipients.guard import lost_too_much
from tideover.recipients.report import SourceStatus
from tideover.recipients.sources.download import name_of
from tideover.recipients.sources.interface import SourceError

REFRESH: Final = 300.0
"""Seconds between two loads, when `[sources]` does not say."""

_LONGEST_RETRY: Final = 3600.0
_ALWAYS_FORGIVEN: Final = 1

Fetch = Callable[[str, Source, Path, str | None], Awaitable[Fetched | None]]


class _News(Struct, frozen=True):
    domains: dict[str, Domain]
    mistakes: dict[str, str]
    good: int
    added: int
    changed: bool


class DomainList:
    """The list of one configuration. `domains` is what it says now; use it on one event loop.

    `base` is the directory of the configuration file, `clock` gives Unix time.
    """

    def __init__(
        self,
        config: Config,
        base: Path,
        emit: EventSink,
        clock: Callable[[], float],
        *,
        fetch: Fetch = fetch,
    ) -> None:
        self.domains: Mapping[str, Domain] = {}
        self.loaded_at: float | None = None
        self.trouble: str | None = None
        self._tried_at: float | None = None
        self._next_at: float | None = None
        self._confirmable = False
        self._mistakes: Mapping[str, str] = {}
        self._config = config
        self._base = str(base.absolute())
        self._emit = emit
        self._clock = clock
        self._fetch = fetch
        self._version: str | None = None
        self._failures = 0
        self._used = True
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()

    @property
    def source(self) -> str | None:
        """Where the list comes from; None: there is none."""
        return self._config.domains_from

    @property
    def settings(self) -> Source:
        """The details of its source."""
        return self._config.sources.get(self.source or "") or Source()

    def joined(self, config: Config) -> Config:
        """The configuration with the domains of the list, to be used at once; its own come
        first.
        """
        self._used = True
        if config.domains_from is None or not self.domains:
            return config
        return replace(config, domains={**self.domains, **config.domains})

    @property
    def was_tried(self) -> bool:
        """Whether it was read since the start, or could not be."""
        return self.source is None or self._tried_at is not None

    def doubt(self, now: float) -> str | None:
        """Why a domain that is not on the list may be ours nevertheless, or None."""
        if self.source is None:
            return None
        if self.loaded_at is None:
            return self.trouble or "the list of domains was not read yet"
        if self.trouble is not None and now >= self.loaded_at + self.settings.expire:
            return self.trouble
        if not self._used:
            return "a new list of domains is being taken into use"
        return None

    def reconfigure(self, config: Config) -> None:
        """Use other settings. A list of another source is forgotten when the new one is read."""
        before = self._config
        self._config = config
        if config.domains_from is None:
            self.domains, self.loaded_at, self.trouble = {}, None, None
        if config is not before:  # what the rows mean may depend on any setting
            self._version = None
            self._changed.set()

    async def restore(self) -> None:
        """Use the last good copy, until the list itself was read."""
        source = self.source
        if source is None:
            return
        kept = await asyncio.to_thread(self._copy().get, source)
        if kept is not None:
            news = await asyncio.to_thread(self._read, kept.tables)
            self.domains, self.loaded_at = news.domains, kept.loaded_at

    async def watch(self, on_change: Callable[[], Awaitable[None]]) -> None:
        """Keep the list up to date until cancelled; `on_change` is awaited when it is another."""
        while True:
            self._changed.clear()
            pause = _LONGEST_RETRY
            if self.source is not None:
                if await self.refresh():
                    await on_change()
                pause = self._pause()
                self._next_at = self._clock() + pause
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()

    def _pause(self) -> float:
        refresh = self.settings.refresh or REFRESH
        if not self._failures:
            return refresh
        doubled = self.settings.retry * 2.0 ** min(self._failures - 1, 20)
        return min(doubled, _LONGEST_RETRY, max(refresh, self.settings.retry))

    async def refresh(self, *, confirmed: bool = False) -> bool:
        """Load the list now; returns whether it is another. What fails is told by an event, and
        stays in `trouble`. `confirmed`: an operator knows that it shrank.
        """
        async with self._lock:
            source, now = self.source, self._clock()
            if source is None:
                return False
            self._confirmable = False
            try:
                async with asyncio.timeout(self.settings.timeout):
                    changed = await self._load(source, confirmed=confirmed)
            except TimeoutError:
                self._failed(source, f"not read within {self.settings.timeout:g} s")
                return False
            except SourceError as error:
                self._failed(source, str(error))
                return False
            finally:
                self._tried_at = now
            self.trouble, self._failures, self.loaded_at = None, 0, now
            return changed

    async def _load(self, source: str, *, confirmed: bool) -> bool:
        scratch = self._config.data_dir
        found = await self._fetch(source, self.settings, scratch, self._version)
        if found is None:
            return False
        before = self.domains
        news = await asyncio.to_thread(self._read, found.tables)
        self._check(news, confirmed=confirmed)
        # the copy first: after a crash on the next line a start finds what was used
        await asyncio.to_thread(self._copy().put, source, found.tables, self._clock())
        self.domains, self._version, self._mistakes = news.domains, found.version, news.mistakes
        if news.changed:
            self._used = False
        if news.changed or news.mistakes:
            self._emit(
                DomainListLoaded(
                    source=_shown(source),
                    domains=len(news.domains),
                    added=news.added,
                    removed=len(before) + news.added - len(news.domains),
                    bad=len(news.mistakes),
                    mistakes=_first(news.mistakes),
                )
            )
        return news.changed

    def _read(self, tables: Mapping[str, Table]) -> _News:
        """Blocks for a second with 100,000 domains. One that did not change is the same object."""
        rows = from_tables(tables, self._config, self._base)
        known = self.domains
        for name, domain in rows.domains.items():
            rows.domains[name] = same(domain, known.get(name))
        good = len(rows.domains)
        for written in rows.mistakes:
            with contextlib.suppress(ValueError):
                name = parse_domain(written)
                rows.domains.setdefault(name, self.domains.get(name, UNREADABLE))
        return _News(
            rows.domains,
            rows.mistakes,
            good,
            added=sum(name not in known for name in rows.domains),
            changed=rows.domains.keys() != known.keys()
            or any(known[name] is not domain for name, domain in rows.domains.items()),
        )

    def _check(self, news: _News, *, confirmed: bool) -> None:
        had, settings = len(self.domains), self.settings
        lost = had + news.added - len(news.domains)
        bad = len(news.mistakes)
        if bad > max(_ALWAYS_FORGIVEN, len(news.domains) * settings.max_mistakes / 100):
            first = "; ".join(_first(news.mistakes))
            raise SourceError(f"{bad} domains that can't be used: {first}")
        if not news.good:
            raise SourceError(
                f"it names no domain, and named {had}" if had else "it names no domain"
            )
        if not confirmed and lost_too_much(lost, had, settings.max_shrink):
            self._confirmable = True
            raise SourceError(
                f"{lost} of {had} domains are gone from it, more than {settings.max_shrink} %; "
                "they stay until `tideover recipients refresh --domains --confirm`"
            )

    def _failed(self, source: str, reason: str) -> None:
        self._failures += 1
        if reason != self.trouble:
            self._emit(
                DomainListTrouble(source=_shown(source), reason=reason, domains=len(self.domains))
            )
        self.trouble = reason

    def status(self, now: float) -> SourceStatus | None:
        """How it stands, for an operator; None: there is no list. `entries` are domains."""
        if self.source is None:
            return None
        state = "loading" if self._tried_at is None else "never"
        if self.loaded_at is not None:
            state = "fresh" if self.trouble is None and self._tried_at is not None else "stale"
        return SourceStatus(
            domain="",
            source=_shown(self.source),
            state=state,
            entries=len(self.domains) if self.loaded_at is not None else None,
            loaded_at=self.loaded_at,
            tried_at=self._tried_at,
            next_at=self._next_at,
            trouble=self.trouble or self.doubt(now),
            mistakes=_first(self._mistakes),
            bad=len(self._mistakes),
            confirm=self._confirmable,
        )

    def _copy(self) -> DomainCopy:
        return DomainCopy(self._config.data_dir)


def _shown(source: str) -> str:
    """The source without what is secret in an URL."""
    return name_of(source) if source.startswith("http") else source


def _first(mistakes: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}: {text}" for name, text in list(mistakes.items())[:3])
