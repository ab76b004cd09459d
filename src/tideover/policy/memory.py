"""What is remembered of clients between sessions, and across restarts."""

from pathlib import Path

from tideover.events.event import EventSink


class Memory:
    """Known clients, greylist triplets and rates. Made by `open`."""

    @classmethod
    async def open(cls, path: Path, emit: EventSink) -> "Memory":
        """Open the file at `path`, in a thread; never fails (see `side_file`)."""
        raise NotImplementedError

    async def close(self) -> None:
        """Write what is still to be written, and close."""

    def is_known(self, network: str) -> bool:
        """Whether a client of this network (`network_of`) has behaved before: from memory."""
        raise NotImplementedError

    def met(self, network: str, now: float) -> None:
        """A message of this client was taken: remember it. Returns at once."""
