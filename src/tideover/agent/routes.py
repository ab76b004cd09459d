"""What is remembered of routes: how far traces get, and which routers pass them on. Bounded.

A host behind a firewall is silent, and so are the last routers before it. A trace that ends in
silence therefore says something only when it ends where others went on: before routers that used to
answer on the way to this network, or at one of the first routers, which passes others on. Pure but
for what it remembers.
"""

from collections import OrderedDict
from ipaddress import ip_network
from itertools import pairwise
from typing import Final, TypeVar

from msgspec import Struct

from tideover.agent.sights import Said, Trace

EARLY: Final = 2
"""Hops from us that pass everything on, if they pass others on."""
_FARTHER: Final = 2  # hops by which a trace must fall short of an earlier one
_OTHERS: Final = 3  # networks whose traces went on behind a router
_BEYOND: Final = 3  # hops that they went on
_DAY: Final = 86400.0
_LATELY: Final = 3600.0
_REMEMBERED: Final = 7 * _DAY
_NETWORKS: Final = 20_000
_ROUTERS: Final = 1_000
_PASSED: Final = 16  # networks remembered of a router

_Value = TypeVar("_Value")


class _Depth(Struct, frozen=True):
    hop: int
    at: float


class Routes:
    """Memory of traces. Times in seconds, of any clock that runs on."""

    def __init__(self) -> None:
        self._depths: OrderedDict[str, _Depth] = OrderedDict()
        self._routers: OrderedDict[str, OrderedDict[str, float]] = OrderedDict()

    def note(self, address: str, trace: Trace, now: float) -> None:
        """Remember a trace towards an address."""
        speaking = [hop for hop in trace.hops if hop.by]
        farthest = max((hop.ttl for hop in speaking), default=0)
        if trace.end.said is Said.ARRIVED:
            farthest = max(farthest, len(trace.hops) + 1)
        network, known = near(address), self._depths.get(near(address))
        # an early end must not make the memory of how far it went before forgotten
        if known is None or farthest >= known.hop or now - known.at > _REMEMBERED:
            self._depths[network] = _Depth(farthest, now)
            self._depths.move_to_end(network)
            _shrink(self._depths, _NETWORKS)
        for hop in speaking:
            if farthest - hop.ttl >= _BEYOND and hop.ttl <= EARLY:
                self._pass(hop.by, far(address), now)

    def is_new(self, address: str, now: float) -> bool:
        """Whether it is a day since a trace to this network was noted, or longer."""
        known = self._depths.get(near(address))
        return known is None or now - known.at > _DAY

    def _pass(self, router: str, network: str, now: float) -> None:
        passed: OrderedDict[str, float] = self._routers.setdefault(router, OrderedDict())
        passed[network] = now
        passed.move_to_end(network)
        _shrink(passed, _PASSED)
        self._routers.move_to_end(router)
        _shrink(self._routers, _ROUTERS)

    def too_short(self, address: str, trace: Trace, now: float) -> str | None:
        """Why a trace that ended in silence shows a broken route; None when it doesn't."""
        last = trace.last
        if last is None or not trace.whole or trace.end.said is not Said.SILENCE:
            return None
        known = self._depths.get(near(address))
        if known is not None and now - known.at <= _REMEMBERED:
            if known.hop - last.ttl >= _FARTHER:
                was = f"traces to its network got to hop {known.hop} before"
                return f"the trace stops at hop {last.ttl} ({last.by}); {was}"
            return None  # it gets as far as ever
        passed = self._routers.get(last.by, OrderedDict[str, float]())
        others = [n for n, at in passed.items() if now - at <= _LATELY and n != far(address)]
        if last.ttl <= EARLY and len(others) >= _OTHERS:
            return f"the trace stops at hop {last.ttl} ({last.by}), which passes others on"
        return None


def looped(trace: Trace) -> str | None:
    """A router that a trace met again and again, with others between: packets go in circles."""
    met: dict[str, list[int]] = {}
    for hop in trace.hops:
        if hop.by:
            met.setdefault(hop.by, []).append(hop.ttl)
    for router, ttls in met.items():
        gaps = sum(after - before > 1 for before, after in pairwise(ttls))
        if gaps >= _ROUNDS:
            return router
    return None


_ROUNDS: Final = 3


def near(address: str) -> str:
    """The network that shares an address's route: its /24 or /48."""
    return str(ip_network((address, 48 if ":" in address else 24), strict=False))


def far(address: str) -> str:
    """The part of the Internet that an address is in: its /16 or /32."""
    return str(ip_network((address, 32 if ":" in address else 16), strict=False))


def _shrink(table: "OrderedDict[str, _Value]", most: int) -> None:
    while len(table) > most:
        table.popitem(last=False)
