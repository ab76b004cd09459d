"""How single values of the configuration are written: durations, sizes, addresses, names.

Each parser takes what TOML gave and returns the value, or raises ValueError with a text that says
what is allowed.
"""

import re
from ipaddress import ip_address
from typing import NamedTuple

import idna

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZE = re.compile(r"(\d+)(B|KiB|MiB|GiB|TiB|kB|MB|GB)?")
_OCTETS = {
    None: 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
    "kB": 10**3, "MB": 10**6, "GB": 10**9,
}  # fmt: skip
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


class Endpoint(NamedTuple):
    """A host (name or literal IP, without brackets) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_duration(value: object) -> float:
    """`"4h"`, `"1d12h"`, `"500ms"` -> seconds."""
    if isinstance(value, str) and (parts := _DURATION.findall(value)):
        if "".join(n + unit for n, unit in parts) == value:
            return sum(float(n) * _SECONDS[unit] for n, unit in parts)
    raise ValueError('a duration is written like "30s", "5m", "4h" or "14d"')


def parse_size(value: object) -> int:
    """`"50MiB"` or a plain number of octets -> octets."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(match[1]) * _OCTETS[match[2]]
    raise ValueError('a size is written like "50MiB", "1GiB" or as a number of octets')


def _split(value: object, default_port: int | None) -> Endpoint:
    if not isinstance(value, str):
        raise ValueError('an address is written like "127.0.0.1:25" or "[::1]:25"')
    match = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]]+)|([0-9a-fA-F:]*::?[0-9a-fA-F:]*))"
                         r"(?::(\d{1,5}))?", value)
    if not match:
        raise ValueError('an address is written like "127.0.0.1:25" or "[::1]:25"')
    host = match[1] or match[2] or match[3]
    port = int(match[4]) if match[4] else default_port
    if port is None or not 1 <= port <= 65535:
        raise ValueError("a port from 1 to 65535 must follow the address, after a colon")
    return Endpoint(host, port)


def parse_endpoint(value: object) -> Endpoint:
    """`"127.0.0.1:2525"`, `"[::1]:2525"`; without a port 53 is not guessed: it must be there."""
    if isinstance(value, Endpoint):
        return value
    endpoint = _split(value, None)
    try:
        ip_address(endpoint.host)
    except ValueError:
        raise ValueError(f"{endpoint.host!r} is not an IP address") from None
    return endpoint


def parse_primary(value: object) -> tuple[Endpoint, ...] | None:
    """`"mx"` -> None; a list of `HOST[:PORT]` -> next hops."""
    if value == "mx" or value is None:
        return None
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError('"mx", or a list of next hops like ["mail.example.com:25"]')
    hops = tuple(v if isinstance(v, Endpoint) else _split(v, 25) for v in value)
    for hop in hops:
        try:
            ip_address(hop.host)
        except ValueError:
            parse_hostname(hop.host)
    return hops


def parse_domain(value: str) -> str:
    """A domain in U- or A-labels, any case -> lower-case A-labels (RFC 5890)."""
    try:
        name = value if value.isascii() else idna.encode(value, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise ValueError(f"not a domain name: {error}") from None
    name = name.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("not a domain name")
    return name


def parse_hostname(value: str) -> str:
    """A fully qualified host name."""
    return parse_domain(value)


def parse_source(value: str) -> str:
    """A recipient source: `file:PATH`."""
    kind, colon, rest = value.partition(":")
    if kind != "file" or not colon or not rest:
        raise ValueError('a recipient source is written like "file:PATH"')
    return value
