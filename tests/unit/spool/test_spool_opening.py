"""Opening: what is refused, what is saved, what a crash leaves."""

import asyncio
import os
import pydoc
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "conformance"))
from spool_suite import NOW, body_of, claim, new_message, put, settled, to, write

from tideover.events.records import MessageDamaged as DamageSeen
from tideover.events.records import SpoolSalvaged, SpoolTrouble
from tideover.spool.ids import id_number
from tideover.spool.interface import (
    CHUNK,
    DomainHold,
    Filter,
    MessageDamaged,
    SpoolUnavailable,
    SpoolUnusable,
    State,
)
from tideover.spool.sqlite import open_readonly, open_spool
from tideover.spool.sqlite.background import mark_suspect, suspect_mark
from tideover.spool.sqlite.upkeep import Upkeep

ROWS = "SELECT (SELECT count(*) FROM chunk), (SELECT count(*) FROM staging)"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "spool.db"


def with_spool(path, test, events=None):
    """Open, run, close. Returns what the test returns."""
    seen = [] if events is None else events

    async def main():
        spool = await open_spool(path, sink=seen.append)
        try:
            return await test(spool)
        finally:
            await spool.close()

    return asyncio.run(main())


def change(path, sql, *values):
    """Tamper with the database behind the spool's back."""
    conn = sqlite3.connect(path)
    with conn:
        assert conn.execute(sql, values).rowcount != 0
    conn.close()


def refused(path):
    with pytest.raises(SpoolUnusable) as caught:
        with_spool(path, lambda spool: asyncio.sleep(0))
    text = str(caught.value)
    assert str(path.parent) in text
    assert "\n" not in text
    return text


# What is refused


def test_a_file_of_another_kind_is_refused_and_left_alone(path):
    path.parent.mkdir()
    path.write_text("my diary")
    assert "not a spool" in refused(path)
    assert path.read_text() == "my diary"


def test_a_database_of_another_program_is_refused(path):
    path.parent.mkdir()
    conn = sqlite3.connect(path)
    conn.execute("CREATE TABLE tune (name TEXT)")
    conn.close()
    before = path.read_bytes()
    assert "another program" in refused(path)
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused(path):
    with_spool(path, lambda spool: asyncio.sleep(0))
    conn = sqlite3.connect(path)
    conn.execute("PRAGMA user_version = 99")
    conn.close()
    assert "newer tideover" in refused(path)
    with pytest.raises(SpoolUnusable, match="newer tideover"):
        open_readonly(path)


def test_a_second_daemon_is_refused_and_the_first_goes_on(path):
    async def test(spool):
        with pytest.raises(SpoolUnusable, match="in use by another"):
            await open_spool(path, sink=print)
        await put(spool)

    with_spool(path, test)
    with_spool(path, put)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_missing_rights_are_refused(path):
    with_spool(path, lambda spool: asyncio.sleep(0))
    path.chmod(0)
    assert "right" in refused(path)


def test_a_directory_in_the_way_is_refused(path):
    path.mkdir(parents=True)
    assert "directory" in refused(path).lower()


# Opened again


def test_I1_messages_survive_closing_and_opening(path):
    async def fill(spool):
        ids = [await put(spool, body=b"x" * size) for size in (0, 10, 3 * CHUNK)]
        await claim(spool, limit=1)
        return ids

    ids = with_spool(path, fill)

    async def look(spool):
        assert [m.queue_id for m in await spool.select(Filter())] == ids
        assert await body_of(spool, ids[2]) == b"x" * 3 * CHUNK
        assert len(await spool.lost(now=NOW, all_leases=True)) == 1
        assert spool.new_id(0.0) > ids[2]

    with_spool(path, look)


def crashed_copy(path, tmp_path):
    """The files as they are now, as a crash would leave them."""
    copy = tmp_path / "crashed"
    shutil.copytree(path.parent, copy, dirs_exist_ok=True)
    return copy / path.name


def test_I1_a_crash_keeps_what_was_acknowledged_and_drops_bodies_cut_off(path, tmp_path):
    async def fill(spool):
        queue_id = await put(spool, body=b"y" * 2 * CHUNK)
        intake = spool.open(spool.new_id(NOW))
        await write(intake, b"z" * 5 * CHUNK)
        await put(spool, body=b"")
        copy = crashed_copy(path, tmp_path)
        intake.abort()
        return queue_id, copy

    queue_id, copy = with_spool(path, fill)

    async def look(spool):
        assert await body_of(spool, queue_id) == b"y" * 2 * CHUNK
        while spool._background._tasks and not spool._background._tasks[0].done():
            await asyncio.sleep(0)
        assert await spool._reader.ask(lambda c: c.execute(ROWS).fetchone()) == (2, 0)

    with_spool(copy, look)


def test_I1_nothing_is_appended_to_a_log_that_a_crash_has_left(path, tmp_path):
    """A commit that failed may have left frames there that aren't on the disk."""

    async def fill(spool):
        await put(spool)
        return crashed_copy(path, tmp_path)

    copy = with_spool(path, fill)
    log = copy.with_name("spool.db-wal")
    assert log.stat().st_size > 0

    async def look(spool):
        assert log.stat().st_size == 0
        assert len(await spool.select(Filter())) == 1

    with_spool(copy, look)


def test_closing_answers_what_was_asked_before(path):
    async def test(spool):
        waiting = asyncio.gather(*(put(spool) for _ in range(10)))
        await asyncio.sleep(0)
        await spool.close()
        ids = await waiting
        with pytest.raises(Exception, match="closed"):
            await put(spool)
        return ids

    ids = with_spool(path, test)
    with open_readonly(path) as spool:
        assert [m.queue_id for m in spool.select(Filter())] == sorted(ids)


# A waiter that goes away


def test_a_commit_given_up_before_its_batch_is_not_stored(path):
    async def test(spool):
        for size in (5, 3 * CHUNK):
            intake = spool.open(spool.new_id(NOW))
            await write(intake, b"x" * size)
            intake.commit(new_message(intake._queue_id)).cancel()
            intake.abort()
        kept = await put(spool)
        assert [m.queue_id for m in await spool.select(Filter())] == [kept]

    with_spool(path, test)
    conn = sqlite3.connect(path)
    assert conn.execute(ROWS).fetchone() == (1, 0)
    conn.close()


def test_one_work_that_fails_does_not_fail_its_batch(path):
    async def test(spool):
        twice = spool.new_id(NOW)
        answers = await asyncio.gather(
            put(spool),
            *(spool.open(twice).commit(new_message(twice)) for _ in range(2)),
            put(spool),
            return_exceptions=True,
        )
        failures = [answer for answer in answers if isinstance(answer, Exception)]
        assert len(failures) == 1
        assert len(await spool.select(Filter())) == 3

    with_spool(path, test)


def test_I6_of_work_that_fails_half_way_nothing_is_kept(path):
    def half(tx):
        tx.execute("INSERT INTO domain_hold VALUES ('x.example', 'r', 'b', 1.0)")
        raise LookupError

    async def test(spool):
        with pytest.raises(LookupError):
            await spool._call(half)
        assert not await spool.domain_holds()
        assert not spool.failing

    with_spool(path, test)


# Damage


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE chunk SET data = zeroblob(length(data)) WHERE id >> 14 = ?",
        "UPDATE chunk SET data = substr(data, 2) WHERE id >> 14 = ?",
        "DELETE FROM chunk WHERE id >> 14 = ?",
        "UPDATE message SET trace = zeroblob(3) WHERE id = ?",
        "UPDATE message SET size = size + 1 WHERE id = ?",
        "DELETE FROM message WHERE id = ?",
        "UPDATE recipient SET idx = 7 WHERE message_id = ?",
    ],
)
def test_I3_a_damaged_message_goes_to_quarantine_and_the_others_are_claimed(path, damage):
    async def fill(spool):
        return [await put(spool) for _ in range(3)]

    ids = with_spool(path, fill)
    conn = sqlite3.connect(path)
    numbers = [row[0] for row in conn.execute("SELECT id FROM message ORDER BY id")]
    conn.close()
    change(path, damage, numbers[1])
    events = []

    async def look(spool):
        assert [c.message.queue_id for c in await claim(spool)] == [ids[0], ids[2]]
        assert [q.queue_id for q in await spool.quarantined()] == [ids[1]]
        assert await spool.show(ids[1]) is None
        assert [m.queue_id for m in await spool.select(Filter())] == [ids[0], ids[2]]

    with_spool(path, look, events)
    assert [event.message for event in events] == [ids[1]]
    assert isinstance(events[0], DamageSeen)


def test_the_next_take_the_place_of_damaged_ones_in_a_claim(path):
    async def fill(spool):
        return [await put(spool, at=NOW + n) for n in range(6)]

    ids = with_spool(path, fill)
    change(path, "UPDATE message SET crc = crc + 1 WHERE id < ?", id_number(ids[3]))

    async def look(spool):
        claims = await claim(spool, limit=2)
        assert [c.message.queue_id for c in claims] == ids[3:5]
        assert len(await spool.quarantined()) == 3
        assert len(await claim(spool, limit=2)) == 1

    with_spool(path, look)


def test_I3_damage_found_while_reading_goes_to_quarantine(path):
    async def fill(spool):
        return await put(spool, body=b"v" * 9 * CHUNK)

    queue_id = with_spool(path, fill)
    change(path, "UPDATE chunk SET data = zeroblob(65536) WHERE id % 16384 = 6")
    events = []

    async def look(spool):
        await claim(spool)
        with pytest.raises(MessageDamaged, match="piece 6"):
            await body_of(spool, queue_id)
        assert await spool.show(queue_id) is None
        (found,) = await spool.quarantined()
        assert (found.queue_id, found.size) == (queue_id, 9 * CHUNK)
        await spool.restore(queue_id, now=NOW)
        assert not await spool.quarantined()
        message = await spool.show(queue_id)
        assert message.recipients[0].state is State.HELD
        assert len(await body_of(spool, queue_id)) == 9 * CHUNK

    with_spool(path, look, events)
    assert len(events) == 1


def test_damage_found_while_listing_goes_to_quarantine(path):
    queue_id = with_spool(path, put)
    change(path, "UPDATE message SET meta = zeroblob(9)")

    async def look(spool):
        assert not await spool.select(Filter())
        while not await spool.quarantined():
            await asyncio.sleep(0)
        with pytest.raises(ValueError, match="metadata"):
            await spool.restore(queue_id, now=NOW)
        assert len(await spool.quarantined()) == 1
        with pytest.raises(KeyError):
            await spool.restore(spool.new_id(NOW), now=NOW)

    with_spool(path, look)


def test_what_lost_a_piece_is_not_restored(path):
    async def fill(spool):
        return await put(spool, body=b"v" * 3 * CHUNK)

    queue_id = with_spool(path, fill)
    change(path, "DELETE FROM chunk WHERE id % 16384 = 1")

    async def look(spool):
        with pytest.raises(MessageDamaged):
            await body_of(spool, queue_id)
        with pytest.raises(ValueError, match="piece 1"):
            await spool.restore(queue_id, now=NOW)
        assert len(await spool.quarantined()) == 1

    with_spool(path, look)


def tear(path, table, pages=1):
    """Overwrite leaf pages in the middle of a table with noise."""
    conn = sqlite3.connect(path)
    size = conn.execute("PRAGMA page_size").fetchone()[0]
    found = [
        row[0]
        for row in conn.execute(
            "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path", (table,)
        )
    ]
    conn.close()
    middle = len(found) // 2
    with path.open("r+b") as file:
        for page in found[middle : middle + pages]:
            file.seek((page - 1) * size)
            file.write(b"\xa5" * size)


def has_dbstat():
    with closing(sqlite3.connect(":memory:")) as conn:
        try:
            conn.execute("SELECT * FROM dbstat")
        except sqlite3.OperationalError:
            return False
        return True


@pytest.mark.skipif(not has_dbstat(), reason="this SQLite can't tell which page is whose")
@pytest.mark.parametrize("table", ["message", "recipient", "chunk", "recipient_queued"])
def test_I3_a_torn_database_is_set_aside_and_read_out(path, table):
    async def fill(spool):
        ids = await asyncio.gather(*(put(spool, body=b"%d" % n * 900) for n in range(600)))
        await spool.hold_domain(DomainHold(domain="x.example", reason="r", by="b", since=1.0))
        return sorted(ids)

    ids = with_spool(path, fill)
    tear(path, table)
    events = []

    async def look(spool):
        kept = [m.queue_id for m in await spool.select(Filter())]
        damaged = [q.queue_id for q in await spool.quarantined()]
        (told,) = (event for event in events if isinstance(event, SpoolSalvaged))
        assert (told.copied, told.quarantined) == (len(kept), len(damaged))
        assert Path(told.set_aside).exists()
        assert sorted(kept + damaged) == ids
        assert len(kept) > 100
        assert (table == "recipient_queued") == (not damaged)
        for queue_id in kept:
            body = await body_of(spool, queue_id)
            assert body == b"%d" % ids.index(queue_id) * 900
        assert len(await spool.domain_holds()) == 1
        assert len(await claim(spool, limit=1000)) == len(kept)
        await put(spool)

    with_spool(path, look, events)


@pytest.mark.skipif(not has_dbstat(), reason="this SQLite can't tell which page is whose")
@pytest.mark.parametrize(
    ("broken", "calls"),
    [
        ("tideover.spool.sqlite.salvage._copy", 250),
        *(("tideover.spool.sqlite.salvage.sync_directory", call) for call in (1, 2, 3)),
        *(("pathlib.Path.rename", call) for call in (1, 2, 3, 4)),
    ],
)
def test_I1_a_salvage_that_was_broken_off_loses_nothing(path, monkeypatch, broken, calls):
    async def fill(spool):
        return sorted(await asyncio.gather(*(put(spool, body=b"%d" % n * 900) for n in range(300))))

    ids = with_spool(path, fill)
    tear(path, "recipient_queued")
    path.with_name(path.name + "-wal").touch()  # there is something to be renamed with it
    whole, left = pydoc.locate(broken), iter(range(calls))

    def no_room(*values):
        if next(left, None) is None:
            raise OSError(28, "No space left on device")
        return whole(*values)

    monkeypatch.setattr(broken, no_room)
    next(left)
    with pytest.raises(SpoolUnusable, match="No space left"):
        with_spool(path, lambda spool: asyncio.sleep(0))
    monkeypatch.undo()
    assert not list(path.parent.glob("*.copying*"))

    async def look(spool):
        return [m.queue_id for m in await spool.select(Filter())]

    assert with_spool(path, look) == ids
    assert with_spool(path, look) == ids
    (aside,) = (p for p in path.parent.glob("*.damaged-*") if not p.name.endswith(("-wal", "-shm")))
    assert not aside.name.endswith(".copied")


@pytest.mark.parametrize(
    ("column", "kept", "quarantined"),
    [
        ("message.meta", 2, 1),
        ("recipient.state", 2, 1),
        ("recipient.domain", 2, 1),
        ("chunk.data", 2, 1),
        ("domain_hold.reason", 3, 0),
    ],
)
def test_I1_rows_that_are_none_of_ours_do_not_end_a_salvage(path, column, kept, quarantined):
    async def fill(spool):
        for _ in range(3):
            await put(spool, to=("a@here.example", "b@here.example"))
        await spool.hold_domain(DomainHold(domain="x.example", reason="r", by="b", since=1.0))

    with_spool(path, fill)
    table, _, name = column.partition(".")
    with closing(sqlite3.connect(path)) as conn:
        find = "SELECT sql FROM sqlite_schema WHERE name = ?"
        schema = conn.execute(find, (table,)).fetchone()[0]
    key = {"recipient": "message_id * 2 + idx", "domain_hold": "domain"}.get(table, "id")
    where = f"{key} = (SELECT max({key}) FROM {table})"
    put_schema = "UPDATE sqlite_schema SET sql = ? WHERE name = ?"
    for sql, values in (
        (put_schema, (schema.replace("NOT NULL", ""), table)),
        (f"UPDATE {table} SET {name} = NULL WHERE {where}", ()),
        (put_schema, (schema, table)),
    ):
        with closing(sqlite3.connect(path)) as conn, conn:
            conn.execute("PRAGMA writable_schema = ON")
            assert conn.execute(sql, values).rowcount == 1

    async def look(spool):
        return len(await spool.select(Filter())), len(await spool.quarantined())

    assert with_spool(path, look) == (kept, quarantined)


def test_a_schema_that_cannot_be_read_is_told(path):
    with_spool(path, put)
    for damaged in (b"STRIBT", b"STRI\xffT"):
        path.write_bytes(path.read_bytes().replace(b"STRICT", damaged, 1))
        events = []
        with_spool(path, put, events)
        (told,) = events
        assert "no table can be read" in told.reason
        assert damaged in Path(told.set_aside).read_bytes()


def test_damage_that_a_statement_comes_upon_is_mended_at_the_next_start(path):
    async def fill(spool):
        queue_id = await put(spool)
        later = to(State.DEFERRED, not_before=NOW)
        await spool.settle([settled(queue_id, later)], now=NOW)

    with_spool(path, fill)
    index = ("recipient_deferred",)
    with closing(sqlite3.connect(path)) as conn:
        (row,) = conn.execute("SELECT * FROM sqlite_schema WHERE name = ?", index).fetchall()
    for sql, values in (
        ("DELETE FROM sqlite_schema WHERE name = ?", index),
        ("UPDATE recipient SET not_before = not_before - 1", ()),
        ("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", row),
    ):  # each with a connection of its own, which knows the schema as it is then
        with closing(sqlite3.connect(path)) as conn, conn:
            conn.execute("PRAGMA writable_schema = ON")
            conn.execute(sql, values)

    async def wake(spool):
        await spool.wake(now=NOW + 1)
        return len(await claim(spool))

    events = []
    with pytest.raises(SpoolUnavailable, match="the next start"):
        with_spool(path, wake)
    assert with_spool(path, wake, events) == 1
    assert isinstance(events[0], SpoolSalvaged)
    assert not suspect_mark(path).exists()


def test_I3_a_text_that_is_none_holds_up_no_other_message(path):
    async def fill(spool):
        return [await put(spool, at=NOW + n) for n in range(3)]

    ids = with_spool(path, fill)
    for column in ("last_reply", "last_host", "reason", "address"):
        change(
            path,
            f"UPDATE recipient SET {column} = CAST(x'34ff31' AS TEXT) WHERE message_id = ?",
            id_number(ids[1]),
        )

    async def look(spool):
        assert [m.queue_id for m in await spool.select(Filter())] == ids
        return [c.message.queue_id for c in await claim(spool)]

    assert with_spool(path, look) == ids


@pytest.mark.skipif(not has_dbstat(), reason="this SQLite can't tell which page is whose")
def test_what_lies_on_both_sides_of_the_damage_is_found(path):
    async def fill(spool):
        return sorted(await asyncio.gather(*(put(spool) for _ in range(600))))

    ids = with_spool(path, fill)
    tear(path, "message")
    tear(path, "recipient")

    async def look(spool):
        kept = [m.queue_id for m in await spool.select(Filter())]
        assert {ids[0], ids[-1]} <= set(kept) <= set(ids)

    with_spool(path, look)


def test_a_file_found_damaged_is_checked_whole_at_the_next_start(path):
    with_spool(path, put)
    mark_suspect(path)
    with_spool(path, lambda spool: asyncio.sleep(0))
    assert not suspect_mark(path).exists()


@pytest.mark.skipif(not has_dbstat(), reason="this SQLite can't tell which page is whose")
def test_the_check_goes_on_in_the_background(path, monkeypatch):
    async def fill(spool):
        await asyncio.gather(*(put(spool, body=b"%d" % n * 900) for n in range(200)))

    with_spool(path, fill)
    tear(path, "chunk")
    monkeypatch.setattr("tideover.spool.sqlite.opening._look", lambda path: (None, False))
    events = []

    async def wait(spool):
        while not events:
            await asyncio.sleep(0.001)

    with_spool(path, wait, events)
    assert isinstance(events[0], SpoolTrouble)
    assert suspect_mark(path).exists()
    monkeypatch.undo()
    with_spool(path, lambda spool: asyncio.sleep(0), events)
    assert isinstance(events[1], SpoolSalvaged)


# Offline


def test_reading_without_a_daemon(path):
    with pytest.raises(SpoolUnusable, match="no spool yet"):
        open_readonly(path)

    async def fill(spool):
        queue_id = await put(spool, body=b"x" * 2 * CHUNK)
        await spool.hold_domain(DomainHold(domain="x.example", reason="r", by="b", since=1.0))
        with open_readonly(path) as beside:
            assert beside.show(queue_id) == await spool.show(queue_id)
        return queue_id

    queue_id = with_spool(path, fill)
    with open_readonly(path) as spool:
        assert spool.counts()[0].queued == 1
        assert [m.queue_id for m in spool.select(Filter())] == [queue_id]
        assert b"".join(spool.read(queue_id)) == b"x" * 2 * CHUNK
        assert b"".join(spool.read(queue_id, CHUNK)) == b"x" * CHUNK
        assert len(spool.domain_holds()) == 1
        assert not spool.quarantined()
        with pytest.raises(KeyError):
            list(spool.read("x"))


# Upkeep


def test_disk_is_given_back_after_an_outage(path, monkeypatch):
    monkeypatch.setattr("tideover.spool.sqlite.upkeep._KEEP_PAGES", 10)
    monkeypatch.setattr("tideover.spool.sqlite.upkeep._PATIENCE", 0.01)
    steps = []
    step = Upkeep.step
    monkeypatch.setattr(Upkeep, "step", lambda *args: steps.append(step(*args)))

    async def test(spool):
        await asyncio.gather(*(put(spool, body=b"x" * 50_000) for _ in range(100)))
        while path.stat().st_size < 5_000_000:
            await asyncio.sleep(0.001)
        claims = await claim(spool, limit=1000)
        await spool.settle(
            [settled(c.message.queue_id, to(State.DELIVERED)) for c in claims], now=NOW
        )
        while path.stat().st_size > 500_000 or spool._writer.upkeep.free_pages > 10:
            await asyncio.sleep(0.001)
        assert len(steps) < 20  # many pages a step

    with_spool(path, test)
