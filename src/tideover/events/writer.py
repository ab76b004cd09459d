"""Writes to stderr from a thread, so that a reader who stops reading never stops the mail.

Invariant: `write` never blocks. What waits is bounded by `limit` octets; beyond it lines are
dropped and counted. A descriptor that fails is tried again with the next lines.
"""

import os
import select
from threading import Condition, Thread
from time import monotonic, sleep

_PAUSE = 0.005
"""Seconds between two writes: at high rates one wake-up of the thread serves hundreds of lines."""


class LineWriter:
    """A bounded queue of lines and the thread that writes them to `fd`."""

    def __init__(self, fd: int, *, limit: int = 4 * 1024 * 1024) -> None:
        self._fd = fd
        self._limit = limit
        self._waiting: list[bytes] = []
        self._size = 0
        self._busy = False
        self._closed = False
        self._dropped = 0
        self._change = Condition()
        self._thread = Thread(target=self._run, name="log writer", daemon=True)
        self._thread.start()

    def write(self, lines: bytes) -> None:
        """Queue whole lines, or drop and count them when there is no room."""
        with self._change:
            if self._size + len(lines) > self._limit:
                self._dropped += lines.count(b"\n")
                return
            if not self._waiting:
                self._change.notify()
            self._waiting.append(lines)
            self._size += len(lines)

    def take_dropped(self) -> int:
        """How many lines were dropped since the last call; 0 while there still is no room."""
        with self._change:
            if not self._dropped or self._size > self._limit // 2:
                return 0
            dropped, self._dropped = self._dropped, 0
            return dropped

    def close(self, timeout: float = 1.0) -> None:
        """Write what waits, for at most `timeout` seconds; a blocked reader gets no more."""
        end = monotonic() + timeout
        with self._change:
            self._closed = True
            self._change.notify_all()
            while (self._waiting or self._busy) and (left := end - monotonic()) > 0:
                self._change.wait(left)

    def _run(self) -> None:
        while True:
            with self._change:
                while not self._waiting:
                    if self._closed:
                        return
                    self._change.wait()
                data, self._waiting = b"".join(self._waiting), []
                self._busy = True
            written = self._write(data)
            with self._change:
                self._size -= len(data)
                self._busy = False
                self._dropped += data.count(b"\n", written)
                self._change.notify_all()
                closed = self._closed
            if not closed:
                sleep(_PAUSE)

    def _write(self, data: bytes) -> int:
        """Write all of it, however long that takes. Returns how much the descriptor took."""
        view, done = memoryview(data), 0
        while done < len(data):
            try:
                done += os.write(self._fd, view[done : done + 65536])
            except BlockingIOError:  # the descriptor was made non-blocking by someone else
                select.select([], [self._fd], [], 1.0)
            except OSError:
                return done
        return done
