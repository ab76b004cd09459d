"""Where an agent listens: the addresses that DNS gives for the name in its URL.

Not by the system's resolver: that holds one of few threads for as long as it waits for a DNS server
that is dead, and others need those threads.
"""

from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Final

from tideover.dns.names import Names
from tideover.dns.resolver import DnsUnavailable, NoSuchName

_LOCAL: Final = ("127.0.0.1", "::1")  # RFC 6761 §6.3: DNS is not asked for "localhost"
_MOST: Final = 4


async def addresses_of(host: str, names: Names) -> tuple[str, ...]:
    """The addresses to try for the host of a URL, IPv4 first; it may be an address itself.

    Raises:
        NoSuchName: there is no such host.
        DnsUnavailable: DNS does not say.
    """
    try:
        return (str(ip_address(host)),)
    except ValueError:
        pass
    if host.lower().rstrip(".") == "localhost":
        return _LOCAL
    four, error = await _asked(names.a, host)
    six, other = await _asked(names.aaaa, host)
    found = (*four, *six)[:_MOST]
    if not found:
        raise error or other or NoSuchName(f"{host} has no address", 0.0)
    return found


async def _asked(
    look_up: Callable[[str], Awaitable[tuple[str, ...]]], host: str
) -> tuple[tuple[str, ...], DnsUnavailable | None]:
    try:
        return await look_up(host), None
    except DnsUnavailable as error:
        return (), error
