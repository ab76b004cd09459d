"""DNS as checks need it: records as plain values, from a cache where it may be.

An empty tuple means that the name exists without such records. As everywhere, "no such name" is an
answer of DNS and "unavailable" is none; both are exceptions of `tideover.dns.resolver`.
"""

from typing import Protocol


class Names(Protocol):
    """Looks names up. Names are A-labels without final dot; aliases (CNAME) are followed.

    Each method raises `NoSuchName` (NXDOMAIN) or `DnsUnavailable` (SERVFAIL, time-out, nonsense).
    None is awaited longer than the resolver's time limits. What is in the cache comes without
    suspending the coroutine.
    """

    async def txt(self, name: str) -> tuple[bytes, ...]:
        """TXT records, the strings of each joined without space (RFC 7208 §3.3)."""

    async def a(self, name: str) -> tuple[str, ...]:
        """IPv4 addresses."""

    async def aaaa(self, name: str) -> tuple[str, ...]:
        """IPv6 addresses."""

    async def mx(self, name: str) -> tuple[tuple[int, str], ...]:
        """MX records as (preference, lower-case host); the host of a null MX is ""."""

    async def ptr(self, address: str) -> tuple[str, ...]:
        """Names of an IP address (from in-addr.arpa or ip6.arpa), lower case."""
