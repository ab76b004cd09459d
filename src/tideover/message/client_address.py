"""Addresses of clients: one spelling each, and the networks that they lie in."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


def plain_address(address: str) -> str:
    """An address without scope, and an IPv4-mapped one as IPv4: one client, one spelling."""
    if ":" not in address:
        return address
    parsed = IPv6Address(address.partition("%")[0])
    return str(parsed.ipv4_mapped or parsed)


def within(address: str, networks: Sequence[Network]) -> bool:
    """Whether the address lies in one of the networks."""
    if not networks:
        return False
    parsed = _parsed(address)
    return any(parsed in network for network in networks if network.version == parsed.version)


@lru_cache(maxsize=4096)  # one client is looked at many times
def _parsed(address: str) -> IPv4Address | IPv6Address:
    return ip_address(address)
