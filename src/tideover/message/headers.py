"""Looking at the header section of a body that streams by; nothing is kept or changed."""

from typing import Final

# RFC 5321 §6.3: a large threshold, at least 100, tells a loop from a long way.
MAX_HOPS: Final = 100
# A header section longer than this is not looked at to its end.
_MAX_HEADER: Final = 256 * 1024


class HopCounter:
    """Counts Received fields, piece by piece, until the empty line that ends the header."""

    __slots__ = ("_done", "_seen", "_tail", "hops")

    def __init__(self) -> None:
        self.hops = 0
        self._tail = b"\r\n"  # the body's start is the start of a line
        self._seen = 0
        self._done = False

    def feed(self, piece: bytes) -> None:
        """Look at the next piece of the body."""
        if self._done:
            return
        text = self._tail + piece
        end = text.find(b"\r\n\r\n")
        self._seen += len(piece)
        self._done = end >= 0 or self._seen > _MAX_HEADER
        if end >= 0:
            text = text[: end + 2]
        self.hops += text.lower().count(b"\r\nreceived:")
        # shorter than the pattern, so that nothing is counted twice
        self._tail = text[-10:]

    @property
    def looping(self) -> bool:
        """Whether the message has come too far to be on its way home."""
        return self.hops > MAX_HOPS
