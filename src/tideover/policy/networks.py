"""Client networks: who shares what is remembered of a client."""

from functools import lru_cache
from ipaddress import ip_address, ip_network


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """The network that an address counts as: IPv4 /24, IPv6 /64, as text."""
    bits = 24 if ip_address(address).version == 4 else 64
    return str(ip_network((address, bits), strict=False))


@lru_cache(maxsize=4096)
def host_of(address: str) -> str:
    """The host that an address counts as where one must not answer for its neighbours: IPv4 /32,
    IPv6 /64, as text.
    """
    if ":" not in address:
        return address
    return str(ip_network((address, 64), strict=False))
