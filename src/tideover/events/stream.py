"""The one stream of events: encoded once, handed to each sink, flushed once a loop iteration.

Emitting returns at once and never raises. What was emitted in one iteration of the event loop is
written at the start of the next, so kill -9 loses at most that. Before `attach` and after `detach`
each event is flushed by itself.
"""

import asyncio
from collections.abc import Sequence
from threading import get_ident
from typing import Protocol

from tideover.events.encoding import encode
from tideover.events.event import Event


class Sink(Protocol):
    """Takes events. Neither method waits for anything slower than a write to a local file."""

    def take(self, event: Event, line: bytes) -> None:
        """Remember one event; `line` is its JSON with line end, shared by all sinks."""

    def flush(self) -> None:
        """Write what was remembered."""

    def close(self) -> None:
        """Flush and let go. No call may follow."""


class EventStream:
    """Composition of sinks. `emit` is the `EventSink` that everybody gets.

    `failures` counts events that a sink did not take because of a bug; it stays 0.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = get_ident()
        self._scheduled = False
        self.failures = 0

    def add(self, sink: Sink) -> None:
        """One more sink, from the next event on."""
        self._sinks = (*self._sinks, sink)

    def attach(self) -> None:
        """Flush by the running event loop from now on."""
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()

    def detach(self) -> None:
        """Flush each event at once again: the event loop is about to end."""
        self._loop = None
        self._flush()

    def emit(self, event: Event) -> None:
        """Hand an event to every sink. From any thread."""
        try:
            if self._loop is not None and get_ident() != self._thread:
                self._loop.call_soon_threadsafe(self.emit, event)
                return
            line = encode(event)
            for sink in self._sinks:
                sink.take(event, line)
            if self._loop is None:
                self._flush()
            elif not self._scheduled:
                self._scheduled = True
                self._loop.call_soon(self._flush)
        except Exception:
            self.failures += 1
            self._scheduled = False

    def _flush(self) -> None:
        self._scheduled = False
        for sink in self._sinks:
            try:
                sink.flush()
            except Exception:
                self.failures += 1

    def close(self) -> None:
        """Flush and close all sinks."""
        self.detach()
        for sink in self._sinks:
            sink.close()
