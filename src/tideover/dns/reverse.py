"""Addresses as DNS writes them: turned round, in labels (RFC 1035 §3.5, RFC 3596 §2.5)."""

from ipaddress import ip_address

_TREES = (".in-addr.arpa", ".ip6.arpa")


def reverse_name(address: str) -> str:
    """The name that an address has in DNS: `"1.2.0.192.in-addr.arpa"`, IPv6 by nibbles.

    Raises:
        ValueError: not an IP address.
    """
    return ip_address(address).reverse_pointer


def reversed_labels(address: str) -> str:
    """The same without the tree it lies in: what DNS lists are asked for (RFC 5782 §2.1, §2.4)."""
    name = reverse_name(address)
    for tree in _TREES:
        name = name.removesuffix(tree)
    return name
