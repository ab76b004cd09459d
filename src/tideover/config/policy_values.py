"""Texts of policy settings to values: rates, sockets, codes of DNS lists, actions. Pure."""

import re
from difflib import get_close_matches
from ipaddress import IPv4Address, IPv4Network
from math import isfinite
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from tideover.config.findings import CHECKS, FINDINGS, Action
from tideover.config.values import (
    BadItemError,
    Endpoint,
    parse_duration,
    parse_endpoint,
    write_duration,
)

_RATE: Final = re.compile(r"([1-9]\d{0,8})/(\S+)")
_VERBS: Final = ("accept", "hold", "defer", "reject")
_MOST: Final = 1000.0
_SELECTOR: Final = re.compile(r"[a-z0-9](?:[a-z0-9_.-]*[a-z0-9])?", re.IGNORECASE)
_LONGEST_SELECTOR: Final = 63


class RateLimit(NamedTuple):
    """So many in so many seconds."""

    amount: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.amount}/{write_duration(self.seconds)}"


class SocketAddress(NamedTuple):
    """Where a filter listens: a TCP endpoint, or the path of a unix socket."""

    endpoint: Endpoint | None
    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.endpoint is None else str(self.endpoint)


class ListCode(NamedTuple):
    """The weight of some answers of a DNS list: of a network, of a bit of the last octet (`bits`),
    or (neither) of all others.
    """

    network: IPv4Network | None
    bits: int
    weight: float

    def fits(self, answer: IPv4Address) -> bool:
        """Whether an answer is one of these."""
        if self.bits:
            return bool(answer.packed[3] & self.bits)
        return self.network is None or answer in self.network

    def __str__(self) -> str:
        which = f"&{self.bits}" if self.bits else str(self.network or "*").removesuffix("/32")
        return f"{which}={self.weight:g}"


def parse_rate(value: object) -> RateLimit:
    """`"100/1h"` -> a hundred in an hour."""
    if isinstance(value, RateLimit):
        return value
    form = 'a rate is written like "100/1h" or "5/1m"'
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(form)
    try:
        seconds = parse_duration(match[2])
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise ValueError(form)
    return RateLimit(int(match[1]), seconds)


def parse_socket(value: object) -> SocketAddress:
    """`"127.0.0.1:3310"` or `"unix:/run/clamav/clamd.ctl"`."""
    if isinstance(value, SocketAddress):
        return value
    if isinstance(value, str) and value.startswith("unix:/") and "\0" not in value:
        return SocketAddress(None, value.removeprefix("unix:"))
    try:
        return SocketAddress(parse_endpoint(value), "")
    except ValueError:
        raise ValueError(
            'a socket is written like "127.0.0.1:3310" or "unix:/run/clamav/clamd.ctl"'
        ) from None


def parse_list_codes(value: object) -> tuple[ListCode, ...]:
    """`["127.0.0.2=8", "127.0.0.8/30=2", "&4=3", "*=0"]`."""
    if not isinstance(value, list | tuple):
        raise ValueError("a list in [ ] is wanted")  # noqa: TRY004 - pydantic's mistake
    codes = []
    for index, item in enumerate(value):
        try:
            codes.append(item if isinstance(item, ListCode) else _list_code(item))
        except ValueError as error:
            raise BadItemError(index, item, str(error)) from None
    return tuple(codes)


def _list_code(item: object) -> ListCode:
    form = 'a weight is written like "127.0.0.2=8", "127.0.0.8/30=2", "&4=3" or "*=0"'
    which, equals, weight = item.partition("=") if isinstance(item, str) else ("", "", "")
    try:
        score = parse_score(float(weight))
        if which == "*":
            return ListCode(None, 0, score)
        if which.startswith("&"):
            bits = int(which[1:])
            if 1 <= bits <= 255:
                return ListCode(None, bits, score)
        elif equals:
            return ListCode(IPv4Network(which), 0, score)
    except ValueError:
        pass
    raise ValueError(form)


def parse_score(value: object) -> float:
    """A score: a number, with or without a fraction."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        score = float(value)
        if isfinite(score) and abs(score) <= _MOST:
            return score
    raise ValueError(f"a number is wanted, from -{_MOST:g} to {_MOST:g}")


def parse_actions(value: object) -> dict[str, Action]:
    """`{spf-fail = "reject", helo-bare-ip = 2}`."""
    if not isinstance(value, dict):
        raise ValueError("a table is wanted")  # noqa: TRY004 - pydantic's mistake
    actions: dict[str, Action] = {}
    for name, action in value.items():
        if name not in FINDINGS:
            raise BadItemError(name, name, f"there is no such finding; {_near(name)}")
        if action in _VERBS:
            actions[name] = action
            continue
        try:
            actions[name] = parse_score(action)
        except ValueError:
            wanted = '"accept", "hold", "defer", "reject" or a score is wanted'
            raise BadItemError(name, action, wanted) from None
    return actions


def parse_check(value: str) -> str:
    """The name of a check."""
    if value not in CHECKS:
        raise ValueError(f"there is no such check; there are: {', '.join(CHECKS)}")
    return value


def parse_http_url(value: str) -> str:
    """`"http://127.0.0.1:11333"` -> without a slash at the end."""
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises where it is out of range
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError('a URL is written like "http://127.0.0.1:11333"')
    return value.rstrip("/")


def parse_selector(value: str) -> str:
    """The selector of a key (RFC 6376 §3.1): a part of a name in DNS."""
    if len(value) > _LONGEST_SELECTOR or not _SELECTOR.fullmatch(value):
        raise ValueError('a selector is written like "arc2026": letters, digits, hyphens, dots')
    return value


def _near(name: object) -> str:
    near = get_close_matches(str(name), FINDINGS, n=3, cutoff=0.4)
    return f"near to it: {', '.join(near)}" if near else "docs/reference/findings.md lists them"
