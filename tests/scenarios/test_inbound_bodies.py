"""Bodies over real sockets: in chunks against the clock, and while the daemon stops."""

import asyncio

import pytest
from inbound_rig import scenario, with_smtp
from test_inbound_passing import gated

from tideover.inbound import connection as connection_module
from tideover.inbound import patience
from tideover.smtp.replies import reply

CHUNK = b"x" * 998 + b"\r\n"


async def to_recipient(client):
    for line in (b"EHLO c.example\r\n", b"MAIL FROM:<s@example.net>\r\n",
                 b"RCPT TO:<user@example.com>\r\n"):  # fmt: skip
        assert (await client.say(line)).startswith(b"250")


@pytest.fixture
def hurried(monkeypatch):
    """The rate is asked for after 0.4 s, and looked at each 25 ms."""
    monkeypatch.setattr(patience, "RATE_GRACE", 0.4)
    monkeypatch.setattr(connection_module, "RATE_GRACE", 0.05)


@pytest.mark.usefixtures("hurried")
@scenario
@with_smtp(min_data_rate=1000)
async def test_a_chunk_that_comes_in_one_piece_with_its_command_counts(server):
    c = await server.client()
    await to_recipient(c)
    for _ in range(60):
        assert (await c.say(b"BDAT 1000\r\n" + CHUNK)).startswith(b"250")
        await asyncio.sleep(0.01)
    c.writer.write(b"BDAT 1000 LAST\r\n" + CHUNK[:1])
    await asyncio.sleep(0.1)  # long enough for a look
    assert (await c.say(CHUNK[1:])).startswith(b"250 2.0.0 Queued")


@pytest.mark.usefixtures("hurried")
@scenario
@with_smtp(min_data_rate=1000)
async def test_a_slot_cannot_be_held_by_empty_chunks(server):
    c = await server.client()
    await to_recipient(c)
    async with asyncio.timeout(5):
        while (answer := await c.say(b"BDAT 0\r\n")).startswith(b"250"):
            await asyncio.sleep(0.05)
    assert answer.startswith(b"421 4.4.2")


@scenario
@with_smtp(command_timeout=0.4, data_timeout=0.4)
async def test_a_refused_chunk_may_take_its_time(server):
    """As long as a body may: else a refusal for good becomes "try again later"."""
    c = await server.client()
    await to_recipient(c)
    c.writer.write(b"BDAT 20000001 LAST\r\n")
    for _ in range(8):
        c.writer.write(b"x" * 2_500_000)
        await asyncio.sleep(0.1)
    assert (await c.say(b"x")).startswith(b"552 5.3.4")


@pytest.mark.usefixtures("hurried")
@scenario
@with_smtp(min_data_rate=1000)
async def test_a_refused_chunk_that_comes_too_slowly_is_cut_off(server):
    c = await server.client()
    await c.say(b"EHLO c.example\r\n")
    await asyncio.sleep(0.5)  # time before it does not count
    c.writer.write(b"BDAT 1000 LAST\r\n")
    async with asyncio.timeout(5):
        while server.listeners.open:
            c.writer.write(b"x")
            await asyncio.sleep(0.01)
    # an octet that comes after the end is answered by RST, which may overtake our last words
    assert server.events[-1].reason == "too-slow"


@scenario
async def test_stopping_lets_a_body_finish_whose_pieces_are_waited_for(server):
    """As each is that the spool's writer is given."""
    server.shelf.gate = asyncio.Event()
    server.shelf.gate.set()
    c = await server.client()
    await c.to_data()
    stop = asyncio.create_task(server.listeners.stop(grace=5))
    for line in (b"x\r\n", b"y\r\n"):
        c.writer.write(line)
        await asyncio.sleep(0.02)
    assert (await c.say(b"z\r\n.\r\n")).startswith(b"250")
    assert (await c.answer()).startswith(b"421 4.3.2")
    await stop
    ((_, body),) = server.shelf.messages
    assert body == b"x\r\ny\r\nz\r\n"


@scenario
async def test_stopping_does_not_wait_behind_a_body_that_is_refused(server):
    c = await server.client()
    await c.to_data()
    stop = asyncio.create_task(server.listeners.stop(grace=60))
    await asyncio.sleep(0.02)
    assert (await c.say(b"bare\n\r\n.\r\n")).startswith(b"554 5.6.0")
    assert (await c.answer()).startswith(b"421 4.3.2")
    async with asyncio.timeout(5):
        await stop


@scenario
async def test_what_a_primary_refuses_by_chunks_is_over_there_too(server):
    """RFC 3030 §2: such a refusal ends the transaction, and with it what is held at the primary."""
    primary = gated(server)
    primary.answers["start"] = reply(554, "5.7.1", "not that")
    c = await server.client()
    await to_recipient(c)
    assert (await c.say(b"BDAT 1000 LAST\r\n" + CHUNK)).startswith(b"554 5.7.1")
    assert primary.abandoned
