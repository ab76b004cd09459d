"""Polls files: all that are due in one go in a thread, since there may be 100,000 of them.

At most `RATE` files a second are looked at, so that with more files than that each is looked at
more seldom. A file system that hangs holds up this clockwork, and nothing else.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final, Protocol, runtime_checkable

from tideover.recipients.loaded import LoadedSource
from tideover.recipients.report import Refreshed
from tideover.recipients.sources.interface import Load, SourceError
from tideover.recipients.taking import Prepared, Taking, check, outcome

RATE: Final = 2000
_AT_ONCE: Final = 200
_TICK: Final = 0.25


@runtime_checkable
class Quick(Protocol):
    """A loader that can be looked at in microseconds, in a thread."""

    def look(self, version: str | None) -> Load | None:
        """As `Loader.load`, at once; None also while the file is being written."""
        ...


_Outcome = Prepared | SourceError | None


class FileWatch:
    """The clockwork of files."""

    def __init__(self, taking: Taking, clock: Callable[[], float]) -> None:
        self._taking = taking
        self._clock = clock
        self._known: dict[LoadedSource, None] = {}
        self._looking = asyncio.Lock()

    def add(self, source: LoadedSource) -> None:
        """Look after this one too."""
        self._known[source] = None

    def remove(self, sources: Iterable[LoadedSource]) -> None:
        """Look after these no more."""
        for source in sources:
            self._known.pop(source, None)

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            known = list(self._known)
            for start in range(0, len(known), RATE):
                now = self._clock()
                due = (s for s in known[start : start + RATE] if s.next_at <= now)
                first = False
                while batch := list(islice(due, _AT_ONCE)):
                    first = first or any(source.tried_at is None for source in batch)
                    await self._poll(batch)
                if not first and len(known) > RATE:
                    await asyncio.sleep(1.0)
            await asyncio.sleep(_TICK)

    async def refresh(self, source: LoadedSource, *, confirmed: bool) -> Refreshed:
        """Look at one file now. `confirmed`: an operator knows that it shrank."""
        before = source.loaded_at
        await self._poll([source], confirmed=confirmed)
        return outcome(source, changed=source.loaded_at != before)

    async def _poll(self, sources: Sequence[LoadedSource], *, confirmed: bool = False) -> None:
        async with self._looking:
            now = self._clock()
            found = await asyncio.to_thread(self._look_at, sources, now, confirmed)
            for source, what in zip(sources, found, strict=True):
                if isinstance(what, Prepared):
                    self._taking.use(source, what, now)
                elif isinstance(what, SourceError):
                    await self._failed(source, str(what), now)
                elif source.lists is not None:
                    self._taking.unchanged(source, now)

    def _look_at(
        self, sources: Sequence[LoadedSource], now: float, confirmed: bool
    ) -> list[_Outcome]:
        return [self._look(source, now, confirmed) for source in sources]

    def _look(self, source: LoadedSource, now: float, confirmed: bool) -> _Outcome:
        loader = source.loader
        assert isinstance(loader, Quick)  # noqa: S101 - only such ones are added
        try:
            load = loader.look(None if source.kept or confirmed else source.version)
        except SourceError as error:
            return error
        except Exception as error:  # a bug in one source must not end all others
            return SourceError(f"a bug, please report it: {type(error).__name__}: {error}")
        if load is None:
            return None
        ready = check(source, load, confirmed=confirmed)
        self._taking.keep(source, ready, now)
        return ready

    async def _failed(self, source: LoadedSource, trouble: str, now: float) -> None:
        if source.lists is None:
            kept = await asyncio.to_thread(self._taking.copies.get, source.key)
            if kept is not None:
                self._taking.restored(source, *kept)
        self._taking.failed(source, trouble, now)
