"""One body on its way in: size limit, line ends and where it ends, for DATA and BDAT alike.

A body that is refused is still read to its end, or its rest would be taken for commands.
"""

from enum import Enum
from typing import Final

from tideover.smtp import answers
from tideover.smtp.body import ChunkReader, DotReader
from tideover.smtp.events import BodyChunk, BodyRejected
from tideover.smtp.replies import Reply

# Octets beyond the size limit that a refused body may go on for before we hang up.
MAX_DISCARD: Final = 64 * 1024 * 1024


class Progress(Enum):
    """What a read led to besides a piece of the body."""

    NEED_DATA = "need-data"
    CHUNK_END = "chunk-end"
    BODY_END = "body-end"
    FLOOD = "flood"


class IncomingBody:
    """The body of one transaction. `rejected` is the reply it will get whatever follows."""

    __slots__ = ("_chunks", "_dots", "_ended", "_last", "_max_size", "chunk_size", "rejected",
                 "size")  # fmt: skip

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._dots = DotReader()
        self._chunks = ChunkReader()
        self._ended = False
        self._last = False
        self.chunk_size = 0
        self.size = 0
        self.rejected: Reply | None = None

    def begin_chunk(self, octets: int, *, last: bool) -> None:
        """A BDAT command: so many octets follow."""
        self._chunks.left = self.chunk_size = octets
        self._last = last

    @property
    def chunk_left(self) -> int:
        """How many octets of the chunk are still to come."""
        return self._chunks.left

    def read_data(self, buffer: bytearray) -> BodyChunk | BodyRejected | Progress:
        """The next piece of a dot-stuffed body, taken off the front of `buffer`."""
        if self._ended:
            return Progress.BODY_END
        piece, self._ended = self._dots.take(buffer)
        self.size += len(piece)
        if self.rejected is None:
            if self._dots.bad:
                return self._reject(answers.BARE_LINE_END)
            if self.size > self._max_size:
                return self._reject(answers.TOO_BIG)
            if piece:
                return BodyChunk(piece)
        elif self.size > self._max_size + MAX_DISCARD:
            return Progress.FLOOD
        return Progress.BODY_END if self._ended else Progress.NEED_DATA

    def read_chunk(self, buffer: bytearray) -> BodyChunk | BodyRejected | Progress:
        """The next piece of a BDAT. The caller has checked the chunk's size against the limit."""
        chunks = self._chunks
        while chunks.left:
            if not buffer:
                return Progress.NEED_DATA
            piece = chunks.take(buffer)
            self.size += len(piece)
            if chunks.bad and self.rejected is None:
                return self._reject(answers.BARE_LINE_END)
            if piece and self.rejected is None:
                return BodyChunk(piece)
        if not self._last:
            return Progress.CHUNK_END
        chunks.finish()
        if chunks.bad and self.rejected is None:
            return self._reject(answers.BARE_LINE_END)
        return Progress.BODY_END

    def _reject(self, reply: Reply) -> BodyRejected:
        self.rejected = reply
        return BodyRejected(reply)
