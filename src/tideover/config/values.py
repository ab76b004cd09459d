"""How single values of the configuration are written: durations, sizes, addresses, names.

Each parser takes what TOML gave and returns the value, or raises ValueError with a text that says
what is allowed. `write_duration` and `write_size` go the other way. Nothing here touches the
system: no files, no look-ups.
"""

import re
import shlex
from base64 import b64decode
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from os.path import join
from typing import NamedTuple
from urllib.parse import urlsplit

_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h|d|w)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LONGEST = 3650 * 86400.0
_SIZE = re.compile(r"(\d{1,19})(B|KiB|MiB|GiB|TiB|kB|MB|GB)?", re.ASCII)
_OCTETS = {
    None: 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
    "kB": 10**3, "MB": 10**6, "GB": 10**9,
}  # fmt: skip
_LARGEST = 2**62
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_SHARED = 4096
"""So many values of a kind are remembered, since most domains of a host have the same."""
_BRACKETED = re.compile(r"\[([^\[\]]*:[^\[\]]*)\](?::(\d{1,5}))?", re.ASCII)
_PLAIN = re.compile(r"([^:\[\]\s]+)(?::(\d{1,5}))?", re.ASCII)
_PREFERRED = re.compile(r"(\d{1,9}) +(.*)", re.ASCII)
_LAST_PREFERENCE = 65535  # as of an MX record (RFC 1035 §3.3.9)
_ADDRESS_FORM = 'an address is written like "127.0.0.1:25" or "[::1]:25"'
_RESOLVER_FORM = 'a DNS server is written like "192.0.2.53", "127.0.0.1:5353" or "[::1]:53"'


class Endpoint(NamedTuple):
    """A host (name or literal IP, without brackets) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Preferred(NamedTuple):
    """A next hop with a preference as an MX record has one: the lowest first, equals share."""

    preference: int
    endpoint: Endpoint

    def __str__(self) -> str:
        return f"{self.preference} {self.endpoint}"


NamedHop = Endpoint | Preferred


class BadItemError(ValueError):
    """One item of a list is wrong: `index` says which, from 0, and `found` what stands there."""

    def __init__(self, index: int, found: object, allowed: str) -> None:
        super().__init__(allowed)
        self.index = index
        self.found = found


def parse_duration(value: object) -> float:
    """`"4h"`, `"1d12h"`, `"500ms"` -> seconds."""
    if isinstance(value, str) and (parts := _DURATION.findall(value)):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
        if "".join(number + unit for number, unit in parts) == value and seconds <= _LONGEST:
            return seconds
    raise ValueError('a duration is written like "30s", "5m", "4h" or "14d", at most "3650d"')


def write_duration(seconds: float) -> str:
    """The shortest form that `parse_duration` reads as the same value: 5400.0 -> `"1h30m"`."""
    left = round(seconds * 1000)
    if not left:
        return "0s"
    text = ""
    for unit, size in (("d", 86400_000), ("h", 3600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text


def parse_size(value: object) -> int:
    """`"50MiB"` or a plain number of octets -> octets."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        octets = int(match[1]) * _OCTETS[match[2]]
        if octets <= _LARGEST:
            return octets
    raise ValueError('a size is written like "50MiB", "1GiB" or as a number of octets')


def write_size(octets: int) -> str:
    """The shortest form that `parse_size` reads as the same value: 52428800 -> `"50MiB"`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if octets and octets % _OCTETS[unit] == 0:
            return f"{octets // _OCTETS[unit]}{unit}"
    return f"{octets}B"


def is_address(text: str) -> bool:
    """Whether this is a literal IPv4 or IPv6 address, without brackets."""
    if not (":" in text or text[-1:].isdigit()):
        return False  # nearly every name, and an exception would cost far more
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _split(value: object, form: str) -> tuple[str, int | None]:
    """Host and port of `HOST`, `HOST:PORT`, `[IPV6]:PORT`; an IPv6 alone needs no brackets."""
    if not isinstance(value, str):
        raise ValueError(form)  # noqa: TRY004 - pydantic takes ValueError for a mistake
    if value.count(":") > 1 and is_address(value):
        return value, None
    match = _BRACKETED.fullmatch(value) or _PLAIN.fullmatch(value)
    if not match:
        raise ValueError(form)
    return match[1], int(match[2]) if match[2] else None


def _ip_endpoint(value: object, form: str, default_port: int | None, least: int) -> Endpoint:
    if isinstance(value, Endpoint):
        return value
    host, port = _split(value, form)
    if not is_address(host):
        raise ValueError(f"{form}: {host!r} is not an IP address")
    port = default_port if port is None else port
    if port is None or not least <= port <= 65535:
        raise ValueError(f"{form}, with a port from {least} to 65535")
    return Endpoint(host, port)


def parse_endpoint(value: object) -> Endpoint:
    """An address to listen on, `"127.0.0.1:2525"` or `"[::1]:2525"`. Port 0: a free one."""
    return _ip_endpoint(value, _ADDRESS_FORM, None, 0)


def parse_resolver(value: object) -> Endpoint:
    """A DNS server, with or without a port (53)."""
    return _ip_endpoint(value, _RESOLVER_FORM, 53, 1)


def parse_primary(value: object) -> tuple[NamedHop, ...] | None:
    """`"mx"` -> None; a list of `[PREFERENCE ]HOST[:PORT]` -> next hops.

    Raises:
        BadItemError: one of the hops is wrong.
        ValueError: neither form.
    """
    if value == "mx" or value is None:
        return None
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError('"mx", or a list of next hops like ["mail.example.com:25"]')
    try:
        return _hops(tuple(value))
    except TypeError:  # an item that can't be a key of what is remembered: a table or a list
        return _hops.__wrapped__(tuple(value))


@lru_cache(maxsize=_SHARED, typed=True)
def _hops(items: tuple[object, ...]) -> tuple[NamedHop, ...]:
    hops: list[NamedHop] = []
    for index, item in enumerate(items):
        try:
            hop = item if isinstance(item, NamedHop) else _named_hop(item)
        except ValueError as error:
            raise BadItemError(index, item, str(error)) from None
        if hops and type(hop) is not type(hops[0]):
            allowed = "either all next hops have a preference, or none has"
            raise BadItemError(index, item, allowed)
        hops.append(hop)
    return tuple(hops)


def _named_hop(value: object) -> NamedHop:
    match = _PREFERRED.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return _hop(value)
    if int(match[1]) > _LAST_PREFERENCE:
        raise ValueError(f"the preference of a next hop is a number from 0 to {_LAST_PREFERENCE}")
    return Preferred(int(match[1]), _hop(match[2]))


def _hop(value: object) -> Endpoint:
    form = (
        'a next hop is written like "mail.example.com", "192.0.2.25:25" or "[2001:db8::25]:25", '
        'before it a preference if you like: "10 mail.example.com"'
    )
    host, port = _split(value, form)
    port = 25 if port is None else port
    if not 1 <= port <= 65535:
        raise ValueError(f"{form}, with a port from 1 to 65535")
    if is_address(host):
        return Endpoint(host, port)
    try:
        return Endpoint(_name(host), port)
    except ValueError:
        raise ValueError(f"{form}: {host!r} is no host name") from None


def parse_network(value: object) -> IPv4Network | IPv6Network:
    """`"10.0.0.0/8"`, `"2001:db8::/32"` or a single address."""
    if isinstance(value, (IPv4Network, IPv6Network)):
        return value
    form = 'a network is written like "10.0.0.0/8", "2001:db8::/32" or as one address'
    if not isinstance(value, str):
        raise ValueError(form)  # noqa: TRY004 - pydantic takes ValueError for a mistake
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        raise ValueError(form) from None
    if "/" in value and str(network.network_address) != str(ip_address(value.partition("/")[0])):
        raise ValueError(f'{form}; the network of this address is "{network}"')
    return network


def parse_domain(value: str) -> str:
    """A domain in U- or A-labels, any case -> lower-case A-labels (RFC 5890)."""
    name = _name(value)
    if name.rpartition(".")[2].isdigit():
        raise ValueError('a domain name like "example.com", not an IP address')
    return name


@lru_cache(maxsize=4096)  # a sender's address is looked at by several parts
def domain_of(address: str) -> str | None:
    """An address's domain in A-labels, or None when it has none that DNS could know."""
    try:
        return parse_domain(address.rpartition("@")[2]) if "@" in address else None
    except ValueError:
        return None


def _name(value: str) -> str:
    """A DNS name of one label or more -> lower-case A-labels, without the root's dot."""
    name = value.lower().removesuffix(".")
    if not value.isascii():
        import idna  # tables of 1 MB that few configurations need

        try:
            name = idna.encode(value, uts46=True).decode("ascii").lower().removesuffix(".")
        except (idna.IDNAError, UnicodeError) as error:
            raise ValueError(f'a domain name like "example.com": {error}') from None
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise ValueError('a domain name like "example.com"')
    return name


def parse_hostname(value: str) -> str:
    """A fully qualified host name, as RFC 5321 §2.3.5 asks for EHLO."""
    try:
        name = parse_domain(value)
    except ValueError:
        name = ""
    if "." not in name or "_" in name:
        raise ValueError(
            'a full host name like "mx2.example.org", with a dot and not an IP address'
        )
    return name


def parse_source(value: str) -> str:
    """A recipient source, as in `Domain.recipients`: `KIND` or `KIND:REST`.

    `source_kind` and `source_rest` take it apart again. "{domain}" stands for the domain where a
    source is found by its text; the tables that ldap: and sql: name are found by their NAME.
    """
    kind, rest = source_kind(value), source_rest(value)
    if kind not in SOURCE_KINDS:
        forms = ", ".join(f'"{_SOURCE_FORMS[kind]}"' for kind in SOURCE_KINDS)
        raise ValueError(f"a source of recipients is written like one of {forms}")
    if not value.isprintable():
        raise ValueError("a source of recipients is one line without control characters")
    if kind in _ALONE:
        if value != kind:
            raise ValueError(f'"{kind}" stands alone')
    elif not rest or (kind in ("http", "https") and not _is_url(value)):
        raise ValueError(f'such a source is written like "{_SOURCE_FORMS[kind]}"')
    if kind == "command":
        _check_words(rest)
    if "{domain}" in rest and kind in _NAMED:
        raise ValueError(f'"{{domain}}" has no meaning in "{_SOURCE_FORMS[kind]}"')
    return value


SOURCE_KINDS = ("file", "feed", "http", "https", "ldap", "sql", "command", "callout", "learn")
_ALONE = ("callout", "learn")
_NAMED = ("ldap", "sql")
_SOURCE_FORMS = {
    "file": "file:PATH",
    "feed": "feed:PATH, feed:URL or feed:push",
    "http": "http://…",
    "https": "https://…",
    "ldap": "ldap:NAME",
    "sql": "sql:NAME",
    "command": "command:PROGRAM ARGUMENTS",
    "callout": "callout",
    "learn": "learn",
}


def _check_words(command: str) -> None:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"the words of this command can't be told apart: {error}") from None
    if not words:
        raise ValueError(f'such a source is written like "{_SOURCE_FORMS["command"]}"')


def _is_url(text: str) -> bool:
    try:
        return bool(urlsplit(text).hostname) and " " not in text
    except ValueError:
        return False


def is_loopback_url(url: str) -> bool:
    """Whether what is sent there does not leave this machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def without_password(url: str) -> str:
    """The URL as it may be shown: stars in the place of a password."""
    try:
        parts = urlsplit(url)
        if parts.password is None:
            return url
    except ValueError:
        return url.partition(":")[0] + ":***"
    user, _, host = parts.netloc.rpartition("@")
    return url.replace(parts.netloc, f"{user.partition(':')[0]}:***@{host}", 1)


def source_kind(source: str) -> str:
    """`"file"` of `"file:PATH"`."""
    return source.partition(":")[0]


def source_rest(source: str) -> str:
    """`"PATH"` of `"file:PATH"`; `"//host/path"` of an URL."""
    return source.partition(":")[2]


def source_beside(source: str, directory: str) -> str:
    """The source with a relative path made to start at `directory`."""
    kind, rest = source_kind(source), source_rest(source)
    is_path = kind == "file" or (kind == "feed" and rest != "push" and "://" not in rest)
    return f"{kind}:{join(directory, rest)}" if is_path else source


def parse_public_key(value: str) -> str:
    """An Ed25519 public key (RFC 8032) in base64, 32 octets."""
    try:
        key = b64decode(value, validate=True)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ValueError(
            "an Ed25519 public key: 32 octets in base64, as `recipients export` prints for feeds, "
            "`agent keygen` for agents"
        )
    return value
