"""Overlapping attempts: a host that swallows packets and comes back is noticed at once."""

import asyncio
import time

import pytest

from tideover.outbound.connection import ConnectionFailed
from tideover.outbound.probe import IN_FLIGHT, probe
from tideover.outbound.transport import discard, first_of
from tideover.primary.interface import NextHop


class Fake:
    """Stands for a connection."""

    def __init__(self) -> None:
        self.aborted = False

    def abort(self, _text: str) -> None:
        self.aborted = True


class Host:
    """Swallows each attempt that began before its return, for ever."""

    def __init__(self) -> None:
        self.back = False
        self.running = self.most = self.begun = 0
        self.made: list[Fake] = []

    async def attempt(self) -> Fake:
        self.begun += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if not self.back:
                await asyncio.Event().wait()
            self.made.append(Fake())
            return self.made[-1]
        finally:
            self.running -= 1


def test_a_silent_host_is_noticed_within_an_interval_of_its_return():
    async def scenario():
        host = Host()
        task = asyncio.create_task(
            probe(host.attempt, interval=lambda: 0.02, failed=pytest.fail, hurry=asyncio.Event())
        )
        while host.begun < 12:
            await asyncio.sleep(0.005)
        assert host.most <= IN_FLIGHT
        host.back = True
        back = time.monotonic()
        assert await task is host.made[0]
        assert time.monotonic() - back < 0.1
        await asyncio.sleep(0.01)
        assert host.running == 0

    asyncio.run(scenario())


def test_the_oldest_attempt_keeps_its_time():
    async def scenario():
        first = asyncio.get_running_loop().create_future()
        begun = []

        async def attempt():
            begun.append(1)
            if len(begun) == 1:
                return await first
            return await asyncio.Event().wait()

        task = asyncio.create_task(
            probe(attempt, interval=lambda: 0.005, failed=pytest.fail, hurry=asyncio.Event())
        )
        while len(begun) < 3 * IN_FLIGHT:
            await asyncio.sleep(0.005)
        first.set_result(slow := Fake())
        assert await task is slow

    asyncio.run(scenario())


def test_failures_are_told_and_a_hurry_begins_at_once():
    async def scenario():
        failures = []
        hurry = asyncio.Event()

        async def attempt():
            if len(failures) < 2:
                raise ConnectionFailed("no")
            return Fake()

        task = asyncio.create_task(
            probe(attempt, interval=lambda: 60.0, failed=failures.append, hurry=hurry)
        )
        for count in (1, 2):
            while len(failures) < count:
                await asyncio.sleep(0)
            hurry.set()
        async with asyncio.timeout(1):
            assert isinstance(await task, Fake)

    asyncio.run(scenario())


def test_cancelled_probe_leaves_nothing():
    async def scenario():
        host = Host()
        task = asyncio.create_task(
            probe(host.attempt, interval=lambda: 0.001, failed=pytest.fail, hurry=asyncio.Event())
        )
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.01)
        assert host.running == 0
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(scenario())


HOPS = tuple(NextHop(f"mx{n}", f"192.0.2.{n}", 25) for n in range(3))


def test_hosts_in_order_the_next_when_one_fails():
    async def scenario():
        tried, failed = [], []

        async def connector(hop):
            tried.append(hop)
            if hop is not HOPS[2]:
                raise ConnectionFailed(hop.name)
            return Fake()

        await first_of(HOPS, connector, stagger=60.0, failed=lambda hop, _: failed.append(hop))
        assert tried == list(HOPS)
        assert failed == list(HOPS[:2])

    asyncio.run(scenario())


def test_a_silent_host_does_not_keep_the_next_waiting():
    async def scenario():
        async def connector(hop):
            if hop is HOPS[0]:
                await asyncio.Event().wait()
            return Fake()

        async with asyncio.timeout(1):
            await first_of(HOPS, connector, stagger=0.01, failed=lambda *_: None)
        await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(scenario())


def test_what_comes_of_an_unwanted_attempt_is_closed():
    async def scenario():
        late = Fake()

        async def stubborn():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return late

        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        discard([task])
        await asyncio.sleep(0.01)
        assert late.aborted

    asyncio.run(scenario())


def test_no_host_gives_the_last_reason():
    async def scenario():
        async def connector(hop):
            raise ConnectionFailed(hop.name)

        with pytest.raises(ConnectionFailed, match="mx2"):
            await first_of(HOPS, connector, stagger=1.0, failed=lambda *_: None)
        with pytest.raises(ConnectionFailed, match="no next hop"):
            await first_of((), connector, stagger=1.0, failed=lambda *_: None)

    asyncio.run(scenario())


def test_a_fault_of_ours_is_not_hidden():
    async def scenario():
        async def connector(_hop):
            raise KeyError("bug")

        async def attempt():
            return await first_of(HOPS, connector, stagger=1.0, failed=lambda *_: None)

        with pytest.raises(KeyError):
            await probe(attempt, interval=lambda: 1.0, failed=pytest.fail, hurry=asyncio.Event())

    asyncio.run(scenario())
