"""The inbound shell over real sockets: limits, time, TLS, trouble with the spool, stopping."""

import asyncio
import smtplib
import ssl
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_network

import pytest
from inbound_rig import scenario, with_smtp

from tideover.config.values import Endpoint
from tideover.events import records
from tideover.inbound import connection as connection_module
from tideover.inbound import patience
from tideover.inbound.listener import ListenError, bind
from tideover.spool.interface import SpoolFull, SpoolUnavailable


@scenario
async def test_a_message_is_stored_and_receipted(server):
    c = await server.client()
    await c.to_data()
    answer = await c.say(b"Hello\r\n..dot\r\n.\r\n")
    ((message, body),) = server.shelf.messages
    assert body == b"Hello\r\n.dot\r\n"
    assert answer == b"250 2.0.0 Queued as %s\r\n" % message.queue_id.encode()
    assert message.trace.startswith(b"Received: from c.example ([127.0.0.1])\r\n")
    assert b"with ESMTP\r\n" in message.trace
    assert (await c.say(b"QUIT\r\n")).startswith(b"221")
    assert await c.closed()
    await asyncio.sleep(0.01)
    assert server.names()[1:] == ["SessionOpened", "MessageAccepted", "SessionClosed"]
    assert server.events[-1].reason == "quit"
    assert server.events[-1].accepted == 1


@scenario
async def test_refused_recipients_are_answered_and_logged(server):
    c = await server.client()
    await c.say(b"EHLO x\r\n")
    await c.say(b"MAIL FROM:<s@example.net>\r\n")
    assert (await c.say(b"RCPT TO:<nobody@example.com>\r\n")).startswith(b"550 5.1.1")
    for address in (b"a@example.net", b"user%example.net@example.net",
                    b"@example.com:a@example.net",
                    b'"user@example.com"@example.net', b"user@[127.0.0.1]"):  # fmt: skip
        assert (await c.say(b"RCPT TO:<" + address + b">\r\n")).startswith(b"554 5.7.1")
    assert server.names().count("CommandRefused") == 6
    assert (await c.say(b"DATA\r\n")).startswith(b"554 5.5.1")


@scenario
async def test_postmaster_without_a_domain_exists(server):
    server.house.postmaster_domain = "example.com"
    c = await server.client()
    await c.say(b"EHLO x\r\n")
    await c.say(b"MAIL FROM:<>\r\n")
    assert (await c.say(b"RCPT TO:<Postmaster>\r\n")).startswith(b"250")
    await c.say(b"DATA\r\n")
    await c.say(b".\r\n")
    assert server.shelf.messages[0][0].envelope.recipients[0].address == "Postmaster@example.com"


@pytest.mark.parametrize(
    ("error", "code"), [(SpoolFull("no"), b"452 4.3.1"), (SpoolUnavailable("x"), b"451 4.3.0")]
)
def test_a_spool_in_trouble_is_a_temporary_failure_and_passes(tmp_path, error, code):
    @scenario
    async def run(server):
        server.shelf.commit_error = error
        c = await server.client()
        await c.to_data()
        assert (await c.say(b"x\r\n.\r\n")).startswith(code)
        server.shelf.commit_error = None
        server.shelf.write_error = error
        await c.to_data()
        assert (await c.say(b"x\r\n.\r\n")).startswith(code)
        assert server.shelf.aborted >= 2
        server.shelf.write_error = None
        await c.to_data()
        assert (await c.say(b"x\r\n.\r\n")).startswith(b"250")
        assert server.names().count("MessageRefused") == 2

    run(tmp_path)


@scenario
async def test_a_disk_that_fills_up_while_a_body_comes(server):
    c = await server.client()
    await c.to_data()
    c.writer.write(b"x" * 998 + b"\r\n")
    await asyncio.sleep(0.02)
    server.house.admission.min_free = 10**13
    assert (await c.say(b"y\r\n.\r\n")).startswith(b"452 4.3.1")
    assert server.shelf.messages == []
    assert server.shelf.aborted == 1


@scenario
async def test_a_loop_is_refused(server):
    c = await server.client()
    await c.to_data()
    assert (await c.say(b"Received: x\r\n" * 101 + b"\r\n.\r\n")).startswith(b"554 5.4.6")
    assert server.shelf.messages == []


@scenario
async def test_back_pressure_reaches_the_socket(server):
    """While the spool is slow, only a bounded part of a big body is read."""
    server.shelf.gate = asyncio.Event()
    c = await server.client()
    await c.to_data()
    body = (b"x" * 998 + b"\r\n") * 16_000
    c.writer.write(body + b".\r\n")
    await asyncio.sleep(0.3)
    (connection,) = server.listeners._connections
    assert connection._session.buffered < 2 * connection_module.READ_AHEAD + 256 * 1024
    server.shelf.gate.set()
    async with asyncio.timeout(20):
        assert (await c.answer()).startswith(b"250")
    assert server.shelf.messages[0][1] == body


@pytest.mark.slow
@scenario
async def test_a_client_that_does_not_read_is_not_served_on(server):
    c = await server.client()
    await c.say(b"EHLO c.example\r\n")
    one = b"MAIL FROM:<>\r\nRCPT TO:<user@example.com>\r\nBDAT 0 LAST\r\n"
    c.writer.write(one * 200_000)
    before = -1
    async with asyncio.timeout(20):
        while len(server.shelf.messages) != before:
            before = len(server.shelf.messages)
            await asyncio.sleep(0.2)
    assert before < 200_000
    (connection,) = server.listeners._connections
    assert connection._transport.get_write_buffer_size() < 500_000
    assert connection._session.buffered < 1_000_000


@scenario
@with_smtp(command_timeout=0.2, unlimited_clients=())
async def test_idle_and_dripping_clients_are_cut_off(server):
    idle, drip = await server.client(), await server.client()

    async def dripping():
        for octet in b"EHLO c.example.with.a.long.name":
            drip.writer.write(bytes([octet]))
            await asyncio.sleep(0.05)

    task = asyncio.create_task(dripping())
    assert (await idle.answer()).startswith(b"421 4.4.2")
    assert await idle.closed()
    # an octet that comes after the end is answered by RST, which may overtake our last words
    with suppress(ConnectionResetError):
        assert (await drip.answer()).startswith(b"421 4.4.2")
        assert await drip.closed()
    task.cancel()
    assert {e.reason for e in server.events if isinstance(e, records.SessionClosed)} == {"timeout"}


def test_a_body_that_comes_too_slowly_is_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "RATE_GRACE", 0.2)

    @scenario
    @with_smtp(min_data_rate=10_000)
    async def run(server):
        c = await server.client()
        await c.to_data()
        async with asyncio.timeout(5):
            while not c.reader._buffer and not c.reader.at_eof():
                c.writer.write(b"x\r\n")
                await asyncio.sleep(0.02)
        with suppress(ConnectionResetError):  # by what came after the end, as above
            assert (await c.answer()).startswith(b"421 4.4.2")
        async with asyncio.timeout(5):
            while server.listeners.open:
                await asyncio.sleep(0.01)
        assert server.events[-1].reason == "too-slow"
        assert server.shelf.messages == []

    # the clock of the rate is looked at when the data timeout is checked: make that soon
    monkeypatch.setattr(
        connection_module.Connection, "_arm",
        lambda self, _d: setattr(self, "_timer", self._loop.call_later(0.1, self._check_time)),
    )  # fmt: skip
    run(tmp_path)


@scenario
@with_smtp(max_connections=3, max_connections_per_client=1)
async def test_connections_are_limited_per_network_and_in_all(server):
    server.house.limits.reconfigure(
        replace(server.house.config.smtp, unlimited_clients=(ip_network("127.0.0.1/32"),))
    )
    first = await server.client(source="127.0.0.2")
    second = await server.client(source="127.0.0.2", greet=False)
    assert (await second.answer()).startswith(b"421 4.7.0")
    assert await second.closed()
    await server.client()
    await server.client()
    assert (await (await server.client(greet=False)).answer()).startswith(b"421 4.7.0")
    await first.say(b"QUIT\r\n")
    await asyncio.sleep(0.01)
    await server.client(source="127.0.0.2")


@scenario
@with_smtp(proxy_protocol_from=(ip_network("127.0.0.1/32"),))
async def test_proxy_protocol(server):
    c = await server.client(greet=False)
    c.writer.write(b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 25\r\n")
    assert (await c.answer()).startswith(b"220")
    await c.to_data()
    await c.say(b".\r\n")
    assert server.shelf.messages[0][0].client.address == "192.0.2.7"
    rude = await server.client(greet=False)
    rude.writer.write(b"EHLO x\r\n")
    assert await rude.closed()
    assert server.names()[-1] == "ConnectionRefused"


@scenario
async def test_starttls_and_what_is_injected_before_it(server):
    port = server.port

    def talk():
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with smtplib.SMTP("127.0.0.1", port, timeout=5) as client:
            client.ehlo("c.example")
            client.sock.sendall(b"STARTTLS\r\nRSET\r\nMAIL FROM:<evil@example.net>\r\n")
            assert client.getreply()[0] == 220
            client.sock = context.wrap_socket(client.sock)
            client.file = None
            assert client.docmd("MAIL", "FROM:<a@b.c>")[0] == 503  # EHLO is needed anew
            client.ehlo("c.example")
            assert "starttls" not in client.esmtp_features
            client.sendmail("s@example.net", ["user@example.com"], b"Hi\r\n")

    await asyncio.to_thread(talk)
    ((message, _),) = server.shelf.messages
    assert message.client.protocol == "ESMTPS"
    assert message.client.tls.startswith("TLSv1.3")
    assert b"with ESMTPS (TLSv1.3" in message.trace


@scenario
async def test_a_failed_handshake_costs_its_connection_only(server):
    c = await server.client()
    await c.say(b"EHLO x\r\n")
    await c.say(b"STARTTLS\r\n")
    c.writer.write(b"this is not TLS\r\n")
    with suppress(ConnectionResetError):
        await c.closed()
    await asyncio.sleep(0.05)
    assert "TlsFailed" in server.names()
    assert server.house.limits.total == 0
    await server.client()


@scenario
async def test_a_client_that_goes_away_in_the_handshake_leaves_its_slot(server):
    for turns in (0, 1, 2, 30):
        c = await server.client()
        await c.say(b"EHLO x\r\n")
        c.writer.write(b"STARTTLS\r\n")
        for _ in range(turns):
            await asyncio.sleep(0.001)
        c.reset()
    async with asyncio.timeout(5):
        while server.house.limits.total:
            await asyncio.sleep(0.01)
    assert server.listeners.open == 0
    assert server.names().count("SessionClosed") == 4


@scenario
async def test_stopping_breaks_a_handshake_off_without_a_word(server):
    c = await server.client()
    await c.say(b"EHLO x\r\n")
    await c.say(b"STARTTLS\r\n")
    await asyncio.sleep(0.02)
    async with asyncio.timeout(4):
        await server.listeners.stop(grace=5)
    assert await c.closed()
    assert server.events[-1].reason == "shutdown"


@scenario
async def test_stopping_lets_a_body_finish_and_sends_the_others_away(server):
    idle, busy = await server.client(), await server.client()
    await busy.to_data()
    stop = asyncio.create_task(server.listeners.stop(grace=5))
    assert (await idle.answer()).startswith(b"421 4.3.2")
    assert (await busy.say(b"x\r\n.\r\n")).startswith(b"250")
    assert (await busy.answer()).startswith(b"421 4.3.2")
    await stop
    assert len(server.shelf.messages) == 1


@scenario
async def test_stopping_does_not_wait_for_ever(server):
    busy = await server.client()
    await busy.to_data()
    await server.listeners.stop(grace=0.1)
    assert (await busy.answer()).startswith(b"421 4.3.2")


@scenario
async def test_a_client_that_goes_away_leaves_nothing_half_written(server):
    c = await server.client()
    await c.to_data()
    c.writer.write(b"half a body")
    await asyncio.sleep(0.02)
    c.writer.transport.abort()
    await asyncio.sleep(0.05)
    assert server.shelf.aborted == 1
    assert server.house.limits.total == 0


@scenario
async def test_I6_a_client_that_goes_away_while_its_body_is_written_leaves_nothing(server):
    server.shelf.gate = asyncio.Event()
    c = await server.client()
    await c.to_data()
    c.writer.write(b"half a body")
    await asyncio.sleep(0.02)
    c.reset()
    await asyncio.sleep(0.02)
    assert server.house.limits.total == 0
    server.shelf.gate.set()
    await asyncio.sleep(0.02)
    assert server.shelf.aborted == 1


@scenario
async def test_a_commit_that_fails_after_the_last_word_is_only_logged(server):
    c = await server.client()
    await c.to_data()
    server.shelf.gate = asyncio.Event()
    server.shelf.commit_error = SpoolFull("no room")
    c.writer.write(b".\r\n")
    await asyncio.sleep(0.02)
    await server.listeners.stop(grace=0.0)
    server.shelf.gate.set()
    assert (await c.answer()).startswith(b"421")
    await asyncio.sleep(0.02)
    assert "MessageRefused" in server.names()


@scenario
@with_smtp(proxy_protocol_from=(ip_network("127.0.0.1/32"),), max_connections_per_client=1)
async def test_what_follows_the_header_of_a_refused_connection_is_not_read(server):
    for expected in (b"220", b"421 4.7.0"):
        c = await server.client(greet=False)
        c.writer.write(b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 25\r\nRSET\r\n")
        assert (await c.answer()).startswith(expected)
    assert await c.closed()


def test_ports_are_bound_all_or_none(tmp_path):
    (sock,) = bind([Endpoint("127.0.0.1", 0)])
    port = sock.getsockname()[1]
    with pytest.raises(ListenError, match=f"127.0.0.1:{port}: the port is in use"):
        bind([Endpoint("127.0.0.1", 0), Endpoint("127.0.0.1", port)])
    sock.close()
