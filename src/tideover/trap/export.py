"""Who was caught, as others can use it: a DNS zone, an nftables script, plain lines. Pure.

All are streams of lines without line ends, so that 200,000 clients need no memory.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv6Network
from itertools import islice
from typing import Final, Protocol

NFT_TABLE: Final = "tideover"
NFT_SETS: Final = ("trap4", "trap6")

_TTL: Final = 300
_STRONG: Final = "127.0.0.2"  # RFC 5782 §2.1
_WEAK: Final = "127.0.0.3"
_TEST: Final = ("2.0.0.127", ".".join("200000f7ffff" + 20 * "0"))  # RFC 5782 §5
_A_COMMAND: Final = 500
_REST: Final = 16
"""Nibbles behind an IPv6 /64."""


class Client(Protocol):
    """Of a mark: `host` is an IPv4 address or an IPv6 /64, `until` Unix time."""

    @property
    def host(self) -> str:
        """Whom it is of."""
        ...

    @property
    def strong(self) -> bool:
        """Whether it did what no honest sender does."""
        ...

    @property
    def until(self) -> float:
        """Until when it counts."""
        ...


def plain(clients: Iterable[Client]) -> Iterator[str]:
    """An address or network a line."""
    for client in clients:
        yield client.host


def dnsbl(clients: Iterable[Client], *, name_server: str, now: float) -> Iterator[str]:
    """A zone file (RFC 1035 §5) of a DNS list (RFC 5782), for any origin: 127.0.0.2 for who did
    what no honest sender does, 127.0.0.3 for others.
    """
    server = name_server.rstrip(".") + "."
    serial = int(now) % 2**32
    yield f"$TTL {_TTL}"
    yield f"@ IN SOA {server} hostmaster.{server} {serial} 600 120 86400 {_TTL}"
    yield f"@ IN NS {server}"
    yield '@ IN TXT "Clients that were caught by a trap; made by tideover"'
    for name in _TEST:
        yield f"{name} IN A {_STRONG}"
        yield f'{name} IN TXT "A test entry, listed always"'
    for client in clients:
        name = _reversed(client.host)
        yield f"{name} IN A {_STRONG if client.strong else _WEAK}"


def _reversed(host: str) -> str:
    """The name of an entry below the zone's: RFC 5782 §2.1 and §2.4, a wildcard for a /64."""
    if ":" not in host:
        return ".".join(reversed(host.split(".")))
    digits = IPv6Network(host).network_address.exploded.replace(":", "")
    return "*." + ".".join(reversed(digits[:-_REST]))


def nft(clients: Iterable[Client], *, now: float) -> Iterator[str]:
    """A script for `nft -f`, which replaces two sets in one transaction; each element ends when its
    mark does. What is done with who is in them is left to other rules.
    """
    small, large = NFT_SETS
    yield f"add table inet {NFT_TABLE}"
    yield f"add set inet {NFT_TABLE} {small} {{ type ipv4_addr; flags timeout; }}"
    yield f"add set inet {NFT_TABLE} {large} {{ type ipv6_addr; flags interval, timeout; }}"
    for name in NFT_SETS:
        yield f"flush set inet {NFT_TABLE} {name}"
    rest = iter(clients)
    while some := list(islice(rest, _A_COMMAND)):
        for name in NFT_SETS:
            elements = [
                f"{client.host} timeout {seconds}s"
                for client in some
                if (":" in client.host) is (name == large)
                and (seconds := int(client.until - now)) > 0
            ]
            if elements:
                yield f"add element inet {NFT_TABLE} {name} {{ {', '.join(elements)} }}"
