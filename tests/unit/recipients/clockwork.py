"""A source that does what a test says, and a clock that a test moves."""

import asyncio
from weakref import finalize

from tideover.config.model import Source
from tideover.recipients.copies import Copies
from tideover.recipients.interface import Says
from tideover.recipients.listing import NameList
from tideover.recipients.loaded import LoadedSource
from tideover.recipients.refresh import Refresher
from tideover.recipients.sources.interface import Load, SourceError
from tideover.recipients.taking import Taking

D = "example.com"


def names(*locals_):
    return NameList(frozenset(locals_))


class FakeLoader:
    """Yields what `offer` holds: names, an error, None (unchanged), or a coroutine function."""

    def __init__(self, offer=("user",)):
        self.offer = offer
        self.loads = 0
        self.versions = []
        self.closed = False
        self.extra = {}

    async def load(self, version, progress):
        self.loads += 1
        self.versions.append(version)
        offer = self.offer
        if callable(offer):
            return await offer(version, progress)
        if isinstance(offer, Exception):
            raise offer
        if offer is None:
            return None
        version = f"v{self.loads}"
        return Load(lists={D: names(*offer)}, version=version, **self.extra)

    async def close(self):
        self.closed = True


class Clock:
    def __init__(self, at=1_800_000_000.0):
        self.at = at

    def __call__(self):
        return self.at


class Bench:
    """A refresher with one source, its events and its copies."""

    def __init__(self, directory=None, loader=None, *, refresh=60.0, **settings):
        self.clock = Clock()
        self.events = []
        self.changed = []
        self.loader = loader or FakeLoader()
        copies = Copies(directory)
        finalize(self, copies.close)
        self.taking = Taking(copies, self.events.append, self.changed.append)
        self.refresher = Refresher(self.taking, self.clock)
        self.source = LoadedSource("fake:", D, self.loader, Source(**settings), refresh)

    def words(self):
        return [type(event).__name__ for event in self.events]

    async def load(self, **options):
        return await self.refresher.refresh(self.source, confirmed=options.get("confirmed", False))

    def says(self, key="user", base=None):
        said = self.source.says(D, key, base, self.clock())
        assert isinstance(said, Says)
        return said


__all__ = ["Bench", "Clock", "D", "FakeLoader", "SourceError", "asyncio", "names"]
