"""Small messages go in by one statement, others by several; what is stored is the same."""

import asyncio
import gc
import sqlite3
import time
from contextlib import asynccontextmanager, closing

import pytest

from tideover.message.envelope import Client, Envelope, NewMessage, Recipient
from tideover.spool.interface import CHUNK, SpoolFull
from tideover.spool.sqlite import open_spool
from tideover.spool.sqlite.accept import Accept, Discard, Stage
from tideover.spool.sqlite.rows import MAX_CHUNKS


@asynccontextmanager
async def opened(path):
    spool = await open_spool(path, sink=lambda _event: None)
    try:
        yield spool
    finally:
        await spool.close()


def message(queue_id, recipients):
    rows = tuple(
        Recipient(address=f"u{n}@d.example", domain="d.example") for n in range(recipients)
    )
    return NewMessage(
        queue_id=queue_id,
        received_at=5.0,
        envelope=Envelope(sender="s@e.example", recipients=rows),
        client=Client(session="s1", address="192.0.2.1", port=1, helo="h", protocol="ESMTP"),
        trace=b"Received: x\r\n",
    )


@pytest.mark.parametrize(
    ("recipients", "size", "single"),
    [(1, 10, True), (1, CHUNK, True), (2, 10, False), (1, CHUNK + 1, False), (1, 0, False)],
)
def test_both_ways_in_store_the_same(tmp_path, monkeypatch, recipients, size, single):
    taken = []
    statement = Accept.single_statement.__func__

    def spy(cls, works):
        taken.append(found := statement(cls, works))
        return found

    monkeypatch.setattr(Accept, "single_statement", classmethod(spy))
    body = b"x" * size

    async def main():
        async with opened(tmp_path / "spool.sqlite") as spool:
            ids = [spool.new_id(time.time()) for _ in range(5)]
            intakes = [spool.open(queue_id) for queue_id in ids]
            for intake in intakes:
                if (wait := intake.write(body)) is not None:
                    await wait
            await asyncio.gather(
                *(
                    intake.commit(message(queue_id, recipients))
                    for queue_id, intake in zip(ids, intakes, strict=True)
                )
            )
            for queue_id in ids:
                stored = await spool.show(queue_id)
                expected = message(queue_id, recipients)
                assert (stored.envelope, stored.client, stored.trace, stored.size) == (
                    expected.envelope, expected.client, expected.trace, size)  # fmt: skip
                assert [row.state for row in stored.recipients] == ["queued"] * recipients
                assert b"".join([piece async for piece in spool.read(queue_id)]) == body
            (count,) = await spool.counts()
            assert count.queued == 5 * recipients

    asyncio.run(main())
    assert any(found is not None for found in taken) is single


@pytest.fixture
def first_chunk_fails(monkeypatch):
    """The disk has no room for the first chunk of a body, but for all that is written later."""
    stage = Stage.apply.__func__

    def apply(cls, tx, works):
        if any(work.row[0] % MAX_CHUNKS == 0 for work in works):
            raise SpoolFull("no room")
        stage(cls, tx, works)

    monkeypatch.setattr(Stage, "apply", classmethod(apply))


def test_I6_a_message_is_refused_when_a_chunk_on_its_way_was(tmp_path, first_chunk_fails):
    async def main():
        async with opened(tmp_path / "spool.sqlite") as spool:
            intake = spool.open(queue_id := spool.new_id(time.time()))
            assert intake.write(b"x" * (CHUNK + 1)) is None  # nobody waits for this chunk
            with pytest.raises(SpoolFull):
                await intake.commit(message(queue_id, 1))
            assert await spool.show(queue_id) is None

    asyncio.run(main())


def test_I6_an_aborted_body_leaves_no_chunk_whichever_of_them_failed(tmp_path, first_chunk_fails):
    path = tmp_path / "spool.sqlite"

    async def main():
        async with opened(path) as spool:
            intake = spool.open(spool.new_id(time.time()))
            with pytest.raises(SpoolFull):
                await intake.write(b"x" * (3 * CHUNK))
            intake.abort()

    asyncio.run(main())
    with closing(sqlite3.connect(path)) as conn:
        for table in ("chunk", "staging"):
            assert conn.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_I6_what_a_full_disk_kept_of_an_aborted_body_goes_later(tmp_path, monkeypatch, caplog):
    """The disk that has no room for a body has none for its deletion either."""
    path = tmp_path / "spool.sqlite"
    discard, failures = Discard.apply.__func__, iter((SpoolFull("no room"), SpoolFull("no room")))

    def apply(cls, tx, works):
        if (failure := next(failures, None)) is not None:
            raise failure
        discard(cls, tx, works)

    monkeypatch.setattr(Discard, "apply", classmethod(apply))
    monkeypatch.setattr("tideover.spool.sqlite.accept._DISCARD_AGAIN", 0.01)

    async def main():
        async with opened(path) as spool:
            intake = spool.open(spool.new_id(time.time()))
            await intake.write(b"x" * (3 * CHUNK))
            intake.abort()
            while rows():
                await asyncio.sleep(0.01)

    def rows():
        with closing(sqlite3.connect(path)) as conn:
            return conn.execute("SELECT id FROM chunk UNION SELECT id FROM staging").fetchall()

    asyncio.run(asyncio.wait_for(main(), 10))
    assert not rows()
    gc.collect()
    assert not caplog.records


def test_chunks_that_fail_unwaited_for_are_no_noise(tmp_path, monkeypatch, caplog):
    def apply(cls, tx, works):
        raise SpoolFull("no room")

    monkeypatch.setattr(Stage, "apply", classmethod(apply))

    async def main():
        async with opened(tmp_path / "spool.sqlite") as spool:
            intake = spool.open(spool.new_id(time.time()))
            with pytest.raises(SpoolFull):
                await intake.write(b"x" * (3 * CHUNK))
            intake.abort()

    asyncio.run(main())
    gc.collect()
    assert not caplog.records
