"""Packets of the milter protocol, version 6, as an MTA writes and reads them. Without I/O.

The protocol has no RFC; names are those of sendmail's mfdef.h without the prefix. A packet is its
length (32 bits, without itself), one octet that names it, and data.
"""

from collections.abc import Iterable, Mapping
from enum import Enum, IntFlag
from struct import Struct as Layout
from typing import Final

from msgspec import Struct

MAX_PACKET: Final = 256 * 1024
"""No filter has a reason to send more at once: libmilter cuts at 64 KiB."""

BODY_CHUNK: Final = 65535
"""So many octets of a body go into a packet, unless both sides agree on more."""

VERSION: Final = 6
_OLDEST: Final = 2
_LENGTH: Final = Layout(">I")
_OPTIONS: Final = Layout(">III")
_INDEX: Final = Layout(">I")
_PORT: Final = Layout(">H")


class MilterError(Exception):
    """A filter can't be talked to, does not answer, or says what the protocol does not know."""


class Command(Enum):
    """What we say (SMFIC_*)."""

    CONNECT = b"C"
    HELO = b"H"
    MAIL = b"M"
    RCPT = b"R"
    DATA = b"T"
    HEADER = b"L"
    EOH = b"N"
    BODY = b"B"
    BODYEOB = b"E"
    MACRO = b"D"
    OPTNEG = b"O"
    ABORT = b"A"
    QUIT = b"Q"


class Actions(IntFlag):
    """What a filter may ask for (SMFIF_*)."""

    ADDHDRS = 0x1
    CHGBODY = 0x2
    ADDRCPT = 0x4
    DELRCPT = 0x8
    CHGHDRS = 0x10
    QUARANTINE = 0x20
    CHGFROM = 0x40
    ADDRCPT_PAR = 0x80
    SETSYMLIST = 0x100


class Protocol(IntFlag):
    """What is not sent (NO*), what is not answered (NR_*), and a few abilities (SMFIP_*)."""

    NOCONNECT = 0x1
    NOHELO = 0x2
    NOMAIL = 0x4
    NORCPT = 0x8
    NOBODY = 0x10
    NOHDRS = 0x20
    NOEOH = 0x40
    NR_HDR = 0x80
    NOUNKNOWN = 0x100
    NODATA = 0x200
    SKIP = 0x400
    RCPT_REJ = 0x800
    NR_CONN = 0x1000
    NR_HELO = 0x2000
    NR_MAIL = 0x4000
    NR_RCPT = 0x8000
    NR_DATA = 0x10000
    NR_UNKN = 0x20000
    NR_EOH = 0x40000
    NR_BODY = 0x80000
    HDR_LEADSPC = 0x100000


OFFERED_ACTIONS: Final = Actions.ADDHDRS | Actions.CHGHDRS | Actions.QUARANTINE | Actions.SETSYMLIST
OFFERED_PROTOCOL: Final = ~Protocol.RCPT_REJ & Protocol(0x1FFFFF)
"""All but RCPT_REJ: while a filter is asked about a recipient, other checks are too."""

_MACRO_STAGES: Final = (
    Command.CONNECT, Command.HELO, Command.MAIL, Command.RCPT, Command.DATA, Command.BODYEOB,
    Command.EOH,
)  # fmt: skip
"""In the order of their numbers in a list of wanted macros (SMFIM_*)."""


class Agreed(Struct, frozen=True, kw_only=True):
    """What a filter answered to our offer. `macros`: what it wants to know, where it said so.

    Which actions it wants is not kept: some ask for all, and what is not offered is never done.
    """

    version: int
    protocol: Protocol
    macros: Mapping[Command, tuple[str, ...]] = {}


def packet(command: Command, data: bytes = b"") -> bytes:
    """One packet."""
    return _LENGTH.pack(len(data) + 1) + command.value + data


def strings(command: Command, texts: Iterable[bytes]) -> bytes:
    """A packet of strings, each ended by NUL; a NUL within one is left out."""
    return packet(command, b"".join(text.replace(b"\0", b"") + b"\0" for text in texts))


def offer() -> bytes:
    """What we are ready for (OPTNEG)."""
    return packet(Command.OPTNEG, _OPTIONS.pack(VERSION, OFFERED_ACTIONS, OFFERED_PROTOCOL))


def connect(name: str, address: str, port: int) -> bytes:
    """Who the client is: the name of its address, or the address in brackets."""
    family = b"6" if ":" in address else b"4"
    data = name.encode() + b"\0" + family + _PORT.pack(port) + address.encode("ascii") + b"\0"
    return packet(Command.CONNECT, data)


def macros(command: Command, values: Mapping[str, str]) -> bytes:
    """What a filter may ask its library about, for the command that follows."""
    parts = [part.encode() for pair in values.items() for part in pair]
    data = b"".join(part.replace(b"\0", b"") + b"\0" for part in parts)
    return packet(Command.MACRO, command.value + data)


class Packets:
    """Takes what comes from a filter, in whatever pieces, and gives whole packets."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """More has come."""
        self._buffer += data

    def next(self) -> tuple[bytes, bytes] | None:
        """The next packet's name and data; None: it is not complete.

        Raises:
            MilterError: what came is no packet, or a larger one than any filter sends.
        """
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if not 1 <= length <= MAX_PACKET:
            raise MilterError(f"it sent a packet of {length} octets")
        if len(self._buffer) < _LENGTH.size + length:
            return None
        start, end = _LENGTH.size, _LENGTH.size + length
        name, data = bytes(self._buffer[start : start + 1]), bytes(self._buffer[start + 1 : end])
        del self._buffer[:end]
        return name, data


def agreed(name: bytes, data: bytes) -> Agreed:
    """What a filter answered to `offer`.

    Raises:
        MilterError: it answered something else, or speaks no version that we know.
    """
    if name != Command.OPTNEG.value or len(data) < _OPTIONS.size:
        raise MilterError(f"it does not negotiate: {name!r}")
    version, _, protocol = _OPTIONS.unpack_from(data)
    if not _OLDEST <= version <= VERSION:
        raise MilterError(f"it speaks version {version} of the protocol")
    return Agreed(
        version=version,
        protocol=OFFERED_PROTOCOL & Protocol(protocol & OFFERED_PROTOCOL),
        macros=_wanted_macros(data[_OPTIONS.size :]),
    )


def _wanted_macros(data: bytes) -> dict[Command, tuple[str, ...]]:
    found: dict[Command, tuple[str, ...]] = {}
    while data:
        names, nul, rest = data[_INDEX.size :].partition(b"\0")
        if len(data) <= _INDEX.size or not nul:
            raise MilterError("its list of macros is broken")
        (stage,) = _INDEX.unpack_from(data)
        if stage < len(_MACRO_STAGES):
            wanted = names.decode("ascii", "replace").replace(",", " ").split()
            found[_MACRO_STAGES[stage]] = tuple(wanted)
        data = rest
    return found


def split_index(data: bytes) -> tuple[int, bytes]:
    """A number and what follows it.

    Raises:
        MilterError: there is none.
    """
    if len(data) < _INDEX.size:
        raise MilterError("it sent a header change without a place")
    (index,) = _INDEX.unpack_from(data)
    return int(index), data[_INDEX.size :]
