"""What each request means: the same for the daemon and for a tool that reads an idle spool."""

from collections.abc import AsyncIterator, Callable
from typing import assert_never

from tideover.control import reading
from tideover.control.acting import Acting
from tideover.control.interface import Daemon
from tideover.control.protocol import (
    AnyRequest,
    Body,
    Failure,
    Flush,
    Hold,
    List,
    Lookup,
    Recipients,
    Release,
    Remove,
    Shape,
    Show,
    Status,
)
from tideover.control.reading import Page
from tideover.events.clock import now as wall_clock
from tideover.events.records import EventSink
from tideover.spool.interface import SpoolError


class Service:
    """Answers requests. Errors are values: `Failure` ends an answer, nothing is raised but bugs."""

    def __init__(
        self, daemon: Daemon, emit: EventSink, clock: Callable[[], float] = wall_clock
    ) -> None:
        self._daemon = daemon
        self._acting = Acting(daemon, emit)
        self._clock = clock

    async def answer(self, request: AnyRequest, *, by: str) -> AsyncIterator[Page]:
        """The pages of the answer. `by` is the name of the user who asks."""
        try:
            async for page in self._pages(request, by):
                yield page
        except SpoolError as error:
            yield Failure("spool", f"the spool can't do that now: {error}")

    def _pages(self, request: AnyRequest, by: str) -> AsyncIterator[Page]:
        match request:
            case Status():
                return reading.status(self._daemon, request)
            case List():
                return reading.listing(self._daemon, request)
            case Show():
                return reading.show(self._daemon, request)
            case Body():
                return reading.body(self._daemon, request)
            case Shape():
                return reading.shape(self._daemon, request, self._clock())
            case Lookup():
                return reading.lookup(self._daemon, request)
            case Recipients():
                return reading.recipients(self._daemon, request)
            case Hold() | Release() | Flush() | Remove():
                return self._act(request, by)
            case _:
                assert_never(request)

    async def _act(self, request: Hold | Release | Flush | Remove, by: str) -> AsyncIterator[Page]:
        done = await self._acting.act(request, by=by, now=self._clock())
        yield done if isinstance(done, Failure) else [done]
