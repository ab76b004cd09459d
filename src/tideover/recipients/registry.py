"""Which sources are open, whom they serve, and the clockworks that keep them up to date.

A source is shared by all domains that name it, or belongs to one (`opening.belongs_to_one`).
Another configuration touches only what differs: with 100,000 domains, a reload must not stop the
service.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Final

from tideover.config.model import Config, Domain, Source
from tideover.config.values import source_kind
from tideover.events.event import EventSink
from tideover.recipients.asked import AskedSource
from tideover.recipients.copies import Copies
from tideover.recipients.domain_table import AnySource
from tideover.recipients.file_watch import FileWatch, is_quick
from tideover.recipients.leftovers import Leftovers, remove_feeds
from tideover.recipients.loaded import LoadedSource
from tideover.recipients.refresh import Refresher
from tideover.recipients.sources.opening import (
    Surroundings,
    belongs_to_one,
    feed_name,
    open_source,
    scratch,
)
from tideover.recipients.taking import Taking

START_WAIT: Final = 2.0
"""Seconds that the start waits for first loads; what takes longer goes on in the background."""

_AT_ONCE: Final = 500  # domains between two turns of the loop
_COMPARED_AT_ONCE: Final = 20_000
_FIRST_SWEEP: Final = 60.0
_SWEEP: Final = 86400.0
_NO_DETAILS: Final = Source()
_Key = tuple[str, str | None]  # the source's text, and the domain that it serves alone


class Registry:
    """The sources of a configuration. `changed` is told each domain whose sources say something
    else than before.
    """

    def __init__(
        self,
        config: Config,
        around: Surroundings,
        sink: EventSink,
        changed: Callable[[str], object],
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._around = around
        self._told = changed
        self._clock = clock
        self._copies = Copies(around.data_dir, read_only=around.read_only)
        taking = Taking(self._copies, sink, self._changed)
        self._refresher = Refresher(taking, clock)
        self._files = FileWatch(taking, clock)
        self._work: asyncio.Future[tuple[None, None, None]] | None = None
        self._sources: dict[_Key, AnySource] = {}
        self._users: dict[str, set[str]] = {}  # of shared sources
        self._reconfiguring = asyncio.Lock()

    def of(self, domain: str, settings: Domain) -> list[AnySource]:
        """The sources of a domain (A-labels) in its order, opened if they are not yet."""
        return [self._source(text, domain, settings) for text in settings.recipients]

    def clockwork(self, source: LoadedSource) -> FileWatch | Refresher:
        """Who loads it."""
        return self._files if is_quick(type(source.loader)) else self._refresher

    def _source(self, text: str, domain: str, of: Domain) -> AnySource:
        settings = self._config.sources.get(text, _NO_DETAILS)
        alone = belongs_to_one(text, settings)
        key = text, domain if alone else None
        source = self._sources.get(key)
        if source is None:
            source = self._sources[key] = open_source(text, settings, domain, of, self._around)
            if isinstance(source, LoadedSource):
                self.clockwork(source).add(source)
        if not alone:
            self._users.setdefault(text, set()).add(domain)
        return source

    def _changed(self, source: LoadedSource) -> None:
        if source.domain is not None:
            self._told(source.domain)
        else:
            for domain in self._users.get(source.text, ()):
                self._told(domain)

    # Life

    async def start(self) -> None:
        """Open all sources, and read what can be read quickly."""
        now = asyncio.get_running_loop().time
        deadline = now() + START_WAIT
        for name, settings in self._config.domains.items():
            self.of(name, settings)
        loaded = [s for s in self._sources.values() if isinstance(s, LoadedSource)]
        if self._around.read_only:
            await self._read_only(loaded)
            return
        for source in loaded:
            if not is_quick(type(source.loader)) and now() < deadline:
                await self._refresher.restore(source)
        self._work = asyncio.gather(self._files.run(), self._refresher.run(), self._sweep_daily())
        for source in loaded:
            left = deadline - now()
            if left <= 0 or not await source.first_read(left):
                break

    async def _read_only(self, loaded: Iterable[LoadedSource]) -> None:
        """Files as they are, of all others the last good copy."""
        for source in loaded:
            if is_quick(type(source.loader)):
                await self._files.refresh(source, confirmed=False)
            else:
                await self._refresher.restore(source)
                source.left_as_it_is(self._clock())

    def was_read(self) -> bool:
        """Whether all sources with lists were tried once."""
        return all(
            source.tried_at is not None
            for source in self._sources.values()
            if isinstance(source, LoadedSource)
        )

    async def run(self) -> None:
        """Keep all sources up to date until cancelled."""
        if self._work is not None:
            await self._work

    async def close(self) -> None:
        """Let go of all sources."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        for source in self._sources.values():
            await _close(source)
        await asyncio.to_thread(self._copies.close)

    # Another configuration

    async def reconfigure(self, config: Config) -> None:
        """Use another configuration; sources that stay as they are keep what they have read."""
        async with self._reconfiguring:
            before, self._config = self._config, config
            other = {
                text
                for text in before.sources.keys() | config.sources.keys()
                if before.sources.get(text) != config.sources.get(text)
            }
            gone: list[AnySource] = []
            for text in other:
                gone += self._drop(text)
            touched = await _touched(before, config, other)
            for start in range(0, len(touched), _AT_ONCE):
                for name in touched[start : start + _AT_ONCE]:
                    gone += self._move(name, before.domains.get(name), config.domains.get(name))
                    self._told(name)
                await asyncio.sleep(0)
            await self._end(gone)
            left = {source.key for source in gone if isinstance(source, LoadedSource)}
            await self._remove_left(left)

    # What is left on the disk

    async def _sweep_daily(self) -> None:
        await asyncio.sleep(_FIRST_SWEEP)
        while True:
            await self.sweep()
            await asyncio.sleep(_SWEEP)

    async def sweep(self) -> None:
        """Remove what sources left on the disk that are gone."""
        await self._remove_left(None)
        feeds = {
            feed_name(text, domain)
            for text, domain in self._sources
            if domain is not None and source_kind(text) == "feed"
        }
        await asyncio.to_thread(remove_feeds, scratch(self._around), feeds, self._clock())

    async def _remove_left(self, only: set[str] | None) -> None:
        """Remove copies that nobody needs: those of these keys, or of all."""
        if only is not None and not only:
            return
        copies = [
            (key, at)
            for key, at in await asyncio.to_thread(self._copies.all)
            if only is None or key in only
        ]
        now = self._clock()
        leftovers = Leftovers(self._config, self._sources.__contains__)
        left = []
        for start in range(0, len(copies), _AT_ONCE):
            left += [
                key
                for key, at in copies[start : start + _AT_ONCE]
                if leftovers.is_left(key, at, now)
            ]
            await asyncio.sleep(0)
        if left:
            await asyncio.to_thread(self._copies.remove, left)

    # The parts of another configuration

    def leave(self, name: str, settings: Domain) -> Coroutine[None, None, None]:
        """A domain is ours no more, although the configuration is the same. What it returns ends
        its sources.
        """
        return self._end(list(self._move(name, settings, None)))

    async def _end(self, gone: Sequence[AnySource]) -> None:
        for source in gone:
            if isinstance(source, LoadedSource):
                self.clockwork(source).remove([source])
            await _close(source)

    def _drop(self, text: str) -> Iterator[AnySource]:
        """Sources with other details now: whoever needs them opens them anew."""
        self._users.pop(text, None)
        for key in [key for key in self._sources if key[0] == text]:
            yield self._sources.pop(key)

    def _move(self, name: str, before: Domain | None, after: Domain | None) -> Iterator[AnySource]:
        """A domain came, went or is another; yields the sources that nobody needs any more."""
        kept = set(after.recipients) if after is not None else set()
        same_feed = before is not None and after is not None and _feed(before) == _feed(after)
        for text in before.recipients if before is not None else ():
            own = self._sources.get((text, name))
            if own is not None and not (text in kept and same_feed):
                yield self._sources.pop((text, name))
            users = self._users.get(text)
            if users is not None and text not in kept:
                users.discard(name)
                if isinstance(shared := self._sources.get((text, None)), AskedSource):
                    shared.forget(name)
                if not users:
                    del self._users[text]
                    if (text, None) in self._sources:
                        yield self._sources.pop((text, None))
        if after is not None:
            self.of(name, after)


async def _touched(before: Config, after: Config, sources: set[str]) -> list[str]:
    """The domains that came, went or are another, or that use one of these sources."""
    old, all_ = before.domains, list(after.domains.items())
    found: list[str] = []
    for start in range(0, len(all_), _COMPARED_AT_ONCE):
        found += [
            name
            for name, settings in all_[start : start + _COMPARED_AT_ONCE]
            if old.get(name) is not settings
            or (sources and not sources.isdisjoint(settings.recipients))
        ]
        await asyncio.sleep(0)
    return found + [name for name in old if name not in after.domains]


def _feed(settings: Domain) -> tuple[object, object]:
    """What a feed's loader has of its domain's settings."""
    return settings.feed_signer, settings.feed_key_file


async def _close(source: AnySource) -> None:
    if isinstance(source, LoadedSource):
        await source.loader.close()
    else:
        await source.asker.close()
