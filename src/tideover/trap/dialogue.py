"""What the trap says, and what it notes of who speaks: no I/O, no clock.

RFC 5321 as far as an honest sender goes: greeting, HELO, MAIL, then 451 for each recipient, and
221 for its QUIT. No extensions are offered, and nothing is ever taken.
"""

from enum import IntEnum, IntFlag
from typing import Final

MAX_LINE: Final = 1024
"""Octets of a command that are kept; RFC 5321 §4.5.3.1.4 asks for 512."""

MANY: Final = 50
"""Recipients of one connection that are many; what an honest sender tries in one transaction may
be as many, so that it says nothing by itself.
"""

_SHOWN: Final = 64
_LATER: Final = b"451 4.3.2 No mail is taken here now; please try another host\r\n"


class Deed(IntFlag):
    """What a client did."""

    EARLY = 1
    """It spoke before the greeting."""

    TRIED = 2
    """It named a recipient and was told 451."""

    QUIT = 4
    """It ended as RFC 5321 §4.1.1.10 wants it."""

    MANY = 8
    """It named many recipients."""

    FORGED = 16
    """It said a name in HELO that can't be its own."""


class Said(IntEnum):
    """What is to be done after a command."""

    GO_ON = 0
    END = 1


class Dialogue:
    """One connection's commands. `deeds` and `helo` (cut, for the log) are what was noted."""

    __slots__ = ("_recipients", "deeds", "helo")

    def __init__(self) -> None:
        self.deeds = Deed(0)
        self.helo = ""
        self._recipients = 0

    def line(self, line: bytes, hostname: bytes) -> tuple[Said, bytes]:
        """The reply to a command (without its line end), and whether that was the last one."""
        words = line.split(None, 1)
        match words[0].upper() if words else b"":
            case b"HELO" | b"EHLO":
                name = words[1].strip() if words[1:] else b""
                self.helo = name[:_SHOWN].decode("ascii", "replace")
                return Said.GO_ON, b"250 " + hostname + b"\r\n"
            case b"RCPT":
                self._recipients += 1
                self.deeds |= Deed.TRIED | (Deed.MANY if self._recipients >= MANY else Deed(0))
                return Said.GO_ON, _LATER
            case b"DATA" | b"BDAT":
                return Said.GO_ON, _LATER
            case b"MAIL" | b"RSET" | b"NOOP":
                return Said.GO_ON, b"250 2.0.0 OK\r\n"
            case b"QUIT":
                self.deeds |= Deed.QUIT
                return Said.END, b"221 2.0.0 Bye\r\n"
            case _:
                return Said.GO_ON, b"502 5.5.1 Not known here\r\n"

    def left_behind(self, rest: bytes) -> None:
        """What had come but was not answered when the client closed: maybe its QUIT."""
        if any(line.strip().upper() == b"QUIT" for line in rest.split(b"\n")):
            self.deeds |= Deed.QUIT
