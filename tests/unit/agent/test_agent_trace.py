"""Traces: in order, with few packets, and with an end in any network."""

import asyncio
from collections import Counter

import pytest

from tideover.agent.sights import Hop, Said, Sight
from tideover.agent.trace import trace

HERE = Sight(Said.ARRIVED, "target")
SILENT = Sight(Said.SILENCE)


class Way:
    """A pinger for which hop n says what `hops[n - 1]` is; behind them, the last."""

    def __init__(self, *hops, patience=0.0):
        self.hops = hops
        self.patience = patience
        self.packets = Counter()

    async def ask(self, _address, ttl, timeout):
        self.packets[ttl] += 1
        await asyncio.sleep(self.patience)
        hop = self.hops[min(ttl, len(self.hops)) - 1]
        return Sight(Said.PASSING, hop) if isinstance(hop, str) else hop


def walk(way, hops=30, timeout=5.0):
    return asyncio.run(trace(way, "target", hops=hops, timeout=timeout))


def test_to_its_end():
    way = Way("a", "b", SILENT, "d", "e", "f", HERE)
    found = walk(way)
    assert found.hops == (Hop(1, "a"), Hop(2, "b"), Hop(3), Hop(4, "d"), Hop(5, "e"), Hop(6, "f"))
    assert (found.end, found.whole, found.last) == (HERE, True, Hop(6, "f"))
    assert max(way.packets) == 10
    assert sum(way.packets.values()) == 11  # silent hops are asked twice


def test_an_error_ends_it():
    error = Sight(Said.NO_ROUTE, "b")
    found = walk(Way("a", "b", error))
    assert (found.end, [hop.by for hop in found.hops]) == (error, ["a", "b"])


def test_silence_ends_it_when_a_whole_step_was_silent_twice():
    way = Way("a", "b", SILENT)
    found = walk(way)
    assert (found.end.said, found.last, found.whole) == (Said.SILENCE, Hop(2, "b"), True)
    assert max(way.packets) == 10
    assert max(way.packets.values()) == 2


@pytest.mark.parametrize("hops", [1, 4, 5, 30])
def test_it_goes_no_farther_than_it_may(hops):
    way = Way("round and round")
    found = walk(way, hops=hops)
    assert (len(found.hops), found.whole) == (hops, True)
    assert sum(way.packets.values()) == hops


def test_out_of_time_it_is_not_whole():
    found = walk(Way("a", patience=0.05), timeout=0.12)
    assert not found.whole
    assert len(found.hops) == 10


def test_nobody_speaks():
    found = walk(Way(SILENT))
    assert (found.last, found.end.said) == (None, Said.SILENCE)
