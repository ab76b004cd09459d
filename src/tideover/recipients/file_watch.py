"""Polls files: all that are due in one go in a thread, since there may be 100,000 of them.

At most `RATE` files a second are looked at, so that with more files than that each is looked at
more seldom. A file system that hangs holds up this clockwork, and nothing else; after a while the
silence of all files is no longer trusted, since nobody knows what is new in them.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import islice
from typing import Final, Protocol, cast, runtime_checkable

from tideover.recipients.loaded import LoadedSource
from tideover.recipients.report import Refreshed
from tideover.recipients.sources.interface import Load, SourceError
from tideover.recipients.taking import Prepared, Taking, check, outcome

RATE: Final = 2000
_AT_ONCE: Final = 200
_TICK: Final = 0.25
_LOOKS: Final = 8
"""Looks at a file that is being written, when an operator wants it read."""
HANGING: Final = 300.0
"""Seconds that one look at some files may take, as a load over some other way may."""


@runtime_checkable
class Quick(Protocol):
    """A loader that can be looked at in microseconds, in a thread."""

    def look(self, version: str | None) -> Load | None:
        """As `Loader.load`, at once; None also while the file is being written."""
        ...

    def is_unsettled(self, version: str | None) -> bool:
        """Whether the last look found something else than `version`, and left it for the next."""
        ...


@cache
def is_quick(loader: type[object]) -> bool:
    """Whether loaders of this class are `Quick`; to ask that of 100,000 instances takes seconds."""
    return issubclass(loader, Quick)


_Outcome = Prepared | SourceError | None


class FileWatch:
    """The clockwork of files."""

    def __init__(self, taking: Taking, clock: Callable[[], float]) -> None:
        self._taking = taking
        self._clock = clock
        self._known: dict[LoadedSource, None] = {}
        self._hurried: dict[LoadedSource, None] = {}
        self._hurry = self.hurry  # one object for all
        self._looking = asyncio.Lock()

    def add(self, source: LoadedSource) -> None:
        """Look after this one too."""
        self._known[source] = None
        source.hurry = self._hurry

    def hurry(self, source: LoadedSource) -> None:
        """Somebody waits for this one, which was never read: it is the next."""
        self._hurried[source] = None

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
                # one that was tried in the future: the clock was set back
                due = (
                    source
                    for source in known[start : start + RATE]
                    if source.next_at <= now or (source.tried_at or 0.0) > now
                )
                first = False
                while batch := [*self._take_hurried(), *islice(due, _AT_ONCE)]:
                    first = first or any(source.tried_at is None for source in batch)
                    await self._poll(batch)
                if not first and len(known) > RATE:
                    await asyncio.sleep(1.0)
            await asyncio.sleep(_TICK)

    def _take_hurried(self) -> list[LoadedSource]:
        hurried = [s for s in self._hurried if s in self._known and s.tried_at is None]
        self._hurried.clear()
        return hurried

    async def refresh(self, source: LoadedSource, *, confirmed: bool) -> Refreshed:
        """Look at one file now. `confirmed`: an operator knows that it shrank."""
        before = source.lists
        loader = cast("Quick", source.loader)
        for _ in range(_LOOKS):
            await self._poll([source], confirmed=confirmed)
            if not loader.is_unsettled(source.version):
                break
            await asyncio.sleep(_TICK)
        return outcome(source, changed=source.lists is not before)

    async def _poll(self, sources: Sequence[LoadedSource], *, confirmed: bool = False) -> None:
        async with self._looking:
            now = self._clock()
            found = await self._until_seen(
                asyncio.create_task(asyncio.to_thread(self._look_at, sources, now, confirmed))
            )
            for source, what in zip(sources, found, strict=True):
                if isinstance(what, Prepared):
                    self._taking.use(source, what, now)
                elif isinstance(what, SourceError):
                    await self._failed(source, str(what), now)
                elif source.lists is not None:
                    self._taking.unchanged(source, now)

    async def _until_seen(self, look: asyncio.Task[list[_Outcome]]) -> list[_Outcome]:
        """What came of a look. While it hangs no file is looked at, so all are in trouble."""
        try:
            while not (await asyncio.wait([look], timeout=HANGING))[0]:
                now = self._clock()
                for number, source in enumerate(list(self._known), 1):
                    if source.lists is not None:
                        self._taking.failed(source, "a file system does not answer", now)
                    if number % _AT_ONCE == 0:
                        await asyncio.sleep(0)
        finally:
            look.cancel()
        return look.result()

    def _look_at(
        self, sources: Sequence[LoadedSource], now: float, confirmed: bool
    ) -> list[_Outcome]:
        found = [self._look(source, confirmed) for source in sources]
        with self._taking.copies.together():
            for source, what in zip(sources, found, strict=True):
                if isinstance(what, Prepared):
                    self._taking.keep(source, what, now)
        return found

    def _look(self, source: LoadedSource, confirmed: bool) -> _Outcome:
        loader = cast("Quick", source.loader)  # only such ones are added
        try:
            load = loader.look(None if source.kept or confirmed else source.version)
        except SourceError as error:
            return error
        except Exception as error:  # a bug in one source must not end all others
            return SourceError(f"a bug, please report it: {type(error).__name__}: {error}")
        if load is None:
            return None
        # a file may have been cut short while we did not run
        copies = self._taking.copies
        kept = copies.get(source.key, other_than=load.version) if source.lists is None else None
        before = kept[0].lists if kept is not None else None
        return check(source, load, confirmed=confirmed, before=before)

    async def _failed(self, source: LoadedSource, trouble: str, now: float) -> None:
        if source.lists is None:
            kept = await asyncio.to_thread(self._taking.copies.get, source.key)
            if kept is not None:
                self._taking.restored(source, *kept)
        self._taking.failed(source, trouble, now)
