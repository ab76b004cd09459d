"""The memory of addresses: what is noted is seen, kept, bounded, and survives its file."""

import asyncio
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from tideover.events.event import Event
from tideover.events.recipient_records import AddressesDamaged, AddressesTrouble
from tideover.recipients import facts as facts_module
from tideover.recipients.facts import Fact, Facts, State
from tideover.recipients.facts_file import merged

DOMAIN, SOURCE = "example.com", "callout"
NOW = 1_000_000.0


def good(at: float = NOW, **more) -> Fact:
    return Fact(**{"state": State.GOOD, "at": at, "until": at + 1000.0, **more})


def refused(at: float = NOW, **more) -> Fact:
    return Fact(**{"state": State.REFUSED, "at": at, "until": at + 1000.0, **more})


def seed(at: float = NOW, **more) -> Fact:
    return Fact(**{"state": State.SEED, "at": at, "until": at + 1000.0, "due": at, **more})


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Memory:
    """Facts in a directory of their own, opened anew at each use."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "data" / "addresses.sqlite"
        self.events: list[Event] = []
        self.clock = Clock()

    def use(self, scenario, **options):
        async def used():
            facts = await Facts.open(self.path, self.events.append, clock=self.clock, **options)
            try:
                return await scenario(facts)
            finally:
                await facts.close()

        return asyncio.run(used())


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path)


async def state(facts: Facts, name: str, domain: str = DOMAIN) -> State | None:
    (fact,) = await facts.get(domain, [name], SOURCE)
    return fact.state if fact is not None else None


@pytest.mark.parametrize(
    ("old", "new", "then"),
    [
        (None, good(), good()),
        (good(1.0), refused(2.0), refused(2.0)),
        (refused(1.0), good(2.0), good(2.0)),
        (good(2.0), refused(1.0), good(2.0)),
        (good(1.0), good(2.0), good(2.0, uses=2)),
        (refused(1.0), seed(2.0), seed(2.0)),
        (refused(1.0), seed(0.0), refused(1.0)),
        (good(1.0), seed(0.0), good(1.0)),
        (good(1.0, due=8.0), seed(3.0), good(1.0, uses=2).__class__(
            state=State.GOOD, at=3.0, until=1003.0, due=10.0, uses=2)),
    ],
)  # fmt: skip
def test_the_more_recent_word_counts_and_a_seed_renews_what_is_good(old, new, then) -> None:
    assert merged(old, new) == then


def test_what_is_noted_is_seen_at_once_and_after_a_restart(memory: Memory) -> None:
    async def first(facts: Facts) -> None:
        assert await state(facts, "user") is None
        facts.note(DOMAIN, "user", SOURCE, good(text="250 ok"))
        assert await state(facts, "user") is State.GOOD
        await facts.flush()
        assert await state(facts, "user") is State.GOOD
        facts.note(DOMAIN, "user", SOURCE, refused(NOW + 1))
        assert await state(facts, "user") is State.REFUSED
        assert await state(facts, "user", "example.net") is None

    async def second(facts: Facts) -> None:
        assert await state(facts, "user") is State.REFUSED

    memory.use(first)
    memory.use(second)
    assert memory.events == []


def test_a_note_is_seen_whatever_is_being_read_or_written(memory: Memory) -> None:
    async def scenario(facts: Facts) -> None:
        for turn in range(200):
            name = f"u{turn}"
            early = asyncio.ensure_future(state(facts, name))
            for _ in range(turn % 5):  # so that it is anywhere on its way
                await asyncio.sleep(0)
            facts.note(DOMAIN, name, SOURCE, good())
            flushed = asyncio.ensure_future(facts.flush()) if turn % 3 else None
            if turn % 7:
                await asyncio.sleep(0)
            assert await state(facts, name) is State.GOOD
            assert await state(facts, name) is State.GOOD
            await early
            if flushed is not None:
                await flushed
            assert await state(facts, name) is State.GOOD

    memory.use(scenario)


def test_it_is_written_by_itself_soon(memory: Memory) -> None:
    async def scenario(facts: Facts) -> None:
        facts.note(DOMAIN, "user", SOURCE, good())
        with closing(sqlite3.connect(memory.path)) as other:
            async with asyncio.timeout(10):
                while not other.execute("SELECT count(*) FROM fact").fetchone()[0]:
                    await asyncio.sleep(0.02)

    memory.use(scenario)


def test_names_are_answered_in_their_order(memory: Memory) -> None:
    async def scenario(facts: Facts) -> None:
        facts.note(DOMAIN, "user", SOURCE, good())
        assert [one and one.state for one in await facts.get(DOMAIN, ["user+x", "user"], SOURCE)] \
            == [None, State.GOOD]  # fmt: skip

    memory.use(scenario)


def test_what_has_run_out_counts_no_more_and_is_swept(memory: Memory) -> None:
    async def scenario(facts: Facts) -> None:
        facts.note(DOMAIN, "user", SOURCE, good())
        assert await state(facts, "user") is State.GOOD
        memory.clock.now = NOW + 1000.0
        assert await state(facts, "user") is None
        assert await facts.page(DOMAIN, SOURCE) != []
        await facts._sweep()
        assert await facts.page(DOMAIN, SOURCE) == []

    memory.use(scenario)


def test_a_full_domain_loses_its_oldest_refusals_first(memory: Memory) -> None:
    async def scenario(facts: Facts) -> None:
        facts.note(DOMAIN, "kept", SOURCE, good(NOW - 500))
        facts.note("example.net", "other", SOURCE, refused(NOW - 500))
        for number in range(500):
            facts.note(DOMAIN, f"garbage{number}", SOURCE, refused(NOW + number))
        await facts.flush()
        assert sum((await facts.count(DOMAIN, SOURCE)).values()) <= 100
        assert await state(facts, "kept") is State.GOOD
        assert await state(facts, "garbage499") is State.REFUSED
        assert await state(facts, "garbage0") is None
        assert await state(facts, "other", "example.net") is State.REFUSED
        for number in range(20):
            facts.note(DOMAIN, f"good{number}", SOURCE, good(NOW + number))
            await facts.flush()
        assert (await facts.count(DOMAIN, SOURCE))[State.GOOD] == 21
        assert sum((await facts.count(DOMAIN, SOURCE)).values()) <= 100

    memory.use(scenario, per_domain=100)


def test_memory_and_notes_that_wait_are_bounded(memory: Memory, monkeypatch) -> None:
    monkeypatch.setattr(facts_module, "IN_MEMORY", 10)
    monkeypatch.setattr(facts_module, "PENDING", 20)

    async def scenario(facts: Facts) -> None:
        for number in range(50):
            await state(facts, f"u{number}")
        assert len(facts._known) == 10
        for number in range(50):
            facts.note(DOMAIN, f"u{number}", SOURCE, good())
        assert len(facts._pending) == 20
        assert await state(facts, "u49") is State.GOOD

    memory.use(scenario)


def test_seeds_are_not_known_but_due_the_oldest_first_and_change_nothing(memory: Memory) -> None:
    async def scenario(facts: Facts) -> None:
        until = NOW + 9999.0
        facts.note(DOMAIN, "known", SOURCE, good(due=NOW + 7.0))
        facts.note(DOMAIN, "gone", SOURCE, refused())
        await facts.flush()
        assert await facts.seed(DOMAIN, ["new", "known", "gone"], SOURCE, until=until) == 1
        assert await state(facts, "new") is None
        assert await state(facts, "known") is State.GOOD
        assert await state(facts, "gone") is State.REFUSED
        assert await facts.due_domains(SOURCE, 10) == [DOMAIN]
        assert await facts.due(DOMAIN, SOURCE, 10) == ["new"]
        await facts.postpone(DOMAIN, "new", SOURCE, NOW + 5.0)
        assert await facts.due_domains(SOURCE, 10) == []
        memory.clock.now = NOW + 10.0
        assert await facts.due(DOMAIN, SOURCE, 10) == ["new", "known"]
        await facts.postpone(DOMAIN, "gone", SOURCE, NOW)
        assert await facts.due(DOMAIN, SOURCE, 10) == ["new", "known"]

    memory.use(scenario)


def test_a_source_without_memory_of_its_own_is_remembered_until_it_says_no(memory: Memory) -> None:
    async def scenario(facts: Facts) -> None:
        names = ("user+x", "user")
        assert await facts.good_at(DOMAIN, names, "ldap:x") is None
        facts.said_yes(DOMAIN, "user", "ldap:x", NOW)
        assert await facts.good_at(DOMAIN, names, "ldap:x") == NOW
        assert await facts.good_at(DOMAIN, names, "ldap:y") is None
        await facts.said_no(DOMAIN, names, "ldap:x", NOW + 5)
        assert await facts.good_at(DOMAIN, names, "ldap:x") is None
        assert [name for name, _ in await facts.page(DOMAIN, "ldap:x")] == ["user"]

    memory.use(scenario)


def test_it_can_be_listed_page_by_page(memory: Memory) -> None:
    async def scenario(facts: Facts) -> None:
        for number in range(25):
            facts.note(DOMAIN, f"u{number:02}", SOURCE, good())
        found, last = [], ""
        while page := await facts.page(DOMAIN, SOURCE, after=last, limit=10):
            found += [name for name, _ in page]
            last = page[-1][0]
        assert found == [f"u{number:02}" for number in range(25)]

    memory.use(scenario)


def test_only_its_owner_may_read_the_file(memory: Memory) -> None:
    async def scenario(facts: Facts) -> None:
        facts.note(DOMAIN, "user", SOURCE, good())
        await facts.flush()

    old = os.umask(0)
    try:
        memory.use(scenario)
    finally:
        os.umask(old)
    assert stat.S_IMODE(memory.path.stat().st_mode) == 0o600


async def _nothing(_facts: Facts) -> None: ...


def test_a_damaged_file_is_put_aside_and_told(memory: Memory) -> None:
    memory.use(_nothing)
    memory.path.write_bytes(b"not a database at all" * 1000)

    async def scenario(facts: Facts) -> None:
        facts.note(DOMAIN, "user", SOURCE, good())
        assert await state(facts, "user") is State.GOOD

    memory.use(scenario)
    (event,) = memory.events
    assert isinstance(event, AddressesDamaged)
    assert Path(event.set_aside).read_bytes().startswith(b"not a database")
    memory.use(scenario)
    assert len(memory.events) == 1


def test_damage_that_is_met_later_is_put_aside_too(memory: Memory) -> None:
    async def fill(facts: Facts) -> None:
        for number in range(2000):
            facts.note(DOMAIN, f"user{number}", SOURCE, good(text="x" * 100))

    async def scenario(facts: Facts) -> None:
        with memory.path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (memory.path.stat().st_size - 4096))
        facts._file._file.conn.execute("PRAGMA shrink_memory")
        for number in range(2000):
            assert await state(facts, f"user{number}") in (None, State.GOOD)
        facts.note(DOMAIN, "user", SOURCE, good())
        await facts.flush()
        assert await state(facts, "user") is State.GOOD

    memory.use(fill)
    memory.use(scenario)
    assert [type(event) for event in memory.events] == [AddressesDamaged]


@pytest.mark.parametrize("kind", ["foreign", "newer", "directory"])
def test_a_file_that_is_not_ours_stays_and_facts_live_in_memory(memory: Memory, kind: str) -> None:
    memory.path.parent.mkdir()
    if kind == "directory":
        memory.path.mkdir()
    else:
        with closing(sqlite3.connect(memory.path)) as conn:
            conn.execute("CREATE TABLE theirs (x)")
            if kind == "newer":
                conn.execute("PRAGMA application_id = 1414087745")
                conn.execute("PRAGMA user_version = 99")
            conn.commit()

    async def scenario(facts: Facts) -> None:
        facts.note(DOMAIN, "user", SOURCE, good())
        await facts.flush()
        assert await state(facts, "user") is State.GOOD

    memory.use(scenario)
    (event,) = memory.events
    assert isinstance(event, AddressesTrouble)
    assert memory.path.exists()


def test_a_full_disk_is_told_once_and_what_was_noted_is_not_lost(memory: Memory) -> None:
    async def scenario(facts: Facts) -> None:
        facts._file._file.conn.execute("PRAGMA max_page_count = 1")
        facts.note(DOMAIN, "user", SOURCE, good(text="x" * 100))
        for number in range(300):
            facts.note(DOMAIN, f"u{number}", SOURCE, good(text="x" * 100))
        await facts.flush()
        facts.note(DOMAIN, "late", SOURCE, good())
        await facts.flush()
        assert [type(event) for event in memory.events] == [AddressesTrouble]
        assert await state(facts, "user") is State.GOOD
        facts._file._file.conn.execute("PRAGMA max_page_count = 100000")
        await facts.flush()
        assert facts._pending == {}

    async def later(facts: Facts) -> None:
        assert await state(facts, "user") is State.GOOD
        assert await state(facts, "late") is State.GOOD

    memory.use(scenario)
    memory.use(later)
