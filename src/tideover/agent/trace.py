"""The way to an address, hop by hop: few packets, and an end in time."""

import asyncio
from collections.abc import Awaitable
from typing import Final, Protocol

from tideover.agent.sights import Hop, Said, Sight, Trace

STEP: Final = 5
"""Hops that are asked side by side. A trace ends when so many in a row stay silent twice."""
_PATIENCE: Final = 0.4  # seconds for the answers of one step


class Pinger(Protocol):
    """Sends one echo request."""

    def ask(self, address: str, ttl: int, timeout: float) -> Awaitable[Sight]:
        """What answered it, within `timeout` seconds. Never raises."""


async def trace(pinger: Pinger, address: str, *, hops: int, timeout: float) -> Trace:
    """The routers towards `address`, at most `hops` of them, in at most `timeout` seconds.

    At most two packets a hop: silent ones are asked again once.
    """
    found: dict[int, Sight] = {}
    whole = False
    try:
        async with asyncio.timeout(timeout):
            whole = await _walk(pinger, address, hops, found)
    except TimeoutError:
        pass
    end = next((s for _, s in sorted(found.items()) if s.said not in _ON_THE_WAY), _NOTHING)
    last = next((ttl for ttl, s in sorted(found.items()) if s is end), max(found, default=0) + 1)
    way = tuple(
        Hop(ttl, sight.by if sight.said is Said.PASSING else "")
        for ttl, sight in sorted(found.items())
        if ttl < last
    )
    return Trace(hops=way, end=end, whole=whole)


_ON_THE_WAY: Final = (Said.PASSING, Said.SILENCE)
_NOTHING: Final = Sight(Said.SILENCE)


async def _walk(pinger: Pinger, address: str, hops: int, found: dict[int, Sight]) -> bool:
    """Fill `found` until the way ends. Returns whether it was walked to its end."""
    for first in range(1, hops + 1, STEP):
        step = range(first, min(first + STEP, hops + 1))
        await _ask(pinger, address, step, found)
        silent = [ttl for ttl in step if found[ttl].said is Said.SILENCE]
        if silent and not _ended(step, found):
            await _ask(pinger, address, silent, found)
        if _ended(step, found) or all(found[ttl].said is Said.SILENCE for ttl in step):
            return True
    return True


async def _ask(
    pinger: Pinger, address: str, ttls: range | list[int], found: dict[int, Sight]
) -> None:
    sights = await asyncio.gather(*(pinger.ask(address, ttl, _PATIENCE) for ttl in ttls))
    found.update(zip(ttls, sights, strict=True))


def _ended(step: range, found: dict[int, Sight]) -> bool:
    return any(found[ttl].said not in _ON_THE_WAY for ttl in step)
