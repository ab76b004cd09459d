"""Double-entry bookkeeping for crash tests: what was acknowledged, and what came home how often."""

import re
import threading
from collections import Counter

from tideover.testing.mailgen import mail, number_of
from tideover.testing.sink import Got, Sink
from wire import without_trace

_ID = re.compile(rb"\bid ([A-Za-z0-9]+)")


def size_of(number: int) -> int:
    """Mostly small, some of several chunks, a few big."""
    if number % 97 == 0:
        return 2_000_000
    return 150_000 if number % 19 == 0 else 500 + number % 3000


class Ledger:
    """Counts. `acknowledged` maps the number of a message to the queue id of its 250."""

    def __init__(self) -> None:
        self.acknowledged: dict[int, str] = {}
        self.arrived: Counter[int] = Counter()
        self.ids: dict[int, set[str]] = {}
        self.damaged: list[str] = []
        self._numbers = 0
        self._lock = threading.Lock()

    def next_number(self) -> int:
        with self._lock:
            self._numbers += 1
            return self._numbers

    def take(self, got: Got) -> None:
        """A message came home: compare it octet by octet, and count it."""
        number = number_of(got.body)
        if without_trace(got.body) != mail(number, size_of(number)):
            self.damaged.append(f"message {number}: {len(got.body)} octets")
        self.arrived[number] += 1
        queue_id = _ID.search(got.body)
        if queue_id is not None:
            self.ids.setdefault(number, set()).add(queue_id[1].decode())

    def lost(self) -> list[int]:
        """Acknowledged, and not come home."""
        return [number for number in self.acknowledged if not self.arrived[number]]

    def unexplained_duplicates(self, unknown: Counter[str]) -> list[str]:
        """Come home more often than the event log accounts for: `unknown` counts the attempts on
        a queue id whose end it calls unknown."""
        return [
            f"message {number} ({', '.join(self.ids[number])}) came {times} times"
            for number, times in self.arrived.items()
            if times > 1 + sum(unknown[queue_id] for queue_id in self.ids[number])
        ]


class BookkeepingSink(Sink):
    """A primary that keeps no bodies."""

    def __init__(self, port: int, ledger: Ledger) -> None:
        super().__init__(port)
        self.ledger = ledger

    def take(self, got: Got) -> None:
        self.ledger.take(got)
