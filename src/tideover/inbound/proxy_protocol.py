"""The PROXY protocol, versions 1 and 2, as load balancers send it before anything else.

Pure: bytes in, what they mean out. Only asked for connections from `proxy_protocol_from`.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

_SIGNATURE_2 = b"\r\n\r\n\x00\r\nQUIT\n"
_MAX_LINE_1 = 107
_MAX_LENGTH_2 = 4096


class ProxyError(ValueError):
    """Not a PROXY header, or one that breaks its grammar."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A header of `length` octets. `address` is None for the proxy's own checks (LOCAL, UNKNOWN):
    the connection's own peer then counts.
    """

    length: int
    address: str | None = None
    port: int = 0


def parse(data: bytes) -> ProxyHeader | None:
    """The header at the start of `data`; None while it is incomplete.

    Raises:
        ProxyError: it can't become one.
    """
    if data.startswith(_SIGNATURE_2):
        return _parse_2(data)
    if _SIGNATURE_2.startswith(data):
        return None
    return _parse_1(data)


def _parse_1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n")
    if end < 0:
        start = b"PROXY "[: len(data)]
        if len(data) > _MAX_LINE_1 or not data.startswith(start):
            raise ProxyError("no PROXY header")
        return None
    words = data[:end].decode("ascii", "replace").split(" ")
    if end > _MAX_LINE_1 or words[0] != "PROXY" or len(words) < 2:
        raise ProxyError("no PROXY header")
    if words[1] == "UNKNOWN":
        return ProxyHeader(end + 2)
    try:
        kind, source, destination, source_port, destination_port = words[1:]
        versions = {ip_address(source).version, ip_address(destination).version}
        ports = int(source_port), int(destination_port)
    except ValueError:
        raise ProxyError("malformed PROXY header") from None
    if versions != {{"TCP4": 4, "TCP6": 6}.get(kind, 0)} or not all(0 <= p < 65536 for p in ports):
        raise ProxyError("malformed PROXY header")
    return ProxyHeader(end + 2, source, ports[0])


def _parse_2(data: bytes) -> ProxyHeader | None:
    if len(data) < 16:
        return None
    command, family, length = struct.unpack_from("!BBH", data, 12)
    if command not in (0x20, 0x21) or length > _MAX_LENGTH_2:
        raise ProxyError("malformed PROXY header")
    if len(data) < 16 + length:
        return None
    if command == 0x20:
        return ProxyHeader(16 + length)
    if family == 0x11 and length >= 12:
        port = struct.unpack_from("!H", data, 24)[0]
        return ProxyHeader(16 + length, str(IPv4Address(data[16:20])), port)
    if family == 0x21 and length >= 36:
        port = struct.unpack_from("!H", data, 48)[0]
        return ProxyHeader(16 + length, str(IPv6Address(data[16:32])), port)
    return ProxyHeader(16 + length)
