"""Whether mail can be taken now: free space, and what a failed write means to the client.

That writing fails is told by the spool itself; here only the lack of room is.
"""

import errno
from collections.abc import Callable

from tideover.events.event import EventSink
from tideover.events.records import SpoolRecovered, SpoolTrouble
from tideover.smtp.replies import Reply, reply
from tideover.spool.interface import SpoolError, SpoolFull, SpoolUnavailable

NO_SPACE = reply(452, "4.3.1", "Insufficient system storage; try again later")
TROUBLE = reply(451, "4.3.0", "Local trouble in taking the message; try again later")


def reply_to(error: SpoolError) -> Reply:
    """What a client hears when the spool could not store its message."""
    return NO_SPACE if isinstance(error, SpoolFull) else TROUBLE


def spool_error(error: OSError) -> SpoolError:
    """Trouble with a file beside the spool, told as the spool tells its own."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return (SpoolFull if full else SpoolUnavailable)(error.strerror or type(error).__name__)


class Admission:
    """Watches the free space. `free_space` gives octets; it is asked by `measure`, which is called
    once a second, not per message.
    """

    def __init__(
        self,
        free_space: Callable[[], int],
        min_free: int,
        sink: EventSink,
        clock: Callable[[], float],
    ) -> None:
        self._free_space = free_space
        self._sink = sink
        self._clock = clock
        self._short_since: float | None = None
        self._free = 0
        self.min_free = min_free
        self.measure()

    def measure(self) -> None:
        """Look at the free space. A file system that can't be asked counts as full."""
        try:
            self._free = self._free_space()
        except OSError as error:
            self._free = -1
            self._judge(f"free space can't be measured: {error.strerror}")
        else:
            self._judge(f"{self._free} octets free, {self.min_free} needed")

    def refusal(self, size: int) -> Reply | None:
        """Why a message of `size` octets (0: not known) can't be taken now, or None."""
        return NO_SPACE if self._free - size < self.min_free else None

    def _judge(self, reason: str) -> None:
        short = self._free < self.min_free
        if short and self._short_since is None:
            self._short_since = self._clock()
            self._sink(SpoolTrouble(reason=reason))
        elif not short and self._short_since is not None:
            self._sink(SpoolRecovered(seconds=round(self._clock() - self._short_since, 3)))
            self._short_since = None
