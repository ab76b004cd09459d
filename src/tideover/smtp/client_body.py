"""How a message goes over the wire: DATA dot-stuffed, or one BDAT (RFC 5321 §4.5.2, RFC 3030).

Never changes a message, with one documented exception: a message whose last line lacks its CRLF
can't be expressed by DATA, so CRLF is added when the next hop offers nothing better (RFC 5321
§4.1.1.4). Such a message came to us by BDAT.

Bodies hold CRLF lines only: the server side has refused everything else, so nothing here can turn
into an end of data for a server that is lax about line ends.

Invariant: the end of data is produced only after exactly the announced number of octets.
"""

from enum import Enum

from tideover.smtp.live_body import DotStuffer


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

    __slots__ = ("_framing", "_left", "_size", "_started", "_stuffer")

    def __init__(self, framing: Framing, size: int) -> None:
        self._framing = framing
        self._size = self._left = size
        self._started = False
        self._stuffer = DotStuffer()

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
        data = self._stuffer.encode(data)
        return data + self._stuffer.end() if last else data
