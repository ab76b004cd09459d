"""What a primary hears of who sent the queued mail: over sockets, with the whole dispatcher."""

import asyncio

import pytest
from msgspec.structs import replace
from outbound_rig import BODY, CLIENT, TRACE, Rig, Routes, route_to, run, settings

from tideover.dns.client_names import ClientNames
from tideover.events import delivery_records
from tideover.outbound.connection import Connection, ConnectionFailed
from tideover.primary.interface import NextHop
from tideover.smtp.client_values import Command
from tideover.spool.interface import State
from tideover.testing.peer import Peer, Reaction

XCLIENT = ["PIPELINING", "8BITMIME", "XCLIENT NAME ADDR PORT PROTO HELO"]
XFORWARD = ["PIPELINING", "8BITMIME", "XFORWARD NAME ADDR PORT PROTO HELO SOURCE"]
OTHER = replace(CLIENT, address="2001:db8::2", helo="other.example")
LARGE = (b"x" * 998 + b"\r\n") * 300


class Front:
    """Behaves as Postfix does: who has been told of a client has no right to tell of another."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.told: dict[int, str] = {}
        self.seen: dict[int, list[str]] = {}

    def __call__(self, step):
        if step.verb == "XCLIENT":
            if step.connection in self.told:
                return Reaction("550 5.7.0 Error: insufficient authorization")
            self.told[step.connection] = step.argument.split(" ")[0]
            return Reaction("220 peer.example ESMTP")
        if step.verb == "EHLO" and step.connection in self.told:
            return Reaction("250-peer.example\n250-PIPELINING\n250 8BITMIME")
        if step.verb == "MAIL":
            who = self.told.get(step.connection, "nobody")
            self.seen.setdefault(step.connection, []).append(f"{who} {step.argument}")
        return None


@pytest.mark.parametrize("pipelining", [True, False])
def test_each_message_comes_in_the_name_of_its_own_client(pipelining: bool) -> None:
    async def scenario():
        async with Peer(XCLIENT if pipelining else XCLIENT[1:]) as peer:
            peer.behave = front = Front(peer)
            rig = Rig(route_to(peer.port), max_connections=2)
            for number in range(6):
                client = (CLIENT, OTHER, replace(CLIENT, port=number))[number % 3]
                await rig.put(
                    sender=f"s{number}@example.net", client=client, body=LARGE * (number // 4)
                )
            async with rig.running():
                await rig.told(delivery_records.Delivered, 6)
            seen = sorted(line for lines in front.seen.values() for line in lines)
            assert [line.split(" ")[0] for line in seen] == ["ADDR=192.0.2.1"] * 4 + [
                "ADDR=IPV6:2001:db8::2"
            ] * 2
            assert all(("s1@" in line or "s4@" in line) == ("IPV6" in line) for line in seen)
            assert "EHLO other.example" in peer.commands
            # the first client's four messages share connections
            assert peer.connections <= 5

    run(scenario)


def test_a_primary_that_wants_a_name_hears_what_dns_says() -> None:
    async def look_up(address: str) -> ClientNames:
        return ClientNames("one.example.net", f"{address} never told")

    async def scenario():
        async with Peer(XCLIENT) as peer:
            peer.behave = Front(peer)
            rig = Rig(route_to(peer.port), look_up=look_up)
            await rig.put()
            async with rig.running():
                await rig.told(delivery_records.Delivered)
            (said,) = [line for line in peer.commands if line.startswith("XCLIENT")]
            assert said == (
                "XCLIENT ADDR=192.0.2.1 PORT=[UNAVAILABLE] PROTO=ESMTP NAME=one.example.net HELO=c"
            )

    run(scenario)


def test_dead_dns_does_not_hold_up_what_waits() -> None:
    async def look_up(_address: str) -> ClientNames:
        await asyncio.sleep(60)
        raise AssertionError

    async def scenario():
        async with Peer(XCLIENT) as peer:
            peer.behave = Front(peer)
            rig = Rig(route_to(peer.port), look_up=look_up)
            await rig.put()
            async with rig.running(), asyncio.timeout(1.9):
                await rig.told(delivery_records.Delivered)
            assert any("NAME=[TEMPUNAVAIL]" in line for line in peer.commands)

    run(scenario)


def test_names_are_asked_for_before_their_turn_comes() -> None:
    asked: list[str] = []

    async def look_up(address: str) -> ClientNames:
        asked.append(address)
        await asyncio.sleep(0.01 if asked.count(address) > 1 else 60)
        return ClientNames("known.example.net", "known.example.net")

    async def scenario():
        async with Peer(XCLIENT) as peer:
            peer.behave = Front(peer)
            rig = Rig(route_to(peer.port), look_up=look_up, max_connections=1)
            for number in range(1, 7):
                await rig.put(client=replace(CLIENT, address=f"192.0.2.{number}"))
            async with rig.running():
                await rig.told(delivery_records.Delivered, 6)
            told = [line for line in peer.commands if line.startswith("XCLIENT")]
            assert sum("known.example.net" in line for line in told) >= 5
            assert all(asked.count(f"192.0.2.{number}") <= 2 for number in range(1, 7))

    run(scenario)


def test_reports_of_our_own_come_in_our_own_name() -> None:
    async def scenario():
        async with Peer(XCLIENT) as peer:
            peer.behave = front = Front(peer)
            rig = Rig(route_to(peer.port), max_connections=1)
            ours = replace(CLIENT, address="", protocol="bounce")
            for client in (CLIENT, ours, CLIENT):
                await rig.put(client=client)
            async with rig.running():
                await rig.told(delivery_records.Delivered, 3)
            names = [line.split(" ")[0] for lines in front.seen.values() for line in lines]
            assert sorted(names) == ["ADDR=192.0.2.1"] * 2 + ["nobody"]

    run(scenario)


@pytest.mark.parametrize("capabilities", [XFORWARD, XFORWARD[1:]], ids=["pipe", "plain"])
def test_xforward_goes_before_each_mail_on_one_connection(capabilities) -> None:
    async def scenario():
        def behave(step):
            return Reaction("250 2.0.0 ok") if step.verb == "XFORWARD" else None

        async with Peer(capabilities, behave=behave) as peer:
            rig = Rig(route_to(peer.port), max_connections=1)
            for client in (CLIENT, OTHER, CLIENT):
                await rig.put(client=client)
            await rig.put(client=OTHER, body=LARGE)
            async with rig.running():
                await rig.told(delivery_records.Delivered, 4)
            assert peer.connections == 1
            verbs = [line.split(" ")[0] for line in peer.commands]
            assert verbs.count("XFORWARD") == 4
            assert all(
                verbs[index + 1] == "MAIL" for index, one in enumerate(verbs) if one == "XFORWARD"
            )
            if capabilities is XFORWARD:
                assert any(b"XFORWARD" in piece and b"DATA\r\n" in piece for piece in peer.pieces)

    run(scenario)


def test_mail_goes_though_xforward_is_refused() -> None:
    async def scenario():
        async with Peer(XFORWARD) as peer, Rig(route_to(peer.port)).running() as rig:
            for _ in range(2):
                await rig.put()
            await rig.told(delivery_records.Delivered, 2)
            assert len(peer.messages) == 2

    run(scenario)


def test_mail_goes_though_xclient_is_offered_and_then_refused() -> None:
    async def scenario():
        def behave(step):
            refusal = Reaction("550 5.7.0 Error: insufficient authorization")
            return refusal if step.verb == "XCLIENT" else None

        async with Peer(XCLIENT, behave=behave) as peer, Rig(route_to(peer.port)).running() as rig:
            await rig.put(client=CLIENT)
            await rig.put(client=OTHER)
            await rig.told(delivery_records.Delivered, 2)

    run(scenario)


@pytest.mark.parametrize("verb", ["XCLIENT", "EHLO"])
def test_a_refused_client_is_its_messages_end_and_nobody_elses(verb: str) -> None:
    async def scenario():
        def refuse(step):
            if step.verb == "XCLIENT" and (verb == "EHLO" or "192.0.2.1" not in step.argument):
                return Reaction("220 peer.example")
            if (step.verb == "XCLIENT") or (verb == "EHLO" and step.argument == CLIENT.helo):
                return Reaction("554 5.7.1 Client host rejected")
            return None

        async with Peer(XCLIENT, behave=refuse) as peer:
            rig = Rig(route_to(peer.port), max_connections=1)
            refused = await rig.put(client=CLIENT)
            await rig.put(client=OTHER)
            async with rig.running():
                await rig.told(delivery_records.DeadLettered)
                await rig.told(delivery_records.Delivered)
                assert [row.state for row in await rig.rows(refused)] == [State.DEAD]
            assert len(peer.messages) == 1

    run(scenario)


def test_a_4xx_to_the_client_backs_its_message_off() -> None:
    async def scenario():
        def behave(step):
            return Reaction("450 4.7.25 later") if step.verb == "XCLIENT" else None

        async with Peer(XCLIENT, behave=behave) as peer, Rig(route_to(peer.port)).running() as rig:
            queue_id = await rig.put()
            await rig.state(queue_id, State.DEFERRED)
            (row,) = await rig.rows(queue_id)
            assert row.attempts == 1

    run(scenario)


@pytest.mark.parametrize("capabilities", [XCLIENT, XFORWARD], ids=["xclient", "xforward"])
def test_strangers_hear_nothing_of_our_clients(capabilities) -> None:
    class Strangers(Routes):
        def is_ours(self, domain: str) -> bool:
            return False

    async def scenario():
        async with Peer(capabilities) as peer:
            rig = Rig(route_to(peer.port), router=Strangers())
            await rig.put()
            async with rig.running():
                await rig.told(delivery_records.Delivered)
            assert not any(line[0] == "X" for line in peer.commands)

    run(scenario)


HAZARDS = {
    "close": Reaction(close=True),
    "reset": Reaction(reset=True),
    "421": Reaction("421 4.3.2 shutting down", close=True),
    "silence": Reaction(None),
    "garbage": Reaction("hello, world"),
    "surplus": Reaction("220 ok\n250 ok\n250 ok"),
    "3xx": Reaction("334 what"),
}


@pytest.mark.parametrize("hazard", HAZARDS)
@pytest.mark.parametrize("verb", ["XCLIENT", "XFORWARD"])
def test_a_hazard_once_loses_nothing(verb: str, hazard: str) -> None:
    async def scenario():
        done = []

        def behave(step):
            if step.verb != verb:
                return None
            if not done:
                done.append(step)
                return HAZARDS[hazard]
            return Reaction("220 ok" if verb == "XCLIENT" else "250 ok")

        offers = XCLIENT if verb == "XCLIENT" else XFORWARD
        async with Peer(offers, behave=behave) as peer:
            rig = Rig(route_to(peer.port), command_timeout=0.1, data_timeout=0.1)
            async with rig.running():
                await rig.put()
                await rig.told(delivery_records.Delivered)
            assert peer.messages[-1].body == TRACE + BODY

    run(scenario)


# By hand, over a socket


async def connected(port: int, **changes) -> Connection:
    loop = asyncio.get_running_loop()
    connection = Connection(
        NextHop("peer", "127.0.0.1", port), hostname="us.example", settings=settings(**changes)
    )
    await loop.create_connection(lambda: connection, "127.0.0.1", port)
    await connection.introduced()
    return connection


MAIL = (Command.MAIL, b"MAIL FROM:<>\r\n")
RCPT = (Command.RCPT, b"RCPT TO:<u@example.com>\r\n")
DATA = (Command.DATA, b"DATA\r\n")


def test_a_transaction_by_hand_with_a_large_body_waits_for_the_socket() -> None:
    async def scenario():
        async with Peer() as peer:
            connection = await connected(peer.port)
            replies = await connection.converse([MAIL, RCPT, DATA])
            assert [reply.code for reply in replies] == [250, 250, 354]
            waits = 0
            for _ in range(40):
                wait = connection.send_body_octets(LARGE)
                if wait is not None:
                    waits += 1
                    await wait
            connection.send_body_octets(b".\r\n", last=True)
            assert (await connection.body_reply()).code == 250
            assert waits
            assert connection.usable()
            await connection.quit()
            assert peer.messages[0].body == LARGE * 40

    run(scenario)


def test_by_hand_a_server_that_falls_silent_is_given_up() -> None:
    async def scenario():
        def behave(step):
            return Reaction(None) if step.verb == "BODY" else None

        async with Peer(behave=behave) as peer:
            connection = await connected(peer.port, data_timeout=0.1)
            await connection.converse([MAIL, RCPT, DATA])
            connection.send_body_octets(b"x\r\n.\r\n", last=True)
            with pytest.raises(ConnectionFailed, match="timeout waiting for the reply to the mess"):
                await connection.body_reply()
            assert connection.body_left
            with pytest.raises(ConnectionFailed):
                await connection.converse([MAIL])

    run(scenario)


def test_by_hand_a_body_refused_half_way_is_told_with_its_reply() -> None:
    async def scenario():
        def behave(step):
            return Reaction("354 go\n552 5.3.4 too large") if step.verb == "DATA" else None

        async with Peer(behave=behave) as peer:
            connection = await connected(peer.port)
            with pytest.raises(ConnectionFailed) as failed:
                await _all_of_it(connection)
            assert failed.value.reply is not None
            assert failed.value.reply.code == 552
            assert not connection.body_left
            assert connection.send_body_octets(b"x") is None

    run(scenario)


async def _all_of_it(connection: Connection) -> None:
    await connection.converse([MAIL, RCPT, DATA])
    await connection.body_reply()


def test_by_hand_a_refused_chunk_is_the_answer() -> None:
    async def scenario():
        def behave(step):
            return Reaction("552 5.3.4 too large") if step.verb == "BDAT" else None

        async with Peer(["CHUNKING", "PIPELINING"], behave=behave) as peer:
            connection = await connected(peer.port)
            await connection.converse([MAIL, RCPT])
            connection.send_body_octets(b"BDAT 1\r\nx", chunk=True)
            assert (await connection.body_reply()).code == 552
            connection.send_body_octets(b"BDAT 1 LAST\r\nx", chunk=True, last=True)  # dropped
            (reply,) = await connection.converse([(Command.RSET, b"RSET\r\n")])
            assert reply.code == 250
            assert connection.usable()
            await connection.quit()
            assert peer.messages == []

    run(scenario)


def test_by_hand_421_is_the_servers_last_word() -> None:
    async def scenario():
        def behave(step):
            return Reaction("421 4.3.2 bye", close=True) if step.verb == "RCPT" else None

        async with Peer(behave=behave) as peer:
            connection = await connected(peer.port)
            with pytest.raises(ConnectionFailed, match="421"):
                await connection.converse([MAIL, RCPT, DATA])

    run(scenario)
