"""What a stranger may read of a primary's reply: its words, but no host name or address of it."""

import re
from collections.abc import Collection, Iterable
from ipaddress import ip_address
from typing import Final

HIDDEN: Final = "(host)"

_PART: Final = re.compile(r"[^\s\[\]]+")
_PORT: Final = re.compile(r"(?<!:):\d{1,5}$|^:\d{1,5}$")
_IPV4: Final = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\d|\.\d)")
_IPV6: Final = re.compile(
    r"(?<![0-9A-Za-z:])(?:IPv6:)?([0-9A-F]{0,4}(?::[0-9A-F]{0,4}){2,7})(?![0-9A-Za-z:])",
    re.IGNORECASE,
)


def scrub(text: str, hosts: Iterable[str], keep: Collection[str] = ()) -> str:
    """`text` without the names in `hosts`, and without any IP address.

    `hosts` are written as `name[address]:port`, or as a part of that. Names in `keep` (lower-case;
    the recipient's own domain) are known to the reader and stay.
    """
    text = _IPV6.sub(_hide_address, _IPV4.sub(HIDDEN, text))
    names = {_PORT.sub("", part).lower() for host in hosts for part in _PART.findall(host)}
    for name in sorted(names.difference(keep), key=len, reverse=True):
        if name:
            whole = rf"(?<![A-Za-z0-9-]){re.escape(name)}(?![A-Za-z0-9-])"
            text = re.sub(whole, HIDDEN, text, flags=re.IGNORECASE)
    return text


def _hide_address(match: re.Match[str]) -> str:
    try:
        ip_address(match[1])
    except ValueError:
        return match[0]  # a time of day, most likely
    return HIDDEN
