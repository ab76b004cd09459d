"""A message that has come, to be read as often as one likes."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol


class Body(Protocol):
    """A received message as the client sent it, header section included; see `policy.body`."""

    size: int

    @property
    def whole(self) -> Sequence[bytes] | None:
        """All of it in pieces when it lies in memory, else None: then it has to be `read`."""

    def read(self) -> AsyncIterator[bytes]:
        """Its pieces from the beginning, none longer than 256 KiB."""
