"""Keeps sources up to date that are loaded over some way: when to load, how often to try again.

A load runs within the source's timeout, at most `AT_ONCE` of them at a time; a failure is tried
again after a pause that doubles. What has failed waits in a line of its own, so that a thousand
sources of a host that is gone hold up no other. Files have a clockwork of their own: `file_watch`.
"""

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import Callable, Iterable
from typing import Final

from tideover.recipients.loaded import LoadedSource
from tideover.recipients.report import Refreshed
from tideover.recipients.sources.interface import KeepsOwnCopy, Load, SourceError
from tideover.recipients.taking import Taking, check, outcome

AT_ONCE: Final = 8
_IDLE: Final = 3600.0


class _Line:
    """What is to be loaded when, and how much of it is under way."""

    __slots__ = ("due", "running", "slots")

    def __init__(self) -> None:
        self.due: list[tuple[float, int, LoadedSource]] = []
        self.running = 0
        self.slots = asyncio.Semaphore(AT_ONCE)


class Refresher:
    """The clockwork. `run` it; what is `add`ed is read at once when it never was."""

    def __init__(self, taking: Taking, clock: Callable[[], float]) -> None:
        self._taking = taking
        self._clock = clock
        self._good, self._failing = _Line(), _Line()
        self._now = 0.0
        self._number = itertools.count()
        self._wake = asyncio.Event()
        self._running: dict[LoadedSource, asyncio.Task[Refreshed]] = {}
        self._known: set[LoadedSource] = set()

    def add(self, source: LoadedSource) -> None:
        """Look after this one too."""
        self._known.add(source)
        self._plan(source)

    def remove(self, sources: Iterable[LoadedSource]) -> None:
        """Look after these no more."""
        self._known.difference_update(sources)

    async def run(self) -> None:
        """Load what is due until cancelled."""
        try:
            await self._restore_all()
            while True:
                self._wake.clear()
                pause = self._start_due()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
        finally:
            tasks = list(self._running.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _start_due(self) -> float:
        """Start what is due; returns the seconds until the next one is."""
        before, self._now = self._now, self._clock()
        lines = (self._good, self._failing)
        if self._now < before:  # set back: what was planned by that clock may be years away
            for line in lines:
                line.due = [(0.0, number, source) for _, number, source in line.due]
                heapq.heapify(line.due)
        return min(self._start_due_in(line) for line in lines)

    def _start_due_in(self, line: _Line) -> float:
        while line.due:
            if line.due[0][0] > self._now:
                return min(line.due[0][0] - self._now, _IDLE)
            if line.running >= 2 * AT_ONCE:
                return _IDLE  # the end of one wakes us
            source = heapq.heappop(line.due)[2]
            if source in self._known and source not in self._running:
                self._start(source, confirmed=False)
        return _IDLE

    async def refresh(self, source: LoadedSource, *, confirmed: bool) -> Refreshed:
        """Load one source now. `confirmed`: an operator knows that it shrank."""
        while (running := self._running.get(source)) is not None:
            await asyncio.wait([running])
        return await asyncio.shield(self._start(source, confirmed=confirmed))

    async def restore(self, source: LoadedSource) -> None:
        """Use the last good copy of a source that was not read yet, if there is one."""
        if isinstance(source.loader, KeepsOwnCopy):
            with contextlib.suppress(SourceError):
                load = await source.loader.restore()
                if load is not None and source.lists is None:
                    self._taking.restored(source, load, self._clock())
        else:
            kept = await asyncio.to_thread(self._taking.copies.get, source.key)
            if kept is not None and source.lists is None:
                self._taking.restored(source, *kept)

    async def _restore_all(self) -> None:
        """The last good copies before all loads: those of hosts that are gone take very long."""
        for source in list(self._known):
            if source.lists is None and source.tried_at is None and source not in self._running:
                await self.restore(source)

    def _line(self, source: LoadedSource) -> _Line:
        return self._failing if source.failures else self._good

    def _plan(self, source: LoadedSource) -> None:
        heapq.heappush(self._line(source).due, (source.next_at, next(self._number), source))
        self._wake.set()

    def _start(self, source: LoadedSource, *, confirmed: bool) -> asyncio.Task[Refreshed]:
        line = self._line(source)
        line.running += 1
        task = asyncio.create_task(self._load(source, line.slots, confirmed=confirmed))
        self._running[source] = task
        task.add_done_callback(lambda _: self._done(source, line))
        return task

    def _done(self, source: LoadedSource, line: _Line) -> None:
        line.running -= 1
        self._running.pop(source, None)
        if source in self._known:
            self._plan(source)

    async def _load(
        self, source: LoadedSource, slots: asyncio.Semaphore, *, confirmed: bool
    ) -> Refreshed:
        def progress(count: int) -> None:
            source.progress = count

        changed = False
        async with slots:
            if source.tried_at is None and source.lists is None:
                await self.restore(source)
            progress(0)
            try:
                async with asyncio.timeout(source.settings.timeout):
                    version = None if source.kept or confirmed else source.version
                    load = await source.loader.load(version, progress)
                if load is None:
                    self._taking.unchanged(source, self._clock())
                else:
                    changed = await self._take(source, load, confirmed=confirmed)
            except TimeoutError:
                seconds = source.settings.timeout
                self._taking.failed(source, f"not read within {seconds:g} s", self._clock())
            except SourceError as error:
                self._taking.failed(source, str(error), self._clock())
            except Exception as error:  # a bug in one source must not end all others
                text = f"a bug, please report it: {type(error).__name__}: {error}"
                self._taking.failed(source, text, self._clock())
        return outcome(source, changed=changed)

    async def _take(self, source: LoadedSource, load: Load, *, confirmed: bool) -> bool:
        """Returns whether there are new lists now."""
        ready = check(source, load, confirmed=confirmed)
        now = self._clock()
        if isinstance(source.loader, KeepsOwnCopy):
            if ready.checked.refused:  # one file for one domain: as it is, or not at all
                self._taking.refuse(source, ready, now)
                return False
            await source.loader.keep(load)
        else:
            await asyncio.to_thread(self._taking.keep, source, ready, now)
        self._taking.use(source, ready, now)
        return True
