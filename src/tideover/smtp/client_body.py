"""How a message goes over the wire: DATA dot-stuffed, or one BDAT (RFC 5321 §4.5.2, RFC 3030).

Never changes a message, with one documented exception: a message whose last line lacks its CRLF
can't be expressed by DATA, so CRLF is added when the next hop offers nothing better (RFC 5321
§4.1.1.4). Such a message came to us by BDAT.

Bodies hold CRLF lines only: the server side has refused everything else, so nothing here can turn
into an end of data for a server that is lax about line ends.

Invariant: the end of data is produced only after exactly the announced number of octets.
"""

from enum import Enum


class Framing(Enum):
    """How the body is told from what follows it."""

    DATA = "DATA"
    BDAT = "BDAT"


class BodySizeError(ValueError):
    """Fewer or more octets were given than announced.

    The connection must be dropped without an end of data: no part may be taken for the whole.
    """


class BodyEncoder:
    """Encodes the body of one message, piece by piece. `size` is what was announced, in octets."""

    __slots__ = ("_framing", "_left", "_size", "_started", "_tail")

    def __init__(self, framing: Framing, size: int) -> None:
        self._framing = framing
        self._size = self._left = size
        self._started = False
        self._tail = b"\r\n"

    def encode(self, data: bytes, *, last: bool) -> bytes:
        """The bytes to send for the next piece, with the end of data after the `last` one.

        Raises:
            BodySizeError: the pieces don't add up to the announced size.
        """
        self._left -= len(data)
        if self._left < 0 or (last and self._left):
            given = self._size - self._left
            raise BodySizeError(f"{self._size} octets announced, {given} given")
        if self._framing is Framing.BDAT:
            if not self._started:
                self._started = True
                return b"BDAT %d LAST\r\n%b" % (self._size, data)
            return data
        if data:
            data = self._stuff(data)
        if not last:
            return data
        return data + (b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n")

    def _stuff(self, data: bytes) -> bytes:
        """Double each dot that begins a line, also where the line end lies in another piece."""
        tail = self._tail
        self._tail = data[-2:] if len(data) > 1 else (tail + data)[-2:]
        if data[0] == 0x2E and tail == b"\r\n":
            data = b"." + data
        elif tail[-1:] == b"\r" and data[:2] == b"\n.":
            data = b"\n." + data[1:]
        # Matches can't overlap: each ends with its dot and the next begins with CR.
        return data.replace(b"\r\n.", b"\r\n..")
