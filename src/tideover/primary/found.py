"""What one look-up of a route found, and for how long it holds. Values only."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from msgspec import Struct

from tideover.dns.resolver import DnsError, NoSuchName
from tideover.primary.interface import NextHop, NoRoute, Route, Trouble

MAX_HOPS: Final = 50
"""Addresses in a route, at most; no host has more than `MAX_PER_HOST` of them."""
MAX_PER_HOST: Final = 16

RETRY: Final = 5.0
"""Seconds after which DNS is asked again when it did not answer."""

_POSITIVE: Final = (30.0, 86_400.0)
_NEGATIVE: Final = (5.0, 300.0)


class Found(Struct, frozen=True, kw_only=True):
    """A route. `partial`: DNS failed for some of its hosts. `implicit`: the domain has no MX, so
    its own address stands for one (RFC 5321 §5.1).
    """

    route: Route
    partial: bool = False
    implicit: bool = False


def good_until(now: float, ttl: float) -> float:
    """When to ask again for what DNS said it has."""
    return now + min(max(ttl, _POSITIVE[0]), _POSITIVE[1])


def no_route(trouble: Trouble, text: str, now: float, ttl: float) -> NoRoute:
    """A NoRoute that holds for its TTL within bounds, so that a repair is soon noticed."""
    return NoRoute(
        trouble=trouble, text=text, retry_at=now + min(max(ttl, _NEGATIVE[0]), _NEGATIVE[1])
    )


def failure(error: DnsError, now: float) -> NoRoute:
    """The NoRoute for a look-up that brought nothing (I9: it holds the mail, whatever it is)."""
    if isinstance(error, NoSuchName):
        return no_route(Trouble.NO_SUCH_DOMAIN, str(error), now, error.ttl)
    return NoRoute(trouble=Trouble.TEMPORARY, text=str(error), retry_at=now + RETRY)


def hops(
    hosts: Iterable[tuple[int, str, int, Sequence[str]]], best: int | None = None
) -> tuple[NextHop, ...]:
    """Next hops of (preference, name, port, addresses), each once, at most `MAX_HOPS`. `best`: the
    preference of the primaries among them; None: all are.
    """

    def each() -> Iterator[NextHop]:
        for preference, name, port, addresses in hosts:
            intermediate = best is not None and preference > best
            for address in addresses[:MAX_PER_HOST]:
                yield NextHop(name, address, port, intermediate, preference)

    distinct = {(hop.address, hop.port): hop for hop in reversed(list(each()))}
    return tuple(islice(reversed(distinct.values()), MAX_HOPS))
