"""primary.store: what outlives a restart, its bounds, and a file that fails."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tideover.events.domain_records import RouteMemoryTrouble
from tideover.events.event import Event
from tideover.primary.found import Found
from tideover.primary.interface import NextHop, Route
from tideover.primary.mx_set import MxSet
from tideover.primary.store import (
    MAX_AGE,
    MAX_CHANGES,
    NAME,
    NULL_MX_HOLDS,
    Discovered,
    Kept,
    MxChange,
    PrimaryStore,
)

NOW = 1_000_000_000.0
SET = MxSet(hosts=((10, "a.example.com"), (20, "us.example.org")), own=20)
GOOD = Found(route=Route(key="k", hops=(NextHop("a.example.com", "192.0.2.1", 25),)))
Use = Callable[[PrimaryStore], Awaitable[None]]


def use(path: Path, work: Use, *, now: float = NOW, sink: list[Event] | None = None) -> None:
    """Open the store, work with it, close it."""

    async def run() -> None:
        store = await PrimaryStore.open(
            path, ([] if sink is None else sink).append, clock=lambda: now
        )
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(run())


def change(n: int, at: float = NOW) -> MxChange:
    return MxChange(at=at, before=(), after=(f"{n} a.example.com",), serial=n)


def test_what_is_put_is_seen_at_once_and_after_a_restart(tmp_path: Path) -> None:
    async def put(store: PrimaryStore) -> None:
        assert await store.get("example.com") == Kept()
        store.put_set("example.com", SET, 7, NOW)
        store.put_route("example.com", GOOD, NOW)
        store.add_change("example.com", change(1))
        await look(store)

    async def look(store: PrimaryStore) -> None:
        kept = Kept(mx=SET, serial=7, seen_at=NOW, good=GOOD, good_at=NOW)
        assert await store.get("example.com") == kept
        assert await store.history("example.com", 10) == [change(1)]
        assert await store.history("example.org", 10) == []

    use(tmp_path, put)
    use(tmp_path, look)


def test_an_empty_set_and_a_null_one_are_not_the_same(tmp_path: Path) -> None:
    async def put(store: PrimaryStore) -> None:
        store.put_set("empty.example", MxSet(hosts=()), None, NOW)
        store.put_set("null.example", MxSet(hosts=((0, ""),)), None, NOW)
        assert (await store.get("empty.example")).mx == MxSet(hosts=())
        assert (await store.get("null.example")).mx == MxSet(hosts=((0, ""),))

    async def fresh(store: PrimaryStore) -> None:
        assert store.null_mx == {"null.example": NOW}

    async def old(store: PrimaryStore) -> None:
        assert store.null_mx == {}

    use(tmp_path, put)
    use(tmp_path, fresh)
    use(tmp_path, old, now=NOW + NULL_MX_HOLDS + 1)


def test_the_history_keeps_the_newest_hundred_for_400_days(tmp_path: Path) -> None:
    async def put(store: PrimaryStore) -> None:
        for n in range(MAX_CHANGES + 50):
            store.add_change("example.com", change(n))
        store.add_change("other.example", change(1))
        changes = await store.history("example.com", 1000)
        assert [c.serial for c in changes] == list(range(149, 49, -1))
        assert len(await store.history("other.example", 1000)) == 1
        assert [c.serial for c in await store.history("example.com", 2)] == [149, 148]

    async def later(store: PrimaryStore) -> None:
        store.add_change("new.example", change(1, NOW + MAX_AGE + 1))
        await store.flush()
        assert await store.history("example.com", 1000) == []
        assert len(await store.history("new.example", 1000)) == 1

    use(tmp_path, put)
    use(tmp_path, later, now=NOW + MAX_AGE + 1)


def test_a_set_that_is_still_served_outlives_400_days_without_a_change(tmp_path: Path) -> None:
    async def put(store: PrimaryStore) -> None:
        for name, good_at in (("kept.example", NOW + MAX_AGE), ("gone.example", NOW)):
            store.put_set(name, SET, 1, NOW)
            store.put_route(name, GOOD, good_at)

    async def later(store: PrimaryStore) -> None:
        store.put_set("new.example", SET, 1, NOW)
        await store.flush()
        assert (await store.get("kept.example")).mx == SET
        assert await store.get("gone.example") == Kept()

    use(tmp_path, put)
    use(tmp_path, later, now=NOW + MAX_AGE + 1)


def test_discovered_domains(tmp_path: Path) -> None:
    one = Discovered(domain="one.example", found_at=NOW, good_at=NOW)
    two = Discovered(domain="two.example", found_at=NOW + 1, good_at=NOW + 2, used=True)

    async def put(store: PrimaryStore) -> None:
        for found in (one, two):
            store.put_discovered(found)

    async def look(store: PrimaryStore) -> None:
        assert store.discovered == (one, two)
        store.remove_discovered("one.example")

    async def again(store: PrimaryStore) -> None:
        assert store.discovered == (two,)

    for work in (put, look, again):
        use(tmp_path, work)


def test_a_damaged_file_is_set_aside_and_told(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"no database, but long enough to look like one" * 100)
    events: list[Event] = []

    async def work(store: PrimaryStore) -> None:
        store.put_set("example.com", SET, 1, NOW)
        assert (await store.get("example.com")).mx == SET

    use(tmp_path, work, sink=events)
    assert [type(event) for event in events] == [RouteMemoryTrouble]
    assert len(list(tmp_path.glob(f"{NAME}.damaged-*"))) == 1
    use(tmp_path, work, sink=events)
    assert len(events) == 1


@pytest.mark.parametrize("version", [99, 0])
def test_a_file_of_another_program_or_of_the_future_is_left_alone(
    tmp_path: Path, version: int
) -> None:
    with sqlite3.connect(tmp_path / NAME) as other:
        other.execute("CREATE TABLE mine (x)")
        other.execute(f"PRAGMA user_version = {version}")
    other.close()
    before = (tmp_path / NAME).read_bytes()
    events: list[Event] = []

    async def work(store: PrimaryStore) -> None:
        store.put_set("example.com", SET, 1, NOW)
        assert (await store.get("example.com")).mx == SET  # in memory

    use(tmp_path, work, sink=events)
    assert [type(event) for event in events] == [RouteMemoryTrouble]
    with sqlite3.connect(tmp_path / NAME) as other:
        assert other.execute("SELECT name FROM sqlite_schema").fetchall() == [("mine",)]
    other.close()
    assert len(before) > 0


def test_writes_that_fail_are_told_once_and_written_later(tmp_path: Path) -> None:
    events: list[Event] = []

    async def work(store: PrimaryStore) -> None:
        real = store._file.write

        def fail(_: object) -> int:
            raise sqlite3.OperationalError("database or disk is full")

        store._file.write = fail  # type: ignore[method-assign]
        for n in range(3):
            store.add_change("example.com", change(n))
            await store.flush()
        store._file.write = real  # type: ignore[method-assign]
        await store.flush()
        assert [c.serial for c in await store.history("example.com", 10)] == [2, 1, 0]

    use(tmp_path, work, sink=events)
    assert [type(event) for event in events] == [RouteMemoryTrouble]


def test_a_route_that_another_version_wrote_counts_as_unknown(tmp_path: Path) -> None:
    async def put(store: PrimaryStore) -> None:
        store._put("put_route", ("example.com", b'{"way": 1}', NOW))
        store._put("put_set", ("example.com", "what is this", None, 1, None, NOW))
        assert await store.get("example.com") == Kept()

    use(tmp_path, put)
