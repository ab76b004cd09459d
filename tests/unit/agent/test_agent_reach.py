"""Looking once for all who ask: what is kept for a network, single flight, bounds, time."""

import asyncio

import pytest

from tideover.agent import reach as reach_module
from tideover.agent.protocol import Verdict
from tideover.agent.reach import AT_ONCE, Reach
from tideover.agent.sights import Said, Sight


class Net:
    """Everything that a look does; `tcp` and `echo` say what it sees."""

    def __init__(self, tcp=Said.SILENCE, echo=Said.SILENCE, delay=0.0):
        self.tcp, self.echo, self.delay = tcp, echo, delay
        self.knocks, self.echoes = [], []

    async def knock(self, address, port, timeout):
        self.knocks.append((address, port))
        await asyncio.sleep(min(self.delay, timeout))
        return Sight(self.tcp, address)

    def can(self, _address):
        return True

    async def ask(self, address, ttl, timeout):
        self.echoes.append((address, ttl))
        await asyncio.sleep(min(self.delay, timeout))
        return Sight(self.echo if ttl == 64 else Said.SILENCE, address)


@pytest.fixture
def make(monkeypatch):
    def with_net(net, **settings):
        monkeypatch.setattr(reach_module, "knock", net.knock)
        given = {"timeout": 2.0, "hops": 30, "keep": 300.0} | settings
        return Reach(net, **given)

    return with_net


def test_a_host_that_answers_needs_no_trace_but_one_for_later(make):
    net = Net(tcp=Said.ARRIVED)

    async def run():
        reach = make(net)
        found = await reach.find("192.0.2.1", 25)
        await asyncio.sleep(0.05)
        once = len(net.echoes)
        await reach.find("192.0.2.77", 25)
        await asyncio.sleep(0.05)
        await reach.close()
        assert len(net.echoes) == once > 1
        return found.judgement.verdict

    assert asyncio.run(run()) == Verdict.REACHABLE
    assert [ttl for _, ttl in net.echoes].count(64) == 1
    assert net.knocks == [("192.0.2.1", 25)]  # the other is in its network


def test_a_verdict_counts_for_its_network_and_an_unknown_one_for_its_address(make):
    net, times = Net(), iter(range(10_000))

    async def run():
        reach = make(net, clock=lambda: next(times) * 50.0)
        await reach.find("192.0.2.1", 25)
        await reach.find("192.0.2.1", 25)
        assert len(net.knocks) == 1
        await reach.find("192.0.2.2", 25)
        assert len(net.knocks) == 2
        net.tcp = Said.NO_TABLE
        await reach.find("192.0.2.3", 25)
        assert (await reach.find("192.0.2.4", 25)).judgement.verdict == Verdict.UNREACHABLE
        assert len(net.knocks) == 3
        for _ in range(8):
            next(times)
        await reach.find("192.0.2.4", 25)
        assert len(net.knocks) == 4

    asyncio.run(run())


def test_who_asks_at_the_same_time_shares_a_look(make):
    net = Net(tcp=Said.ARRIVED, delay=0.05)

    async def run():
        reach = make(net)
        first = asyncio.create_task(reach.find("192.0.2.1", 25))
        rest = [asyncio.create_task(reach.find("192.0.2.1", 25)) for _ in range(5)]
        await asyncio.sleep(0.01)
        first.cancel()  # who goes away takes nothing from the others
        return await asyncio.gather(*rest)

    assert {found.judgement.verdict for found in asyncio.run(run())} == {Verdict.REACHABLE}
    assert len(net.knocks) == 1


def test_so_many_at_once_and_no_more(make):
    net = Net(delay=0.05)

    async def run():
        reach = make(net, timeout=0.1)
        asked = [reach.find(f"192.0.{n}.1", 25) for n in range(AT_ONCE + 3)]
        found = await asyncio.gather(*asked)
        later = await reach.find("192.0.250.1", 25)
        return sum(item is None for item in found), later

    busy, later = asyncio.run(run())
    assert (busy, later is not None) == (3, True)


@pytest.mark.parametrize("timeout", [0.2, 1.5])
def test_it_ends_in_time(make, timeout):
    net = Net(delay=60.0)

    async def run():
        loop = asyncio.get_running_loop()
        start = loop.time()
        found = await make(net, timeout=timeout).find("192.0.2.1", 25)
        return found.judgement.verdict, loop.time() - start

    verdict, took = asyncio.run(run())
    assert verdict == Verdict.UNKNOWN
    assert took < timeout + 0.3


def test_few_packets(make):
    net = Net()
    asyncio.run(make(net).find("192.0.2.1", 25))
    assert len(net.knocks) == 1
    assert len(net.echoes) <= 1 + 2 * 5


def test_what_is_known_is_bounded(make, monkeypatch):
    monkeypatch.setattr(reach_module, "_KEPT", 5)
    reach = make(Net(tcp=Said.NO_TABLE, echo=Said.SILENCE), timeout=0.1)

    async def run():
        for n in range(20):
            await reach.find(f"192.0.{n}.1", 25)

    asyncio.run(run())
    assert len(reach._known) == 5
