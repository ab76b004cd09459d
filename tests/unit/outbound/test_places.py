"""Places for connections in use, and those that wait: each is given back once, whatever happens."""

import asyncio
from collections.abc import Coroutine

import pytest

from tideover.outbound.places import Places
from tideover.outbound.room import Room


class FakeConnection:
    """As much of `Connection` as is needed here; its goodbye takes until `closed` is set."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.closed = asyncio.Event()

    def usable(self) -> bool:
        return not self.log

    def abort(self, text: str) -> None:
        self.log.append(f"abort: {text}")

    async def quit(self) -> None:
        self.log.append("quit")
        await self.closed.wait()


class FakeKept:
    def __init__(self, *, worn: bool = False) -> None:
        self.connection = FakeConnection()
        self._worn = worn

    def worn(self) -> bool:
        return self._worn


class House:
    """Destinations with two places each in one room with three, where two connections may wait."""

    def __init__(self) -> None:
        self.room: Room[FakeKept] = Room(3, 2)
        self.tasks: list[asyncio.Task[None]] = []

    def places(self) -> Places[FakeKept]:
        return Places(2, self.room, self._spawn)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))


async def taken(places: Places[FakeKept], *, worn: bool = False) -> FakeKept:
    await asyncio.wait_for(places.enter(), 0.02)
    kept = FakeKept(worn=worn)
    places.taken.add(kept)
    return kept


async def waiting(places: Places[FakeKept], seconds: float = 60.0) -> FakeKept:
    kept = await taken(places)
    assert places.put_back(kept)
    places.keep(kept, seconds, places.end)
    return kept


def test_there_are_no_more_in_use_than_places_here_and_in_the_room():
    async def scenario() -> None:
        house = House()
        one, two = house.places(), house.places()
        first = await taken(one)
        await taken(one)
        with pytest.raises(TimeoutError):
            await taken(one)  # both places here are held
        await taken(two)
        with pytest.raises(TimeoutError):
            await taken(two)  # none in the room is left; the place here is not held for it
        one.drop(first, "gone")
        await taken(two)
        assert (one.in_use, two.in_use) == (1, 2)

    asyncio.run(scenario())


def test_what_is_dropped_twice_leaves_once():
    async def scenario() -> None:
        places = House().places()
        kept = await taken(places)
        places.drop(kept, "first")
        places.drop(kept, "again")
        assert (places.in_use, places.taken) == (0, set())
        await taken(places)
        await taken(places)
        with pytest.raises(TimeoutError):
            await taken(places)

    asyncio.run(scenario())


def test_one_that_is_not_usable_any_more_is_not_kept():
    async def scenario() -> None:
        places = House().places()
        kept = await taken(places)
        kept.connection.log.append("closed by the server")
        assert not places.put_back(kept)
        assert kept.connection.log[-1] == "abort: given up"
        assert places.in_use == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("why", ["worn", "retired"])
def test_one_that_was_in_use_holds_its_place_until_goodbye_is_said(why):
    async def scenario() -> None:
        house = House()
        places = house.places()
        kept = await taken(places, worn=why == "worn")
        if why == "retired":
            places.retire()
        assert not places.put_back(kept)
        await asyncio.sleep(0)
        assert kept.connection.log == ["quit"]
        assert (places.in_use, places.taken) == (1, {kept})
        kept.connection.closed.set()
        await asyncio.gather(*house.tasks)
        assert (places.in_use, places.taken) == (0, set())

    asyncio.run(scenario())


def test_it_leaves_its_place_when_goodbye_is_broken_off():
    async def scenario() -> None:
        house = House()
        places = house.places()
        assert not places.put_back(await taken(places, worn=True))
        await asyncio.sleep(0)
        house.tasks[0].cancel()
        await asyncio.gather(*house.tasks, return_exceptions=True)
        assert places.in_use == 0

    asyncio.run(scenario())


def test_one_that_waits_holds_no_place_and_is_ended_after_its_time():
    async def scenario() -> None:
        places = House().places()
        kept = await waiting(places, 0.01)
        assert (places.in_use, list(places.waiting)) == (0, [kept])
        await asyncio.sleep(0.03)
        assert kept.connection.log == ["quit"]
        assert not places.waiting

    asyncio.run(scenario())


def test_one_that_is_taken_out_is_not_ended():
    async def scenario() -> None:
        house = House()
        places = house.places()
        kept = await taken(places)
        ended: list[FakeKept] = []
        places.keep(kept, 0.01, ended.append)
        places.take_out(kept)
        await asyncio.sleep(0.03)
        assert not ended
        assert not house.room.idle

    asyncio.run(scenario())


def test_the_oldest_of_all_that_wait_is_ended_for_one_more():
    async def scenario() -> None:
        house = House()
        one, two = house.places(), house.places()
        kept = [await waiting(places) for places in (one, two, two)]
        await asyncio.sleep(0)
        assert [each.connection.log for each in kept] == [["quit"], [], []]
        assert (list(one.waiting), list(two.waiting)) == ([], kept[1:])

    asyncio.run(scenario())


def test_to_retire_ends_all_that_wait():
    async def scenario() -> None:
        house = House()
        places = house.places()
        kept = [await waiting(places) for _ in range(2)]
        places.retire()
        await asyncio.sleep(0)
        assert [each.connection.log for each in kept] == [["quit"], ["quit"]]
        assert not places.waiting
        assert not house.room.idle

    asyncio.run(scenario())
