"""The memory of clients: what is noted is seen, kept, bounded, and survives its file."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from rcpt_facts import NOW, Clock, at_once, with_memory

from tideover.events.client_records import ClientsDamaged, ClientsTrouble
from tideover.policy import memory as memory_module
from tideover.policy.memory import KNOWN_FOR, Kind, Mark, Memory

NET = "192.0.2.0/24"


def mark(at=NOW, keep=1000.0):
    return Mark(at, at + keep)


def key(number):
    return number.to_bytes(16, "big")


async def get_triplet(memory, number, now=NOW):
    return await memory.triplet(key(number), now)


def test_what_is_noted_is_seen_at_once_and_after_a_restart(tmp_path):
    async def first(memory):
        assert not memory.is_known(NET)
        memory.met(NET, NOW)
        memory.note(Kind.TRIPLET, key(1), mark())
        memory.note(Kind.SENDER, b"example.net", mark())
        look(memory)

    def look(memory):
        assert memory.is_known(NET)
        assert not memory.is_known("192.0.3.0/24")
        assert at_once(get_triplet(memory, 1)) == mark()
        assert at_once(get_triplet(memory, 2)) is None
        assert memory.get(Kind.SENDER, b"example.net", NOW) == mark()
        assert memory.get(Kind.PASSED, b"example.net", NOW) is None

    async def second(memory):
        look(memory)

    events = []
    with_memory(tmp_path / "data", first, events=events)
    with_memory(tmp_path / "data", second, events=events)
    assert events == []
    assert stat.S_IMODE((tmp_path / "data" / "clients.sqlite").stat().st_mode) == 0o600


def test_what_has_run_out_counts_no_more_and_is_swept(tmp_path):
    clock = Clock()

    async def first(memory):
        memory.met(NET, NOW)
        memory.note(Kind.TRIPLET, key(1), mark())
        clock.now = NOW + 1000
        assert at_once(get_triplet(memory, 1, NOW + 999)) == mark()
        assert at_once(get_triplet(memory, 1, NOW + 1000)) is None
        assert memory.is_known(NET)
        clock.now = NOW + KNOWN_FOR
        assert not memory.is_known(NET)

    async def later(memory):
        async with asyncio.timeout(10):
            while rows(tmp_path):
                await asyncio.sleep(0.01)

    with_memory(tmp_path, first, clock=clock)
    assert rows(tmp_path) == 2
    with_memory(tmp_path, later, clock=clock)


def rows(directory):
    with closing(sqlite3.connect(directory / "clients.sqlite")) as conn:
        return conn.execute("SELECT count(*) FROM mark").fetchone()[0]


def test_a_client_that_is_met_often_is_not_written_each_time(tmp_path):
    async def scenario(memory):
        memory.met(NET, NOW)
        await memory.flush()
        memory.met(NET, NOW + 60)
        assert not memory._pending
        memory.met(NET, NOW + 3600)
        assert memory._pending
        memory.met(NET, NOW - 86_400)  # the clock was set back
        assert memory.get(Kind.KNOWN, NET.encode(), NOW).at == NOW - 86_400

    with_memory(tmp_path, scenario)


def test_it_is_written_by_itself_soon(tmp_path):
    async def scenario(memory):
        memory.met(NET, NOW)
        async with asyncio.timeout(10):
            while not rows(tmp_path):
                await asyncio.sleep(0.02)

    with_memory(tmp_path, scenario)


def test_a_flood_is_bounded_in_memory_and_the_file_is_asked_for_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(memory_module, "HELD", 10)

    async def scenario(memory):
        for number in range(50):
            memory.note(Kind.TRIPLET, key(number), mark(NOW + number))
            memory.met(f"10.0.{number}.0/24", NOW + number)
        assert len(memory._shelves[Kind.TRIPLET]) == len(memory._shelves[Kind.KNOWN]) == 10
        assert memory.is_known("10.0.49.0/24")
        assert not memory.is_known("10.0.0.0/24")
        # not yet written, and no more in memory
        assert at_once(get_triplet(memory, 0)) == mark()
        await memory.flush()
        assert await get_triplet(memory, 0) == mark()
        assert await get_triplet(memory, 99) is None
        assert at_once(get_triplet(memory, 49)) == mark(NOW + 49)

    async def again(memory):
        assert await get_triplet(memory, 0) == mark()
        assert at_once(get_triplet(memory, 49)) == mark(NOW + 49)
        assert memory.is_known("10.0.49.0/24")
        assert rows(tmp_path) <= 50 + 11
        memory.note(Kind.TRIPLET, key(50), mark(NOW + 50))
        assert list(memory._shelves[Kind.TRIPLET]) == [key(number) for number in range(41, 51)]

    with_memory(tmp_path, scenario)
    with_memory(tmp_path, again)


def test_a_flood_is_bounded_in_the_file_the_oldest_go_and_it_is_trouble(tmp_path):
    clock, events = Clock(), []

    async def scenario(memory):
        for number in range(500):
            memory.note(Kind.TRIPLET, key(number), mark(NOW + number / 100))
            if number % 50 == 0:
                await memory.flush()
        await memory.flush()
        assert rows(tmp_path) <= 105
        assert memory.trouble == "too many newcomers at once"
        clock.now = NOW + memory_module.OVERRUN
        assert memory.trouble == ""

    async def again(memory):
        assert at_once(get_triplet(memory, 499)) is not None
        assert at_once(get_triplet(memory, 0)) is None

    with_memory(tmp_path, scenario, clock=clock, events=events, triplets=100)
    assert [type(event) for event in events] == [ClientsTrouble]
    with_memory(tmp_path, again)


def test_triplets_that_had_their_time_go_without_trouble(tmp_path):
    clock, events = Clock(NOW + 86_400), []

    async def scenario(memory):
        for number in range(300):
            memory.note(Kind.TRIPLET, key(number), mark(NOW, 1e6))
        await memory.flush()
        assert rows(tmp_path) == 100
        assert memory.trouble == ""

    with_memory(tmp_path, scenario, clock=clock, events=events, triplets=100)
    assert events == []


def test_notes_that_wait_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(memory_module, "PENDING", 20)

    async def scenario(memory):
        for number in range(50):
            memory.note(Kind.TRIPLET, key(number), mark())
        assert len(memory._pending) == 20
        assert at_once(get_triplet(memory, 0)) == mark()

    with_memory(tmp_path, scenario)
    assert rows(tmp_path) == 20


def test_what_counts_no_more_leaves_memory_as_new_things_come(tmp_path):
    async def scenario(memory):
        for number in range(20):
            memory.note(Kind.TRIPLET, key(number), mark())
        for number in range(20, 31):
            memory.note(Kind.TRIPLET, key(number), mark(NOW + 1000))
        assert len(memory._shelves[Kind.TRIPLET]) == 11

    with_memory(tmp_path, scenario)


def test_a_damaged_file_is_put_aside_and_told(tmp_path):
    (tmp_path / "clients.sqlite").write_bytes(b"not a database at all" * 1000)
    events = []

    async def scenario(memory):
        memory.met(NET, NOW)
        await memory.flush()
        assert memory.is_known(NET)
        assert memory.trouble == ""

    with_memory(tmp_path, scenario, events=events)
    (event,) = events
    assert isinstance(event, ClientsDamaged)
    assert Path(event.set_aside).read_bytes().startswith(b"not a database")
    with_memory(tmp_path, scenario, events=events)
    assert len(events) == 1


def test_damage_that_is_met_later_is_put_aside_too(tmp_path):
    async def fill(memory):
        for number in range(5000):
            memory.note(Kind.TRIPLET, key(number), mark())

    async def scenario(memory):
        file = tmp_path / "clients.sqlite"
        with file.open("r+b") as raw:
            raw.seek(4096)
            raw.write(b"\xff" * (file.stat().st_size - 4096))
        memory._file._file.conn.execute("PRAGMA shrink_memory")
        for number in range(5000, 5100):
            memory.note(Kind.TRIPLET, key(number), mark())
        await memory.flush()
        assert memory.trouble == ""

    async def again(memory):
        assert at_once(get_triplet(memory, 5099)) == mark()

    events = []
    with_memory(tmp_path, fill)
    with_memory(tmp_path, scenario, events=events)
    with_memory(tmp_path, again)
    assert [type(event) for event in events] == [ClientsDamaged]


@pytest.mark.parametrize("kind", ["foreign", "newer", "directory"])
def test_a_file_that_is_not_ours_stays_and_memory_has_to_do(tmp_path, kind):
    file = tmp_path / "clients.sqlite"
    if kind == "directory":
        file.mkdir()
    else:
        with closing(sqlite3.connect(file)) as conn:
            conn.execute("CREATE TABLE theirs (x)")
            if kind == "newer":
                conn.execute("PRAGMA application_id = 1414087747")
                conn.execute("PRAGMA user_version = 99")
            conn.commit()
    events = []

    async def scenario(memory):
        memory.met(NET, NOW)
        await memory.flush()
        assert memory.is_known(NET)

    with_memory(tmp_path, scenario, events=events)
    assert [type(event) for event in events] == [ClientsTrouble]
    assert file.exists()


def test_a_full_disk_is_told_once_and_what_was_noted_is_not_lost(tmp_path):
    events = []

    async def scenario(memory):
        conn = memory._file._file.conn
        conn.execute("PRAGMA max_page_count = 1")
        for number in range(300):
            memory.note(Kind.TRIPLET, key(number), mark())
        await memory.flush()
        memory.met(NET, NOW)
        await memory.flush()
        assert [type(event) for event in events] == [ClientsTrouble]
        assert "full" in memory.trouble
        memory.note(Kind.SENDER, b"example.net", mark())
        assert memory._timer.when() - asyncio.get_running_loop().time() > 1  # not in vain each time
        assert memory.is_known(NET)
        conn.execute("PRAGMA max_page_count = 100000")
        await memory.flush()
        assert memory._pending == {}
        assert memory.trouble == ""

    async def later(memory):
        assert memory.is_known(NET)
        assert at_once(get_triplet(memory, 0)) == mark()

    with_memory(tmp_path, scenario, events=events)
    with_memory(tmp_path, later)


def test_nothing_is_noted_after_the_end(tmp_path):
    async def scenario(memory):
        await memory.close()
        memory.met(NET, NOW)
        assert not memory._pending

    async def run():
        memory = await Memory.open(tmp_path / "clients.sqlite", print)
        await scenario(memory)

    asyncio.run(run())


KILLED = """
import asyncio, sys
from pathlib import Path
from tideover.policy.memory import Kind, Mark, Memory

async def main():
    memory = await Memory.open(Path(sys.argv[1]), print)
    number = 0
    while True:
        memory.note(Kind.TRIPLET, number.to_bytes(16, "big"), Mark(2e9, 3e9))
        if number % 20 == 0:
            print(number, flush=True)
        number += 1
        await asyncio.sleep(0.001)

asyncio.run(main())
"""


def test_a_kill_loses_what_was_noted_last_and_nothing_else(tmp_path):
    file = tmp_path / "clients.sqlite"
    child = subprocess.Popen([sys.executable, "-c", KILLED, file], stdout=subprocess.PIPE,
                             env={**os.environ}, text=True)  # fmt: skip
    try:
        # until something that was noted first must be in the file
        while not file.exists() or not rows_if_any(tmp_path):
            assert child.stdout.readline()
        child.send_signal(signal.SIGKILL)
    finally:
        child.kill()
        child.communicate()
    events = []

    async def after(memory):
        kept = len(memory._shelves[Kind.TRIPLET])
        assert kept
        # a beginning without a hole
        assert [memory._shelves[Kind.TRIPLET].get(key(n)) for n in range(kept)] \
            == [Mark(2e9, 3e9)] * kept  # fmt: skip

    with_memory(tmp_path, after, events=events)
    assert events == []


def rows_if_any(directory):
    try:
        return rows(directory)
    except sqlite3.OperationalError:
        return 0


def test_who_waited_for_the_greeting_need_not_again_for_a_day(tmp_path):
    async def run():
        clock = [NOW]
        memory = await Memory.open(
            tmp_path / "clients.sqlite", lambda _: None, clock=lambda: clock[0]
        )
        assert not memory.is_patient(NET)
        memory.waited(NET, NOW)
        assert memory.is_patient(NET)
        assert not memory.is_known(NET)
        clock[0] = NOW + 86_401
        assert not memory.is_patient(NET)
        memory.met(NET, clock[0])
        assert memory.is_patient(NET)
        await memory.close()

    asyncio.run(run())
