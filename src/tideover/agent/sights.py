"""What was seen on the way to an address: values only."""

from enum import Enum, auto

from msgspec import Struct


class Said(Enum):
    """What an ICMP error, or the lack of an answer, says of the route."""

    ARRIVED = auto()  # the host itself speaks
    NO_ROUTE = auto()  # a router can't bring it there
    FORBIDDEN = auto()  # somebody won't have it: a filter, and no broken route
    PASSING = auto()  # the time to live ended, as a trace wants it
    REFUSED_HERE = auto()  # this machine's own tables or filter
    NO_TABLE = auto()  # this machine has no route at all
    SILENCE = auto()


class Sight(Struct, frozen=True):
    """One thing seen; `by` is the address that spoke, "" when nobody did."""

    said: Said
    by: str = ""


class Hop(Struct, frozen=True):
    """One step of a trace; `by` is the router, "" when it was silent."""

    ttl: int
    by: str = ""


class Trace(Struct, frozen=True, kw_only=True):
    """The routers on the way, in order, and what ended it. `whole`: it was not cut by the time
    limit, so that silence behind its last hop means something.
    """

    hops: tuple[Hop, ...] = ()
    end: Sight = Sight(Said.SILENCE)
    whole: bool = False

    @property
    def last(self) -> Hop | None:
        """The farthest router that spoke."""
        return next((hop for hop in reversed(self.hops) if hop.by), None)
