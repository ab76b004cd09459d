"""Whether the spool can take mail now: free space, and how the last writes went."""

from collections.abc import Callable

from tideover.events.records import EventSink, SpoolRecovered, SpoolTrouble
from tideover.smtp.replies import Reply, reply
from tideover.spool.interface import SpoolError, SpoolFull

NO_SPACE = reply(452, "4.3.1", "Insufficient system storage; try again later")
TROUBLE = reply(451, "4.3.0", "Local trouble in taking the message; try again later")


class Admission:
    """Answers for the spool. `free_space` gives octets; it is asked once a second by `measure`,
    not per message.
    """

    def __init__(
        self, free_space: Callable[[], int], min_free: int, sink: EventSink,
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._free_space = free_space
        self._sink = sink
        self._clock = clock
        self._trouble_since: float | None = None
        self.min_free = min_free
        self._free = 0
        self.measure()

    def measure(self) -> None:
        """Look at the free space. A file system that can't be asked counts as full."""
        try:
            self._free = self._free_space()
        except OSError as error:
            self._free = -1
            self._failed(f"free space can't be measured: {error.strerror}")
            return
        if self._free < self.min_free:
            self._failed(f"{self._free} octets free, {self.min_free} needed")
        elif self._trouble_since is not None and not self._write_failed:
            self._recovered()

    _write_failed = False

    def refusal(self, size: int) -> Reply | None:
        """Why a message of `size` octets (0: not known) can't be taken now, or None."""
        return NO_SPACE if self._free - size < self.min_free else None

    def write_failed(self, error: SpoolError) -> Reply:
        """A write failed; returns what to tell the client."""
        self._write_failed = True
        self._failed(str(error))
        return NO_SPACE if isinstance(error, SpoolFull) else TROUBLE

    def write_succeeded(self) -> None:
        """A write went well."""
        if self._write_failed:
            self._write_failed = False
            self._recovered()

    def _failed(self, reason: str) -> None:
        if self._trouble_since is None:
            self._trouble_since = self._clock()
            self._sink(SpoolTrouble(reason=reason))

    def _recovered(self) -> None:
        if self._trouble_since is not None:
            self._sink(SpoolRecovered(seconds=round(self._clock() - self._trouble_since, 3)))
            self._trouble_since = None
