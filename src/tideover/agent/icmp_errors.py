"""What the network says of packets that did not arrive: the error queue of a socket (Linux).

With IP_RECVERR a socket of any user learns which router sent which ICMP error about what it sent
itself (ip(7), RFC 792, RFC 4443). See `icmp_meaning` for what the errors say.
"""

import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from msgspec import Struct

_IP_RECVERR: Final = 11  # <linux/in.h>, not in Python's socket
_IPV6_RECVERR: Final = 25  # <linux/in6.h>
_MSG_ERRQUEUE: Final = getattr(socket, "MSG_ERRQUEUE", 0x2000)
_EXTENDED: Final = struct.Struct("=IBBBBII")  # struct sock_extended_err
_FROM_ICMP: Final = (2, 3)  # SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6
_MOST: Final = 64  # entries read at once


class IcmpError(Struct, frozen=True, kw_only=True):
    """An ICMP error: who sent it, its type and code, about a packet to `target`, whose own header
    begins with `packet`.
    """

    offender: str
    type: int
    code: int
    target: str
    packet: bytes


def listen(sock: socket.socket) -> None:
    """Have the system keep errors for this socket.

    Raises:
        OSError: it can't.
    """
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)


def waiting(sock: socket.socket) -> Iterator[IcmpError]:
    """The ICMP errors that came since the last call. Never blocks, never raises."""
    for _ in range(_MOST):
        try:
            data, ancillary, _, address = sock.recvmsg(512, 512, _MSG_ERRQUEUE | _NO_WAIT)
        except OSError:
            return
        for level, kind, found in ancillary:
            if (level, kind) not in _OPTIONS:
                continue
            error = _parse(found, data, str(address[0]) if address else "")
            if error is not None:
                yield error


def own_address(target: str) -> str:
    """From which address this machine sends there, "" when it has no route. Sends nothing."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((target, 9))
            return str(sock.getsockname()[0])
    except OSError:
        return ""


_NO_WAIT: Final = socket.MSG_DONTWAIT
_OPTIONS: Final = ((socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR))


def _parse(found: bytes, data: bytes, target: str) -> IcmpError | None:
    if len(found) < _EXTENDED.size + 16:
        return None
    _, origin, kind, code, _, _, _ = _EXTENDED.unpack_from(found)
    if origin not in _FROM_ICMP:
        return None
    sender = found[_EXTENDED.size :]
    family = int.from_bytes(sender[:2], "little" if _LITTLE else "big")
    if family == socket.AF_INET:
        offender = str(IPv4Address(sender[4:8]))
    elif family == socket.AF_INET6 and len(sender) >= 24:
        offender = str(IPv6Address(sender[8:24]))
    else:
        return None
    return IcmpError(offender=offender, type=kind, code=code, target=target, packet=data)


_LITTLE: Final = struct.pack("=H", 1) == b"\x01\x00"
