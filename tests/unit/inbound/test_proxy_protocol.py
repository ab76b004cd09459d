import struct
from ipaddress import ip_address

import pytest

from tideover.inbound.proxy_protocol import ProxyError, ProxyHeader, parse

V2 = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(command: int, family: int, payload: bytes) -> bytes:
    return V2 + struct.pack("!BBH", command, family, len(payload)) + payload


IPV4 = ip_address("192.0.2.1").packed + ip_address("127.0.0.1").packed + struct.pack("!HH", 9, 25)
IPV6 = ip_address("2001:db8::1").packed + ip_address("::1").packed + struct.pack("!HH", 9, 25)


@pytest.mark.parametrize(
    ("data", "address", "port"),
    [
        (b"PROXY TCP4 192.0.2.1 127.0.0.1 9 25\r\n", "192.0.2.1", 9),
        (b"PROXY TCP6 2001:db8::1 ::1 9 25\r\n", "2001:db8::1", 9),
        (b"PROXY UNKNOWN\r\n", None, 0),
        (b"PROXY UNKNOWN whatever it says\r\n", None, 0),
        (v2(0x21, 0x11, IPV4), "192.0.2.1", 9),
        (v2(0x21, 0x21, IPV6), "2001:db8::1", 9),
        (v2(0x21, 0x11, IPV4 + b"\x03\x00\x04abcd"), "192.0.2.1", 9),
        (v2(0x20, 0x11, IPV4), None, 0),
        (v2(0x21, 0x00, b""), None, 0),
    ],
)
def test_headers(data, address, port):
    assert parse(data + b"EHLO x\r\n") == ProxyHeader(len(data), address, port)
    for end in range(len(data)):
        assert parse(data[:end]) is None


@pytest.mark.parametrize(
    "data",
    [b"EHLO x\r\n", b"PROXY TCP4 192.0.2.1 127.0.0.1 9\r\n", b"PROXY TCP4 ::1 ::1 9 25\r\n",
     b"PROXY TCP6 192.0.2.1 127.0.0.1 9 25\r\n", b"PROXY UDP4 192.0.2.1 127.0.0.1 9 25\r\n",
     b"PROXY TCP4 192.0.2.999 127.0.0.1 9 25\r\n", b"PROXY TCP4 192.0.2.1 127.0.0.1 9 99999\r\n",
     b"PROXY\r\n", b"PROXY " + b"x" * 200, v2(0x11, 0x11, IPV4), V2 + b"\x21\x11\xff\xff"],
)  # fmt: skip
def test_what_is_no_header(data):
    with pytest.raises(ProxyError):
        parse(data)
