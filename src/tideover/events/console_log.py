"""The log on stderr: JSON lines for programs, or aligned text for people, from a level on."""

from collections.abc import Callable

from tideover.events.encoding import RANK, encode
from tideover.events.event import Event
from tideover.events.records import EventsDropped
from tideover.events.writer import LineWriter

Render = Callable[[Event, bytes], bytes]
"""From an event and its JSON line to the line that is written."""


def as_json(_: Event, line: bytes) -> bytes:
    """The JSON line itself."""
    return line


class ConsoleLog:
    """A sink that shows events of `level` and above. `level` may be changed by a reload."""

    def __init__(self, writer: LineWriter, *, level: str, render: Render = as_json) -> None:
        self._writer = writer
        self._render = render
        self._lines: list[bytes] = []
        self.level = level

    @property
    def level(self) -> str:
        """The least level that is shown."""
        return self._level

    @level.setter
    def level(self, level: str) -> None:
        self._level = level
        self._shown = frozenset(name for name, rank in RANK.items() if rank >= RANK[level])

    def take(self, event: Event, line: bytes) -> None:
        """Remember an event if its level is shown."""
        if event.level in self._shown:
            self._lines.append(self._render(event, line))

    def flush(self) -> None:
        """Hand the lines to the writer, and say how many it had to drop before."""
        if not self._lines:
            return
        if dropped := self._writer.take_dropped():
            event = EventsDropped(sink="stderr", count=dropped, reason="its reader is too slow")
            self._lines.append(self._render(event, encode(event)))
        lines, self._lines = self._lines, []
        self._writer.write(b"".join(lines))

    def close(self) -> None:
        """Write what waits, within a second."""
        self.flush()
        self._writer.close()
