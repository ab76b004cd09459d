"""What the daemon answers to each request."""

from collections.abc import AsyncIterator, Callable

from tideover.control import knowing, reading, trapping
from tideover.control.acting import Acting
from tideover.control.interface import Daemon
from tideover.control.pages import Page
from tideover.control.protocol import (
    AnyRequest,
    Failure,
    Flush,
    Forget,
    Hold,
    Refresh,
    Release,
    Remove,
    Seed,
    Trap,
    TrapRequest,
)
from tideover.control.trapping import TrapView
from tideover.events.clock import now as wall_clock
from tideover.events.event import EventSink
from tideover.spool.interface import SpoolError


class Service:
    """Answers requests. Errors are values: `Failure` ends an answer, nothing is raised but bugs."""

    def __init__(
        self,
        daemon: Daemon,
        emit: EventSink,
        clock: Callable[[], float] = wall_clock,
        *,
        trap: TrapView | None = None,
    ) -> None:
        self._daemon = daemon
        self._emit = emit
        self._acting = Acting(daemon, emit)
        self._clock = clock
        self._trap = trap

    async def answer(self, request: AnyRequest, *, by: str) -> AsyncIterator[Page]:
        """The pages of the answer. `by` is the name of the user who asks."""
        now = self._clock()
        try:
            if isinstance(request, Hold | Release | Flush | Remove):
                done = await self._acting.act(request, by=by, now=now)
                yield done if isinstance(done, Failure) else [done]
                return
            if isinstance(request, Seed):
                seeded = await knowing.seed(self._daemon, request, self._emit, by=by)
                yield seeded if isinstance(seeded, Failure) else [seeded]
                return
            if isinstance(request, Refresh):
                async for page in knowing.refresh(self._daemon, request, self._emit, by=by):
                    yield page
                return
            if isinstance(request, Trap | Forget):
                async for page in self._of_trap(request, by):
                    yield page
                return
            async for page in reading.answer(self._daemon, request, now):
                yield page
        except SpoolError as error:
            yield Failure("spool", f"the spool can't do that now: {error}")

    async def _of_trap(self, request: TrapRequest, by: str) -> AsyncIterator[Page]:
        if self._trap is None:
            yield Failure("selection", "this daemon has no trap")
        elif isinstance(request, Forget):
            done = trapping.forget(self._trap, request, self._emit, by=by)
            yield done if isinstance(done, Failure) else [done]
        else:
            async for page in trapping.caught(self._trap):
                yield page
