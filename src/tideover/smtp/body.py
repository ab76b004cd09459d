"""Reading a body from the wire: dot-stuffed (DATA) or counted (BDAT), with strict line ends.

Only CRLF ends a line and only CRLF.CRLF ends DATA (RFC 5321 §2.3.8, §4.1.1.4). A bare CR or LF
makes the body bad: it is read on to its real end, so that what follows can't be taken for
commands (SMTP smuggling, CVE-2023-51764), and then refused.
"""

_TERMINATOR = b"\r\n.\r\n"
# What of a terminator may stand at the end of a buffer, longest first.
_PARTIAL = tuple(_TERMINATOR[:n] for n in range(4, 0, -1))


def has_bare_line_end(data: bytes) -> bool:
    """Whether a CR or LF stands alone. `data` must not end between a CR and its LF."""
    pairs = data.count(b"\r\n")
    return data.count(b"\n") != pairs or data.count(b"\r") != pairs


class DotReader:
    """Takes a dot-stuffed body off the front of a buffer, piece by piece.

    The start of a body is like the start of a line. Pieces never end in a CRLF that could begin
    the terminator: it is held back, so each piece can be judged and unstuffed by itself.
    """

    __slots__ = ("_started", "bad")

    def __init__(self) -> None:
        self._started = False
        self.bad = False

    def take(self, buffer: bytearray) -> tuple[bytes, bool]:
        """Remove what can be given out now; returns it and whether the body has ended."""
        if not self._started:
            if buffer.startswith(b".\r\n"):
                del buffer[:3]
                return b"", True
            if len(buffer) < 3 and b".\r\n".startswith(buffer):
                return b"", False
        end = buffer.find(_TERMINATOR)
        if end >= 0:
            piece = bytes(buffer[: end + 2])
            del buffer[: end + 5]
        else:
            held = next((len(p) for p in _PARTIAL if buffer.endswith(p)), 0)
            if held == len(buffer):
                return b"", False
            piece = bytes(buffer[: len(buffer) - held])
            del buffer[: len(piece)]
        if has_bare_line_end(piece):
            self.bad = True
        if b"\r\n." in piece:
            piece = piece.replace(b"\r\n.", b"\r\n")
        if not self._started:
            self._started = True
            if piece.startswith(b"."):
                piece = piece[1:]
        return piece, end >= 0


class ChunkReader:
    """Takes the octets of BDAT commands off the front of a buffer (RFC 3030).

    Line ends are judged over the whole message, across chunks: a CR at the end of a piece waits
    for its LF.
    """

    __slots__ = ("_held_cr", "bad", "left")

    def __init__(self) -> None:
        self._held_cr = b""
        self.left = 0
        self.bad = False

    def take(self, buffer: bytearray) -> bytes:
        """Remove at most the chunk's remaining octets; returns what can be given out now."""
        raw = bytes(buffer[: self.left])
        del buffer[: len(raw)]
        self.left -= len(raw)
        piece = self._held_cr + raw
        self._held_cr = b""
        if piece.endswith(b"\r"):
            self._held_cr, piece = b"\r", piece[:-1]
        if has_bare_line_end(piece):
            self.bad = True
        return piece

    def finish(self) -> None:
        """The last chunk is complete."""
        if self._held_cr:
            self.bad = True
