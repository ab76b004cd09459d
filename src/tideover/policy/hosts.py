"""What DNS says of the hosts behind a name: whether one of them has an address that fits.

What is not known does not count as a no: unless another answer settles it, it is raised as
`DnsUnavailable`.
"""

from collections.abc import Callable, Iterable
from ipaddress import ip_network
from typing import Final

from tideover.dns.names import Names
from tideover.dns.resolver import DnsUnavailable, NoSuchName
from tideover.message.client_address import plain_address, within

MAX_HOSTS: Final = 10
"""So many hosts of one name are looked at (as RFC 7208 §4.6.4 does)."""

_PRIVATE: Final = tuple(map(ip_network, (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16",
    "fc00::/7", "fe80::/10",
)))  # fmt: skip
_NO_HOST: Final = tuple(map(ip_network, (
    "0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/127", "ff00::/8",
)))  # fmt: skip

Fits = Callable[[str], bool]
"""Whether an address is one that is looked for."""


def is_private(address: str) -> bool:
    """Whether it is of a network of its own (RFC 1918, 4193, 6598) or link-local."""
    return within(plain_address(address), _PRIVATE)


def is_public(address: str) -> bool:
    """Whether anybody on the Internet could reach a host there. Networks for documentation count
    as public: examples and tests are made of them.
    """
    plain = plain_address(address)
    return not within(plain, _PRIVATE) and not within(plain, _NO_HOST)


async def any_address(names: Names, host: str, fits: Fits) -> bool:
    """Whether the host has an address that fits. One that does not exist has none.

    Raises:
        DnsUnavailable: it is not known.
    """
    unknown = None
    for look_up in (names.a, names.aaaa):
        try:
            if any(map(fits, await look_up(host))):
                return True
        except NoSuchName:
            break
        except DnsUnavailable as error:
            unknown = error
    if unknown is not None:
        raise unknown
    return False


async def any_host(names: Names, hosts: Iterable[str], fits: Fits) -> bool:
    """Whether one of these hosts has an address that fits. Raises as `any_address` does."""
    unknown = None
    for host in hosts:
        try:
            if await any_address(names, host, fits):
                return True
        except DnsUnavailable as error:
            unknown = error
    if unknown is not None:
        raise unknown
    return False


async def is_host_of(names: Names, domain: str, address: str) -> bool:
    """Whether the address is one of the domain itself or of its mail hosts (MX).

    Raises:
        DnsUnavailable: it is not known.
    """
    try:
        mx = await names.mx(domain)
    except NoSuchName:
        return False
    hosts = [domain, *(host for _, host in sorted(mx)[:MAX_HOSTS] if host)]
    return await any_host(names, hosts, lambda found: plain_address(found) == address)
