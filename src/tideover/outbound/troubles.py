"""Telling a message that breaks its server from a server that is broken. Pure.

When a connection is lost in a transaction, the message is not blamed: it is tried again at once.
When that happens again it has to wait a little, lest it take down connection after connection, and
after `PATIENCE` times in a row it is put off by itself: else it would be tried first for ever and
hold up all others.
"""

from enum import Enum

PATIENCE = 4
"""Times in a row that a message may lose its connection before it gets a backoff of its own."""

REMEMBERED = 1000
"""Messages; the oldest are forgotten first and get more tries."""


class Next(Enum):
    """What to do with a message that lost its connection."""

    AT_ONCE = "at once"
    SOON = "soon"
    BACKOFF = "backoff"


class Troubles:
    """Messages that have lost their connection, with the number of times."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._times)

    def note(self, message: str) -> Next:
        """A message lost its connection again."""
        times = self._times.pop(message, 0) + 1
        if times >= PATIENCE:
            return Next.BACKOFF
        if len(self._times) >= REMEMBERED:
            del self._times[next(iter(self._times))]
        self._times[message] = times
        return Next.AT_ONCE if times == 1 else Next.SOON

    def forget(self, message: str) -> None:
        """It was answered."""
        self._times.pop(message, None)
