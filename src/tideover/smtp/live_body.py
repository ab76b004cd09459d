"""A body that is sent on while it still comes, so that its size is not known before its end.

By DATA it is dot-stuffed (RFC 5321 §4.5.2), by BDAT it goes in chunks of our own making (RFC 3030
§2): small pieces are gathered, as each chunk costs a command and a reply.

A message whose last line lacks its CRLF can't be expressed by DATA; CRLF is added then (RFC 5321
§4.1.1.4). Pieces hold CRLF lines only, as the server side lets nothing else in.

Invariants:
- Nothing that `encode` returns ends the body, whatever the pieces are; only `end` does.
- What is held back is less than `GATHER` octets.
"""

from typing import Final

GATHER: Final = 64 * 1024
"""Octets that a chunk has at least, but for the last one."""


class DotStuffer:
    """A body for DATA."""

    __slots__ = ("_tail",)

    begun = True
    """Whether the server waits for the rest."""

    def __init__(self) -> None:
        self._tail = b"\r\n"

    def encode(self, piece: bytes) -> bytes:
        """A piece with each dot doubled that begins a line, also where the line end lies in another
        piece.
        """
        if not piece:
            return piece
        tail = self._tail
        self._tail = piece[-2:] if len(piece) > 1 else (tail + piece)[-2:]
        if piece[0] == 0x2E and tail == b"\r\n":
            piece = b"." + piece
        elif tail[-1:] == b"\r" and piece[:2] == b"\n.":
            piece = b"\n." + piece[1:]
        # Matches can't overlap: each ends with its dot and the next begins with CR.
        return piece.replace(b"\r\n.", b"\r\n..")

    def end(self) -> bytes:
        """The end of data."""
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"


class Chunker:
    """A body for BDAT. `begun`: a chunk was made."""

    __slots__ = ("_gathered", "_held", "begun")

    def __init__(self) -> None:
        self._gathered: list[bytes] = []
        self._held = 0
        self.begun = False

    def encode(self, piece: bytes) -> bytes:
        """The next chunk, or nothing while too little has come for one."""
        self._gathered.append(piece)
        self._held += len(piece)
        return self._chunk(b"") if self._held >= GATHER else b""

    def end(self) -> bytes:
        """The last chunk, which may be empty."""
        return self._chunk(b" LAST")

    def _chunk(self, last: bytes) -> bytes:
        head = b"BDAT %d%b\r\n" % (self._held, last)
        chunk = b"".join((head, *self._gathered))
        self._gathered.clear()
        self._held = 0
        self.begun = True
        return chunk


LiveBody = DotStuffer | Chunker
