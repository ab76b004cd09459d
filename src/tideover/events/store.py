"""The event log in the data directory, which `tideover explain` reads.

JSON lines in numbered segments, `events/000001.jsonl` and so on, rotated by size; the oldest are
removed so that all together stay within `max_size`. Each flush is one write.

Never disturbs the daemon: when the disk is full or fails, events are dropped and counted, and it
is tried again a second later; the first line after that says how many are missing. A line is whole
or, after a crash, the last of its segment; readers skip torn lines.
"""

import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from tideover.events.encoding import encode
from tideover.events.event import Event
from tideover.events.records import EventsDropped

_LARGEST_SEGMENT = 16 * 1024 * 1024
_SEGMENTS = 8
_RETRY = 1.0
Write = Callable[[int, bytes], int]


def segments(directory: Path) -> list[Path]:
    """The log's files, oldest first. Empty when there is none."""
    try:
        names = [name for name in os.listdir(directory) if name.endswith(".jsonl")]
    except OSError:
        return []
    return [directory / name for name in sorted(names, key=_number) if _number(name)]


def _number(name: str) -> int:
    stem = name.removesuffix(".jsonl")
    return int(stem) if stem.isascii() and stem.isdigit() else 0


class EventStore:
    """A sink that appends to segments below `directory`, which it makes when it is missing.

    `write` and `clock` stand in for `os.write` and the monotonic clock in tests.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_size: int,
        write: Write = os.write,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._directory = directory
        self._max_size = max_size
        self._segment_size = max(1, min(_LARGEST_SEGMENT, max_size // _SEGMENTS))
        self._write = write
        self._clock = clock
        self._lines: list[bytes] = []
        self._fd = -1
        self._size = 0
        self._retry_at = 0.0
        self._reason = ""
        self.dropped = 0

    def take(self, event: Event, line: bytes) -> None:
        """Remember one event."""
        self._lines.append(line)

    def flush(self) -> None:
        """Append what was remembered, or drop and count it."""
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        if self._reason and self._clock() < self._retry_at:
            self.dropped += len(lines)
            return
        try:
            self._append(lines)
            self.dropped, self._reason = 0, ""
        except OSError as error:
            self.dropped += len(lines)
            self._reason = error.strerror or type(error).__name__
            self._retry_at = self._clock() + _RETRY
            self.close_segment()

    def _append(self, lines: list[bytes]) -> None:
        if self.dropped:
            event = EventsDropped(sink="store", count=self.dropped, reason=self._reason)
            lines = [encode(event), *lines]
        data = b"".join(lines)
        if self._fd < 0 or self._size + len(data) > self._segment_size:
            self._next_segment(len(data))
        written = self._write(self._fd, data)
        if written < len(data):  # a full disk: take the torn piece back, so that lines stay whole
            os.ftruncate(self._fd, self._size)
            raise OSError(28, "No space left on device")
        self._size += written

    def _next_segment(self, needed: int) -> None:
        """Open the newest segment if it has room, else a new one; remove the oldest."""
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        present = segments(self._directory)
        fresh = self._fd >= 0 or not present
        self.close_segment()
        if not fresh and present[-1].stat().st_size + needed > self._segment_size:
            fresh = True
        number = _number(present[-1].name) if present else 0
        path = self._directory / f"{number + fresh:06d}.jsonl"
        self._remove_oldest(present if fresh else present[:-1], needed)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        self._size = os.fstat(self._fd).st_size
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            self._size += self._write(self._fd, b"\n")  # ends the line that a crash tore

    def _remove_oldest(self, present: list[Path], needed: int) -> None:
        """Make room for one more segment within `max_size`."""
        room = self._max_size - max(self._segment_size, needed)
        sizes = [path.stat().st_size for path in present]
        total = sum(sizes)
        for path, size in zip(present, sizes, strict=True):
            if total <= room:
                return
            path.unlink()
            total -= size

    def close_segment(self) -> None:
        """Let go of the open file; the next flush opens it again."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def close(self) -> None:
        """Write what waits and close the file."""
        self.flush()
        self.close_segment()
