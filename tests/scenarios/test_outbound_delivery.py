"""Mail goes home: octet by octet, with its parameters, once, whatever the server is like."""

import asyncio
import time

import pytest
from msgspec.structs import replace
from outbound_rig import BODY, DOMAIN, TRACE, Rig, route_to, run

from tideover.events import delivery_records
from tideover.message.envelope import Recipient
from tideover.outbound import context
from tideover.outbound.connection import ConnectionFailed
from tideover.primary.interface import NextHop, Route
from tideover.spool.interface import State
from tideover.spool.sqlite import open_spool
from tideover.testing.peer import Peer, Reaction


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_two_writes_a_message_and_the_same_octets(loop):
    async def scenario():
        async with Peer() as peer, Rig(route_to(peer.port)).running() as rig:
            queue_id = await rig.put()
            (delivered,) = await rig.told(delivery_records.Delivered)
            assert peer.messages[0].body == TRACE + BODY
            assert len(peer.pieces) == 3  # EHLO; MAIL, RCPT and DATA; body and dot
            assert peer.connections == 1
            assert await rig.rows(queue_id) == ()
            assert delivered.message == queue_id
            assert delivered.recipients == ("user@example.com",)
            assert delivered.reply == "250 2.0.0 taken"
            assert delivered.host == f"mx{peer.port}.example[127.0.0.1]:{peer.port}"

    run(scenario, loop=loop)


def test_many_messages_in_order_on_few_connections():
    async def scenario():
        async with Peer() as peer:
            rig = Rig(route_to(peer.port), max_connections=4, first_connections=2)
            ids = [await rig.put(f"u{n}@example.com", notify=False) for n in range(200)]
            async with rig.running():
                await rig.told(delivery_records.Delivered, 200)
            assert len(peer.messages) == 200
            assert {m.rcpts[0] for m in peer.messages} == {
                f"TO:<u{n}@example.com>" for n in range(200)
            }
            assert peer.most_open <= 4
            assert peer.connections <= 8
            first = [e.message for e in rig.events if isinstance(e, delivery_records.Delivered)][
                :20
            ]
            assert set(first) <= set(ids[:40])  # in the order of arrival, roughly

    run(scenario)


def test_messages_per_connection_is_kept():
    async def scenario():
        async with Peer() as peer:
            rig = Rig(route_to(peer.port), max_connections=1, messages_per_connection=3)
            for _ in range(10):
                await rig.put(notify=False)
            async with rig.running():
                await rig.told(delivery_records.Delivered, 10)
            assert max(m.connection for m in peer.messages) == 4
            assert peer.commands.count("QUIT") >= 3

    run(scenario)


def test_announced_limit_of_messages_on_a_connection_is_kept():
    async def scenario():
        async with Peer(["PIPELINING", "LIMITS MAILMAX=2"]) as peer:
            rig = Rig(route_to(peer.port), max_connections=1)
            for _ in range(6):
                await rig.put(notify=False)
            async with rig.running():
                await rig.told(delivery_records.Delivered, 6)
            assert max(m.connection for m in peer.messages) == 3

    run(scenario)


def test_the_durable_spool_is_drained(tmp_path):
    async def scenario():
        def behave(step):
            if "gone" in step.argument:
                return Reaction("550 5.1.1 no such user")
            return Reaction("450 4.2.0 later") if "later" in step.argument else None

        async with Peer(behave=behave) as peer:
            spool = await open_spool(tmp_path / "spool.db", sink=lambda _event: None)
            rig = Rig(route_to(peer.port), spool=spool)
            large = b"x" * 500 + b"\r\n"
            for n in range(50):
                await rig.put(f"u{n}@example.com", notify=False)
            mixed = await rig.put("a@example.com", "gone@example.com", "later@example.com")
            await rig.put(body=large * 1000)
            async with rig.running():
                await rig.told(delivery_records.Delivered, 52)
                await rig.told(delivery_records.DeadLettered)
            assert max(len(m.body) for m in peer.messages) == len(TRACE) + 502_000
            assert [row.state for row in await rig.rows(mixed)] == [
                State.DELIVERED, State.DEAD, State.DEFERRED
            ]  # fmt: skip
            (count,) = await spool.counts()
            assert (count.queued, count.leased, count.deferred, count.dead) == (0, 0, 1, 1)
            await spool.close()

    run(scenario)


def test_parameters_are_passed_on():
    async def scenario():
        async with Peer() as peer, Rig(route_to(peer.port)).running() as rig:
            recipient = Recipient(
                address="a@example.com", domain=DOMAIN, notify=("NEVER",), orcpt="rfc822;b@c"
            )
            await rig.put(recipient, body=b"x: \xc3\xbc\r\n", ret="HDRS", envid="e1",
                          smtputf8=True)  # fmt: skip
            await rig.told(delivery_records.Delivered)
            assert peer.messages[0].mail.endswith(" SMTPUTF8 RET=HDRS ENVID=e1")
            assert peer.messages[0].rcpts == ["TO:<a@example.com> NOTIFY=NEVER ORCPT=rfc822;b@c"]

    run(scenario)


@pytest.mark.parametrize(
    ("capabilities", "envelope", "body", "code"),
    [
        (["PIPELINING"], {"smtputf8": True}, BODY, "5.6.7"),
        (["PIPELINING"], {"declared": "8BITMIME"}, b"\xff\r\n", "5.6.3"),
        (["PIPELINING"], {"declared": "8BITMIME"}, b"x\r\n" * 30_000 + b"\xff\r\n", "5.6.3"),
        (["SIZE 80"], {}, BODY, "5.3.4"),
    ],
)
def test_what_the_next_hop_cannot_take_is_refused_by_us(capabilities, envelope, body, code):
    async def scenario():
        async with Peer(capabilities) as peer, Rig(route_to(peer.port)).running() as rig:
            queue_id = await rig.put(body=body, **envelope)
            (refused,) = await rig.told(delivery_records.DeliveryRefused)
            assert code in refused.reply
            await rig.told(delivery_records.DeadLettered)
            assert [row.state for row in await rig.rows(queue_id)] == [State.DEAD]
            assert not peer.messages

    run(scenario)


@pytest.mark.parametrize(
    ("capabilities", "envelope", "body"),
    [
        (["PIPELINING"], {"smtputf8": True}, BODY),
        (["PIPELINING"], {"declared": "8BITMIME"}, b"\xff\r\n"),
        (["SIZE 80"], {}, BODY),
    ],
)
def test_what_another_backup_cannot_take_waits_for_the_primary(capabilities, envelope, body):
    async def scenario():
        async with Peer() as primary, Peer(capabilities) as backup:
            await primary.stop()
            here = "127.0.0.1"
            hops = (
                NextHop("mx1.example", here, primary.port, preference=10),
                NextHop("mx2.example", here, backup.port, intermediate=True, preference=20),
            )
            async with Rig(Route(key="both", hops=hops)).running() as rig:
                queue_id = await rig.put(body=body, **envelope)
                await rig.state(queue_id, State.DEFERRED)
                (row,) = await rig.rows(queue_id)
                assert not row.last_reply[:3].isdigit()  # no report quotes it as the primary's
                await primary.start()
                await asyncio.sleep(0.2)
                await backup.stop()
                await rig.dispatcher.flush()
                await rig.told(delivery_records.Delivered)
                assert (len(primary.messages), len(backup.messages)) == (1, 0)

    run(scenario)


@pytest.mark.parametrize("size", [100, 70_000])
def test_8bitmime_declared_but_not_needed_goes_to_a_7_bit_server(size):
    async def scenario():
        async with Peer(["PIPELINING"]) as peer, Rig(route_to(peer.port)).running() as rig:
            await rig.put(body=b"x" * size + b"\r\n", declared="8BITMIME")
            await rig.told(delivery_records.Delivered)
            assert "BODY" not in peer.messages[0].mail

    run(scenario)


@pytest.mark.parametrize("capabilities", [["PIPELINING"], ["SIZE"], ["PIPELINING", "CHUNKING"]])
@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 65_538, 3_000_000])
def test_bodies_of_any_size_arrive_as_they_are(capabilities, size):
    line = b"." + b"0123456789" * 7 + b"\r\n"
    body = (line * (size // len(line) + 1))[: max(0, size - 2)] + b"\r\n" if size > 1 else b""
    body = body.replace(b"\r\r", b"x\r")

    async def scenario():
        async with Peer(capabilities) as peer, Rig(route_to(peer.port)).running() as rig:
            await rig.put(body=body)
            await rig.told(delivery_records.Delivered)
            assert peer.messages[0].body == TRACE + body
            assert not peer.messages[0].bdat

    run(scenario)


@pytest.mark.parametrize("size", [1, 50, 65_536, 65_537, 65_538, 200_000])
def test_bdat_keeps_a_body_without_last_line_end(size):
    async def scenario():
        async with (
            Peer(["PIPELINING", "CHUNKING"]) as peer,
            Rig(route_to(peer.port)).running() as rig,
        ):
            await rig.put(body=b"x" * size)
            await rig.told(delivery_records.Delivered)
            assert peer.messages[0].body == TRACE + b"x" * size
            assert peer.messages[0].bdat

    run(scenario)


def test_a_slow_reader_holds_the_body_back():
    """A peer that stops reading leaves most of a large body in the spool."""

    async def scenario():
        def behave(step):
            return Reaction("354 go", stop_reading=True) if step.verb == "DATA" else None

        async with Peer(["SIZE"], behave=behave) as peer:
            rig = Rig(route_to(peer.port), data_timeout=0.5, command_timeout=0.5)
            read = []
            plain = rig.spool.read

            async def counting(queue_id, start=0):
                async for piece in plain(queue_id, start):
                    read.append(len(piece))
                    yield piece

            rig.spool.read = counting
            queue_id = await rig.put(body=b"x" * 78 * 1000 * 500 + b"\r\n")
            async with rig.running():
                await rig.told(delivery_records.PrimaryChanged, 2)  # up, then down: it timed out
                assert sum(read) < 30_000_000
            assert [row.state for row in await rig.rows(queue_id)] == [State.QUEUED]
            assert [row.attempts for row in await rig.rows(queue_id)] == [0]

    run(scenario)


def test_recipients_of_one_message_share_a_transaction():
    async def scenario():
        async with Peer() as peer, Rig(route_to(peer.port)).running() as rig:
            await rig.put(*(f"u{n}@example.com" for n in range(100)))
            (delivered,) = await rig.told(delivery_records.Delivered)
            assert len(delivered.recipients) == 100
            assert len(peer.messages) == 1

    run(scenario)


def test_limits_of_recipients_are_kept():
    async def scenario():
        capabilities = ["PIPELINING", "LIMITS RCPTMAX=40"]
        async with Peer(capabilities) as peer, Rig(route_to(peer.port)).running() as rig:
            await rig.put(*(f"u{n}@example.com" for n in range(100)))
            await rig.told(delivery_records.Delivered)
            assert [len(m.rcpts) for m in peer.messages] == [40, 40, 20]

    run(scenario)


def test_too_many_recipients_go_in_further_transactions_at_once():
    async def scenario():
        counts = {}

        def behave(step):
            if step.verb == "RCPT":
                key = (step.connection, step.message)
                counts[key] = counts.get(key, 0) + 1
                if counts[key] > 7:
                    return Reaction("452 4.5.3 too many recipients")
            return None

        async with Peer(behave=behave) as peer, Rig(route_to(peer.port)).running() as rig:
            queue_id = await rig.put(*(f"u{n}@example.com" for n in range(30)))
            (delivered,) = await rig.told(delivery_records.Delivered)
            assert [len(m.rcpts) for m in peer.messages] == [7, 7, 7, 7, 2]
            assert len(delivered.recipients) == 30
            assert await rig.rows(queue_id) == ()

    run(scenario)


def test_each_recipient_gets_its_own_end():
    async def scenario():
        def behave(step):
            if "gone" in step.argument:
                return Reaction("550 5.1.1 no such user")
            if "full" in step.argument:
                return Reaction("452 4.2.2 mailbox full")
            return None

        async with Peer(behave=behave) as peer, Rig(route_to(peer.port)).running() as rig:
            queue_id = await rig.put("gone@example.com", "good@example.com", "full@example.com")
            await rig.told(delivery_records.DeadLettered)
            await rig.state(queue_id, State.DEAD, State.DELIVERED, State.DEFERRED)
            rows = await rig.rows(queue_id)
            assert "5.1.1" in rows[0].last_reply
            assert rows[2].attempts == 1
            assert 40 < rows[2].not_before - rows[2].changed_at <= 60
            (deferred,) = await rig.told(delivery_records.DeliveryDeferred)
            assert deferred.next_attempt == rows[2].not_before
            assert peer.messages[0].rcpts == ["TO:<good@example.com>"]

    run(scenario)


def test_two_domains_of_one_primary_share_a_destination():
    async def scenario():
        async with Peer() as peer:
            route = route_to(peer.port)
            rig = Rig({"a.example": route, "b.example": route}, max_connections=1)
            await rig.put("x@a.example", "y@b.example", notify=False)
            async with rig.running():
                await rig.told(delivery_records.Delivered, 2)
                assert set(rig.dispatcher._lanes) == {"a.example", "b.example"}
            assert peer.connections == 1
            assert len(rig.routes.asked) == 2

    run(scenario)


def test_that_a_primary_is_down_is_not_known_of_a_domain_whose_route_has_run_out() -> None:
    """Without mail it is not asked for again, so the domain may have another primary by now."""

    async def scenario() -> None:
        here, gone = "here.example", "gone.example"
        async with Peer() as peer:
            soon = replace(route_to(peer.port), expires_at=time.time() + 0.5)
            rig = Rig({here: soon, gone: soon})
            async with rig.running():
                for domain in (here, gone):
                    await rig.put(f"user@{domain}")
                await rig.told(delivery_records.Delivered, 2)
                assert rig.dispatcher.primary_up(gone) is True
                assert rig.dispatcher.primary_up("never.example") is None
                await peer.__aexit__(None, None, None)
                rig.routes.table[here] = route_to(peer.port)
                await rig.put(f"user@{here}")
                async with asyncio.timeout(10):
                    while rig.dispatcher.primary_up(gone) is not None:
                        await asyncio.sleep(0.02)
                    while rig.dispatcher.primary_up(here) is not False:
                        await asyncio.sleep(0.02)
                assert rig.dispatcher.destination_up(soon.key) is False
                assert rig.dispatcher.primary_up(gone) is None

    run(scenario)


def test_a_strangers_host_that_is_down_is_not_probed_as_a_primary_is(monkeypatch):
    """Reports go to hosts that strangers name: they get the time of a message's own backoff."""

    async def scenario():
        tried = {DOMAIN: 0, "stranger.example": 0}
        rig = Rig(route_to(1))
        rig.routes.table["stranger.example"] = route_to(2)
        rig.routes.is_ours = lambda domain: domain == DOMAIN

        async def connect(hop, **_):
            tried[DOMAIN if hop.port == 1 else "stranger.example"] += 1
            raise ConnectionFailed("refused")

        monkeypatch.setattr(context, "connect", connect)
        async with rig.running():
            await rig.put("user@example.com")
            await rig.put("somebody@stranger.example")
            async with asyncio.timeout(5):
                while tried[DOMAIN] < 6:
                    await asyncio.sleep(0.02)
            assert tried["stranger.example"] == 1
            assert rig.dispatcher._context.probing == 1

    run(scenario)


def test_looking_for_what_is_forgotten_takes_little_of_the_time(monkeypatch) -> None:
    async def nothing():
        await asyncio.sleep(0.01)
        return []

    async def scenario():
        rig = Rig(route_to(1))
        monkeypatch.setattr(rig.dispatcher._healths, "sweep", lambda: time.sleep(0.3))
        monkeypatch.setattr(rig.spool, "counts", nothing)
        await rig.dispatcher._survey(1000.0)
        assert rig.dispatcher._next_survey >= 1004.0

    run(scenario)
