"""Primaries that are down, slow, broken or hostile: nothing is lost, nothing is stuck."""

import asyncio
import math
import time

import pytest
from outbound_rig import BODY, DOMAIN, TRACE, Rig, Routes, route_to, run, settings

from tideover.events import delivery_records, domain_records
from tideover.message.envelope import Client, SessionId
from tideover.outbound.connection import Connection, ConnectionFailed
from tideover.outbound.transport import connect
from tideover.primary.interface import NextHop, NoRoute, PrimaryState, Route, Trouble
from tideover.spool.interface import DomainHold, Filter, SpoolUnavailable, State
from tideover.spool.memory import MemorySpool
from tideover.testing.peer import Peer, Reaction
from tideover.testing.ports import free_port

CLIENT = Client(session=SessionId("s"), address="192.0.2.1", port=1, helo="c", protocol="SMTP")
LARGE = b"x" * 998 + b"\r\n"


def once(verb, reaction):
    """Misbehave at the first step of this verb, never again."""
    done = []

    def behave(step):
        if step.verb == verb and not done:
            done.append(step)
            return reaction
        return None

    return behave


# Anything at any step, once: the mail arrives all the same, at the latest when flushed

STEPS = ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "BODY"]
HAZARDS = {
    "close": Reaction(close=True),
    "reset": Reaction(reset=True),
    "421": Reaction("421 4.3.2 shutting down", close=True),
    "421-open": Reaction("421 4.3.2 shutting down"),
    "4xx": Reaction("450 4.2.0 not now"),
    "silence": Reaction(None),
    "garbage": Reaction("hello, world"),
    "binary": Reaction(b"\x16\x03\x01\x00\xff\n\n"),
    "bomb": Reaction(b"250-" + b"x" * 10_000_000),
    "lines": Reaction(b"250-x\r\n" * 1000 + b"250 x\r\n"),
    "surplus": Reaction("250 ok\n250 ok\n250 ok\n250 ok\n250 ok"),
    "3xx": Reaction("334 what"),
}


@pytest.mark.parametrize("capabilities", [["PIPELINING"], ["8BITMIME"]], ids=["pipe", "plain"])
@pytest.mark.parametrize("verb", STEPS)
@pytest.mark.parametrize("hazard", HAZARDS)
def test_a_hazard_once_at_any_step(hazard, verb, capabilities):
    async def scenario():
        async with Peer(capabilities, behave=once(verb, HAZARDS[hazard])) as peer:
            rig = Rig(route_to(peer.port), command_timeout=0.1, data_timeout=0.1)
            async with rig.running():
                queue_id = await rig.put()
                while not await _delivered(rig, queue_id):
                    await rig.dispatcher.flush()
                await rig.told(delivery_records.Delivered)
                assert await rig.rows(queue_id) == ()
            assert peer.messages[-1].body == TRACE + BODY
            twice = len(peer.messages) > 1
            unknown = any(isinstance(e, delivery_records.DeliveryUnknown) for e in rig.events)
            assert unknown or not twice
            assert len(peer.messages) <= 2

    run(scenario)


async def _delivered(rig, queue_id):
    """Wait until it is delivered or deferred; which?"""
    async with asyncio.timeout(5):
        while rows := await rig.rows(queue_id):
            if rows[0].state is State.DEFERRED:
                return False
            await asyncio.sleep(0.005)
    return True


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "BODY"])
def test_5xx_at_any_step_makes_a_dead_letter(verb):
    async def scenario():
        async with (
            Peer(behave=once(verb, Reaction("554 5.7.1 no"))) as peer,
            Rig(route_to(peer.port)).running() as rig,
        ):
            queue_id = await rig.put()
            await rig.told(delivery_records.DeadLettered)
            assert [row.state for row in await rig.rows(queue_id)] == [State.DEAD]

    run(scenario)


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
def test_a_server_that_understands_no_command_ends_no_message(verb):
    async def scenario():
        def behave(step):
            return Reaction("502 5.5.1 not implemented") if step.verb == verb else None

        async with Peer(behave=behave) as peer, Rig(route_to(peer.port)).running() as rig:
            queue_id = await rig.put()
            await rig.state(queue_id, State.DEFERRED)
            peer.behave = lambda _step: None
            await rig.dispatcher.flush()
            await rig.told(delivery_records.Delivered)

    run(scenario)


@pytest.mark.parametrize("verb", ["CONNECT", "EHLO"])
def test_5xx_to_all_at_the_door_touches_no_message(verb):
    async def scenario():
        def behave(step):
            return Reaction("554 5.7.1 go away") if step.verb in (verb, "HELO") else None

        async with Peer(behave=behave) as peer, Rig(route_to(peer.port)).running() as rig:
            ids = [await rig.put() for _ in range(3)]
            (changed,) = await rig.told(delivery_records.PrimaryChanged)
            assert changed.after == "down"
            assert "554 5.7.1 go away" in changed.reason
            while peer.connections < 3:
                await asyncio.sleep(0.01)
            for queue_id in ids:
                (row,) = await rig.rows(queue_id)
                assert (row.state, row.attempts) == (State.QUEUED, 0)
            peer.behave = lambda _step: None
            await rig.told(delivery_records.Delivered, 3)

    run(scenario)


def test_lost_after_the_dot_is_unknown_then_backs_off():
    async def scenario():
        def behave(step):
            return Reaction(None, close=True) if step.verb == "BODY" else None

        async with Peer(behave=behave) as peer, Rig(route_to(peer.port)).running() as rig:
            queue_id = await rig.put()
            await rig.told(delivery_records.DeliveryUnknown, 2)
            await rig.state(queue_id, State.DEFERRED)
            (row,) = await rig.rows(queue_id)
            assert row.attempts == 2
            assert len(peer.messages) == 2

    run(scenario)


# Down and back


def test_home_soon_after_the_return_and_no_attempt_burnt():
    async def scenario():
        peer = Peer()
        await peer.start()
        await peer.stop()
        async with Rig(route_to(peer.port), probe_interval=0.3).running() as rig:
            ids = [await rig.put(f"u{n}@example.com") for n in range(50)]
            await rig.told(delivery_records.PrimaryChanged)
            assert rig.dispatcher.way(DOMAIN).state is PrimaryState.DOWN
            for queue_id in ids:
                (row,) = await rig.rows(queue_id)
                assert (row.state, row.attempts) == (State.QUEUED, 0)
            async with peer:
                back = time.monotonic()
                await rig.told(delivery_records.Delivered)
                assert time.monotonic() - back < 2 * 0.3
                await rig.told(delivery_records.Delivered, 50)
                states = [(e.before, e.after) for e in rig.events
                          if isinstance(e, delivery_records.PrimaryChanged)]  # fmt: skip
                assert states[:2] == [("unknown", "down"), ("down", "recovering")]
                assert peer.messages[0].rcpts == ["TO:<u0@example.com>"]

    run(scenario)


def test_killed_and_back_under_load_loses_and_doubles_nothing_unsaid():
    async def scenario():
        async with Peer() as peer:
            rig = Rig(route_to(peer.port), max_connections=8)
            for n in range(300):
                await rig.put(f"u{n}@example.com", notify=False)
            async with rig.running():
                for milestone in (20, 60, 150):
                    await rig.told(delivery_records.Delivered, milestone)
                    await peer.stop()
                    await asyncio.sleep(0.02)
                    await peer.start()
                await rig.told(delivery_records.Delivered, 300)
            got = [m.rcpts[0] for m in peer.messages]
            assert len(set(got)) == 300
            unknown = sum(isinstance(e, delivery_records.DeliveryUnknown) for e in rig.events)
            assert len(got) - 300 <= unknown
            assert (await rig.spool.counts()) == [] or not any(
                c.queued or c.deferred or c.leased for c in await rig.spool.counts()
            )

    run(scenario)


def test_closes_after_each_message():
    async def scenario():
        def behave(step):
            return Reaction("250 ok", close=True) if step.verb == "BODY" else None

        async with Peer(behave=behave) as peer:
            rig = Rig(route_to(peer.port), probe_interval=5.0, max_connections=3)
            for _ in range(40):
                await rig.put(notify=False)
            async with rig.running():
                await rig.told(delivery_records.Delivered, 40)
            assert len(peer.messages) == 40
            assert not any(isinstance(e, delivery_records.DeliveryDeferred) for e in rig.events)

    run(scenario)


def test_closing_after_each_message_costs_the_others_nothing():
    async def scenario():
        def behave(step):
            return Reaction("250 ok", close=True) if step.verb == "BODY" else None

        async with Peer(behave=behave) as peer:
            rig = Rig(route_to(peer.port), probe_interval=5.0, max_connections=1)
            rig.spool.settle, settled = _counted(rig.spool.settle)
            for _ in range(40):
                await rig.put(notify=False)
            async with rig.running():
                await rig.told(delivery_records.Delivered, 40)
            assert len(settled) == 40  # none was given back in between

    run(scenario)


def _counted(settle):
    """A spool's `settle`, and a list of what it is given."""
    given = []

    async def counting(settlements, *, now):
        given.extend(settlements)
        return await settle(settlements, now=now)

    return counting, given


def test_connections_refused_beyond_a_number_are_no_sign_of_being_down(monkeypatch):
    monkeypatch.setattr("tideover.outbound.drain.IDLE", 0.1)

    async def scenario():
        def behave(step):
            if step.verb == "CONNECT" and step.connection > 1:
                return Reaction("421 4.7.0 too many connections", close=True)
            return Reaction("250 ok", delay=0.01) if step.verb == "BODY" else None

        async with Peer(behave=behave) as peer, Rig(route_to(peer.port)).running() as rig:
            for _ in range(20):
                await rig.put()
            await rig.told(delivery_records.Delivered, 20)
            assert peer.connections > 1
            while peer.open_connections:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            assert rig.dispatcher.way(DOMAIN).state is PrimaryState.UP
            assert (
                len([e for e in rig.events if isinstance(e, delivery_records.PrimaryChanged)]) == 1
            )

    run(scenario)


def test_a_server_that_hangs_up_before_any_message_is_not_stormed():
    async def scenario():
        def behave(step):
            return Reaction("250 peer.example", close=True) if step.verb == "EHLO" else None

        async with Peer(behave=behave) as peer:
            rig = Rig(route_to(peer.port), probe_interval=0.1)
            async with rig.running():
                await rig.put()
                (_, down) = await rig.told(delivery_records.PrimaryChanged, 2)
                assert down.after == "down"
                await asyncio.sleep(0.5)
                assert 2 <= peer.connections <= 8
                peer.behave = lambda _step: None
                await rig.told(delivery_records.Delivered)

    run(scenario)


def test_421_after_a_few_messages():
    async def scenario():
        def behave(step):
            if step.verb == "MAIL" and step.message == 4:
                return Reaction("421 4.7.0 enough for one connection", close=True)
            return None

        async with Peer(behave=behave) as peer:
            rig = Rig(route_to(peer.port), probe_interval=5.0, max_connections=3)
            for _ in range(40):
                await rig.put(notify=False)
            async with rig.running():
                await rig.told(delivery_records.Delivered, 40)
            assert len(peer.messages) == 40

    run(scenario)


def test_a_message_that_lost_its_connection_goes_by_one_that_is_idle():
    async def scenario():
        first = Reaction("250 ok", delay=0.05)

        async with Peer(behave=lambda step: first if step.verb == "BODY" else None) as peer:
            rig = Rig(route_to(peer.port), probe_interval=5.0, first_connections=2,
                      max_connections=2)  # fmt: skip
            await rig.put(notify=False)
            await rig.put(notify=False)
            async with rig.running():
                await rig.told(delivery_records.Delivered, 2)
                assert peer.connections == 2
                peer.behave = once("MAIL", Reaction("421 4.3.2 bye", close=True))
                await rig.put()
                await rig.told(delivery_records.Delivered, 3, within=1.0)
                assert peer.connections == 2

    run(scenario)


def test_a_message_that_breaks_the_server_does_not_hold_up_others():
    async def scenario():
        def behave(step):
            return Reaction(reset=True) if "poison" in step.argument else None

        async with Peer(behave=behave) as peer:
            rig = Rig(route_to(peer.port), max_connections=1)
            poison = await rig.put("poison@example.com", notify=False)
            for _ in range(5):
                await rig.put(notify=False)
            async with rig.running():
                await rig.told(delivery_records.Delivered, 5)
                await rig.state(poison, State.DEFERRED)
            assert len(peer.messages) == 5

    run(scenario)


def test_system_trouble_to_mail_waits_with_the_destination():
    async def scenario():
        def behave(step):
            return Reaction("451 4.3.2 not accepting mail") if step.verb == "MAIL" else None

        async with Peer(behave=behave) as peer, Rig(route_to(peer.port)).running() as rig:
            for _ in range(10):
                await rig.put()
            (_, down) = await rig.told(delivery_records.PrimaryChanged, 2)
            assert (down.after, "4.3.2" in down.reason) == ("down", True)
            assert sum(c.deferred for c in await rig.spool.counts()) == 0
            peer.behave = lambda _step: None
            await rig.told(delivery_records.Delivered, 10)

    run(scenario)


# Hosts of a route


def test_a_host_that_fails_is_passed_over():
    async def scenario():
        gone = Peer()
        await gone.start()
        await gone.stop()
        async with Peer() as peer, Rig(route_to(gone.port, peer.port)).running() as rig:
            for _ in range(5):
                await rig.put()
            await rig.told(delivery_records.Delivered, 5)
            assert rig.dispatcher.way(DOMAIN).state is PrimaryState.UP

    run(scenario)


@pytest.mark.parametrize(
    "reaction",
    [
        Reaction("452 4.3.1 disk full"),
        Reaction("421 4.3.2 closing", close=True),
        Reaction("530 5.7.0 authenticate first"),
        Reaction(close=True),
    ],
    ids=["full", "421", "530", "close"],
)
def test_a_host_that_takes_connections_but_no_mail_does_not_keep_us_from_the_next(reaction):
    async def scenario():
        def behave(step):
            return reaction if step.verb == "MAIL" else None

        async with Peer(behave=behave) as broken, Peer() as peer:
            rig = Rig(route_to(broken.port, peer.port))
            async with rig.running():
                for _ in range(5):
                    await rig.put()
                await rig.told(delivery_records.Delivered, 5, within=2.0)
                assert len(peer.messages) == 5
                assert broken.connections <= 5
                assert sum(c.deferred for c in await rig.spool.counts()) == 0

    run(scenario)


# Hosts that drop what they are sent: only a connection begun after their return comes about


class Silence:
    """Stands for `connect`: hosts are silent but for those whose port is in `back`."""

    def __init__(self, monkeypatch) -> None:
        self.back: dict[int, int] = {}
        self.under_way = self.begun = 0
        monkeypatch.setattr("tideover.outbound.context.connect", self.connect)

    async def connect(self, hop, *, settings, patience=math.inf, **others):
        self.begun += 1
        if hop.port in self.back:
            hop = NextHop(hop.name, hop.address, self.back[hop.port])
            return await connect(hop, settings=settings, **others)
        self.under_way += 1
        try:
            await asyncio.sleep(min(patience, settings.connect_timeout))
        finally:
            self.under_way -= 1
        raise ConnectionFailed("no connection in time")


def test_the_last_of_many_silent_hosts_is_found_soon(monkeypatch):
    async def scenario():
        silence = Silence(monkeypatch)
        async with Peer() as peer:
            rig = Rig(route_to(*range(1, 13)), probe_interval=0.1, connect_timeout=30.0)
            async with rig.running():
                await rig.put()
                await asyncio.sleep(1.5)
                silence.back[12] = peer.port
                await rig.told(delivery_records.Delivered, within=0.4)

    run(scenario)


def test_many_silent_destinations_do_not_keep_mail_from_one_that_is_well(monkeypatch):
    monkeypatch.setattr("tideover.outbound.dispatcher.PROBES", 30)
    monkeypatch.setattr("tideover.outbound.context.CROWD", 6)
    monkeypatch.setattr("tideover.outbound.context.HASTE", 0.1)
    monkeypatch.setattr("tideover.outbound.context.PROBE_RATE", 200)

    async def scenario():
        silence = Silence(monkeypatch)
        async with Peer() as peer:
            table = {f"d{port}.example": route_to(port) for port in range(1, 101)}
            rig = Rig(table | {DOMAIN: route_to(60000)}, connect_timeout=30.0)
            silence.back[60000] = peer.port
            async with rig.running():
                for domain in table:
                    await rig.put(f"user@{domain}")
                await asyncio.sleep(0.5)
                assert silence.under_way <= 30
                await rig.put()
                await rig.told(delivery_records.Delivered, within=0.5)
                begun = silence.begun
                await asyncio.sleep(0.5)
                assert silence.begun - begun < 150
                silence.back[50] = peer.port
                await rig.told(delivery_records.Delivered, 2, within=2.0)

    run(scenario)


# TLS


@pytest.fixture(scope="module")
def contexts():
    import ssl

    import trustme

    authority = trustme.CA()
    good = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mx.example").configure_cert(good)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mx.example").configure_cert(old)
    old.set_ciphers("PSK")  # nothing in common
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    return {"good": good, "broken": old}


TLS = ["PIPELINING", "STARTTLS", "SIZE"]


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_tls_when_offered_without_verification(contexts, loop):
    async def scenario():
        async with (
            Peer(TLS, tls=contexts["good"]) as peer,
            Rig(route_to(peer.port)).running() as rig,
        ):
            await rig.put()
            await rig.put(body=LARGE * 2000)
            one, two = await rig.told(delivery_records.Delivered, 2)
            assert one.tls.startswith("TLSv1.3 TLS_")
            assert two.tls
            assert peer.commands[:3] == [
                "EHLO mx2.example.org", "STARTTLS", "EHLO mx2.example.org"
            ]  # fmt: skip
            assert sorted(len(m.body) for m in peer.messages) == sorted(
                [len(TRACE + BODY), len(TRACE) + 2_000_000]
            )

    run(scenario, loop=loop)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("kind", ["broken", "none"])
def test_in_clear_when_the_handshake_fails(contexts, kind, loop):
    async def scenario():
        async with (
            Peer(TLS, tls=contexts.get(kind)) as peer,
            Rig(route_to(peer.port)).running() as rig,
        ):
            await rig.put()
            (delivered,) = await rig.told(delivery_records.Delivered)
            assert delivered.tls is None
            assert peer.connections == 2

    run(scenario, loop=loop)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("hazard", ["close", "reset", "silence"])
def test_in_clear_when_the_server_gives_tls_up_after_our_side_is_done(contexts, hazard, loop):
    async def scenario():
        under_tls = set()

        def behave(step):
            if step.verb == "STARTTLS":
                under_tls.add(step.connection)
            elif step.connection in under_tls:
                return HAZARDS[hazard]
            return None

        async with Peer(TLS, tls=contexts["good"], behave=behave) as peer:
            rig = Rig(route_to(peer.port), command_timeout=0.2, probe_interval=5.0)
            async with rig.running():
                await rig.put()
                (delivered,) = await rig.told(delivery_records.Delivered)
                assert (delivered.tls, peer.connections) == (None, 2)

    run(scenario, loop=loop)


def test_a_refusal_under_tls_is_not_answered_in_clear(contexts):
    async def scenario():
        def behave(step):
            late = step.verb == "EHLO" and "STARTTLS" in peer.commands
            return Reaction("421 4.3.2 not now", close=True) if late else None

        async with Peer(TLS, tls=contexts["good"], behave=behave) as peer:
            rig = Rig(route_to(peer.port), probe_interval=5.0)
            async with rig.running():
                await rig.put()
                (changed,) = await rig.told(delivery_records.PrimaryChanged)
                assert "4.3.2" in changed.reason
                assert peer.connections == 1

    run(scenario)


def test_in_clear_when_starttls_is_declined(contexts):
    async def scenario():
        behave = once("STARTTLS", Reaction("454 4.7.0 not now"))
        async with Peer(TLS, behave=behave) as peer, Rig(route_to(peer.port)).running() as rig:
            await rig.put()
            (delivered,) = await rig.told(delivery_records.Delivered)
            assert (delivered.tls, peer.connections) == (None, 1)

    run(scenario)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("name", [r"\255" * 20 + ".example", ".example", "a..example"])
def test_in_clear_when_the_host_has_a_name_that_tls_cannot_carry(contexts, name, loop):
    async def scenario():
        capabilities = ["PIPELINING", "STARTTLS"]
        async with Peer(capabilities, tls=contexts["good"]) as peer:
            route = Route(key="odd", hops=(NextHop(name, "127.0.0.1", peer.port),))
            async with Rig(route).running() as rig:
                await rig.put()
                (delivered,) = await rig.told(delivery_records.Delivered)
                assert delivered.tls is None

    run(scenario, loop=loop)


def test_injection_after_starttls_is_not_answered_in_clear(contexts):
    async def scenario():
        injected = Reaction(b"220 go\r\n250-hi\r\n250 SIZE 1\r\n")

        def behave(step):
            return injected if step.verb == "STARTTLS" else None

        async with (
            Peer(TLS, tls=contexts["good"], behave=behave) as peer,
            Rig(route_to(peer.port)).running() as rig,
        ):
            queue_id = await rig.put()
            (changed,) = await rig.told(delivery_records.PrimaryChanged)
            assert "clear after STARTTLS" in changed.reason
            assert not any(command.startswith("MAIL") for command in peer.commands)
            assert [row.state for row in await rig.rows(queue_id)] == [State.QUEUED]
            peer.behave = lambda _step: None
            (delivered,) = await rig.told(delivery_records.Delivered)
            assert delivered.tls

    run(scenario)


# Routes


def test_without_a_route_mail_waits_and_is_asked_for_again():
    async def scenario():
        async with Peer() as peer:
            trouble = NoRoute(trouble=Trouble.NULL_MX, text="null MX", retry_at=time.time() + 1)
            async with Rig(trouble).running() as rig:
                queue_id = await rig.put()
                (told,) = await rig.told(domain_records.RouteTrouble)
                assert (told.trouble, told.text) == ("null-mx", "null MX")
                assert [row.state for row in await rig.rows(queue_id)] == [State.QUEUED]
                assert rig.dispatcher.way(DOMAIN).reason == "null MX"
                rig.routes.table[DOMAIN] = route_to(peer.port)
                await rig.told(delivery_records.Delivered)
                assert len(rig.routes.asked) == 2

    run(scenario)


def test_reload_moves_mail_to_the_new_primary():
    async def scenario():
        gone = Peer()
        await gone.start()
        await gone.stop()
        async with Peer() as peer, Rig(route_to(gone.port)).running() as rig:
            await rig.put()
            await rig.told(delivery_records.PrimaryChanged)
            rig.routes.table[DOMAIN] = route_to(peer.port)
            rig.dispatcher.reconfigure(
                hostname="new.example.org",
                settings=rig.dispatcher._context.settings,
                router=rig.routes,
            )
            await rig.told(delivery_records.Delivered)
            assert peer.commands[0] == "EHLO new.example.org"
            assert str(peer.port) in rig.dispatcher.way(DOMAIN).hops[0]

    run(scenario)


def test_a_route_asked_for_just_when_all_askers_end_is_looked_up():
    async def scenario():
        async with Peer() as peer:
            domains = [f"d{number}.example" for number in range(20)]
            rig = Rig(dict.fromkeys([*domains, "late.example"], route_to(peer.port)))
            async with rig.running():
                await asyncio.sleep(0.01)  # what lies there was looked at
                for domain in [*domains, "late.example"]:
                    await rig.put(f"user@{domain}", notify=False)
                for domain in domains:
                    rig.dispatcher.notify(domain)
                asyncio.get_running_loop().call_soon(rig.dispatcher.notify, "late.example")
                await rig.told(delivery_records.Delivered, 21, within=2.0)

    run(scenario)


def test_reload_while_the_old_route_is_being_looked_up():
    async def scenario():
        class Slow(Routes):
            async def route(self, domain, *, now):
                answer = await super().route(domain, now=now)
                await reloaded.wait()
                return answer

        reloaded = asyncio.Event()
        async with Peer() as old, Peer() as peer:
            slow, new = Slow(), Routes()
            slow.table[DOMAIN] = route_to(old.port)
            new.table[DOMAIN] = route_to(peer.port)
            rig = Rig({}, router=slow)
            async with rig.running():
                await rig.put()
                while not slow.asked:
                    await asyncio.sleep(0.005)
                rig.dispatcher.reconfigure(
                    hostname="mx2.example.org", settings=settings(), router=new
                )
                reloaded.set()
                await rig.told(delivery_records.Delivered)
            assert (len(old.messages), len(peer.messages)) == (0, 1)

    run(scenario)


# Start, stop, spool


def test_stop_does_not_wait_for_dns():
    async def scenario():
        class Silent(Routes):
            async def route(self, domain, *, now):
                self.asked.append(domain)
                return await asyncio.Event().wait()

        rig = Rig({}, router=Silent())
        async with rig.running():
            await rig.put()
            while not rig.routes.asked:
                await asyncio.sleep(0.005)
            rig.dispatcher._grace = 60.0
            began = time.monotonic()
        assert time.monotonic() - began < 0.5

    run(scenario)


def test_stop_finishes_the_transaction_under_way_and_returns_the_rest():
    async def scenario():
        def behave(step):
            return Reaction("250 ok", delay=0.2) if step.verb == "BODY" else None

        async with Peer(behave=behave) as peer:
            rig = Rig(route_to(peer.port), max_connections=1)
            for _ in range(10):
                await rig.put(notify=False)
            async with rig.running():
                await rig.told(delivery_records.PrimaryChanged)
                while not any(piece.endswith(b"\r\n.\r\n") for piece in peer.pieces):
                    await asyncio.sleep(0.005)
            assert len(peer.messages) == 1
            (count,) = await rig.spool.counts()
            assert (count.queued, count.leased, count.deferred) == (9, 0, 0)

    run(scenario)


def test_stop_does_not_wait_longer_than_its_grace():
    async def scenario():
        async with Peer(behave=once("BODY", Reaction(None))) as peer:
            rig = Rig(route_to(peer.port), command_timeout=60.0, data_timeout=60.0)
            async with rig.running():
                queue_id = await rig.put()
                while not any(piece.endswith(b"\r\n.\r\n") for piece in peer.pieces):
                    await asyncio.sleep(0.005)
                rig.dispatcher._grace = 0.05
                began = time.monotonic()
            assert time.monotonic() - began < 1.0
            assert any(isinstance(e, delivery_records.DeliveryUnknown) for e in rig.events)
            assert [row.state for row in await rig.rows(queue_id)] == [State.QUEUED]

    run(scenario)


def test_what_was_delivered_before_a_fault_of_ours_is_not_sent_again(monkeypatch):
    async def scenario():
        begin = Connection.transact

        async def faulty(connection, mail, content):
            if connection.transactions:
                raise ZeroDivisionError
            return await begin(connection, mail, content)

        monkeypatch.setattr(Connection, "transact", faulty)
        async with Peer(["PIPELINING", "LIMITS RCPTMAX=2"]) as peer:
            rig = Rig(route_to(peer.port))
            async with rig.running():
                queue_id = await rig.put(*(f"u{n}@example.com" for n in range(3)))
                closed, put_off = State.DELIVERED, State.DEFERRED
                await rig.state(queue_id, closed, closed, put_off)
                assert len(peer.messages) == 1

    run(scenario)


def test_4xx_to_every_message_does_not_speed_us_up():
    async def scenario():
        def behave(step):
            if step.verb == "MAIL":
                return Reaction("450 4.7.1 too much mail from you", delay=0.005)
            return None

        async with Peer(behave=behave) as peer:
            rig = Rig(route_to(peer.port), first_connections=2, max_connections=20)
            for _ in range(60):
                await rig.put(notify=False)
            async with rig.running():
                await rig.told(delivery_records.DeliveryDeferred, 60)
            assert peer.most_open <= 2

    run(scenario)


def test_the_words_of_a_failed_host_are_kept_with_its_name_not_as_a_reply():
    async def scenario():
        def behave(step):
            return Reaction("421 4.3.2 inner.host closing") if step.verb == "MAIL" else None

        async with Peer(behave=behave) as peer, Rig(route_to(peer.port)).running() as rig:
            ids = [await rig.put() for _ in range(3)]
            await rig.told(delivery_records.PrimaryChanged, 2)
            while not (reply := (await rig.rows(ids[-1]))[0].last_reply):
                await asyncio.sleep(0.005)
            assert reply.startswith(f"mx{peer.port}.example[127.0.0.1]:{peer.port}: ")

    run(scenario)


def test_stop_does_not_wait_for_connections_that_were_only_wanted():
    async def scenario():
        def behave(step):
            if step.verb == "CONNECT" and step.connection > 1:
                return Reaction(None)
            return Reaction("250 ok", delay=0.02) if step.verb == "BODY" else None

        async with Peer(behave=behave) as peer:
            rig = Rig(route_to(peer.port), command_timeout=60.0)
            for _ in range(10):
                await rig.put(notify=False)
            async with rig.running():
                await rig.told(delivery_records.Delivered)
                assert peer.connections > 1
                rig.dispatcher._grace = 60.0
                began = time.monotonic()
            assert time.monotonic() - began < 0.5
            assert sum(count.leased for count in await rig.spool.counts()) == 0

    run(scenario)


def test_i4_no_further_message_before_the_end_of_the_last_is_durable():
    class Slow(MemorySpool):
        gate: asyncio.Event
        failures = 2

        async def settle(self, settlements, *, now):
            if self.failures:
                self.failures -= 1
                raise SpoolUnavailable("disk")
            await self.gate.wait()
            return await super().settle(settlements, now=now)

    async def scenario():
        async with Peer() as peer:
            spool = Slow()
            spool.gate = asyncio.Event()
            rig = Rig(route_to(peer.port), spool=spool, max_connections=1)
            for _ in range(3):
                await rig.put(notify=False)
            async with rig.running():
                await peer.received(1)
                await asyncio.sleep(0.1)
                assert len(peer.messages) == 1
                assert not any(isinstance(e, delivery_records.Delivered) for e in rig.events)
                spool.gate.set()
                await rig.told(delivery_records.Delivered, 3)

    import tideover.outbound.settle as module

    before, module.RETRY = module.RETRY, 0.01
    try:
        run(scenario)
    finally:
        module.RETRY = before


def test_deferred_mail_is_woken_when_its_time_has_come():
    async def scenario():
        behave = once("RCPT", Reaction("450 4.2.0 later"))
        async with (
            Peer(behave=behave) as peer,
            Rig(route_to(peer.port), first_backoff=0.05).running() as rig,
        ):
            await rig.put()
            await rig.told(delivery_records.DeliveryDeferred)
            await rig.told(delivery_records.Delivered)

    run(scenario)


def test_mail_nobody_gave_notice_of_is_found_by_a_flush():
    async def scenario():
        async with Peer() as peer, Rig(route_to(peer.port)).running() as rig:
            await asyncio.sleep(0.02)
            await rig.put(notify=False)
            await rig.dispatcher.flush()
            await rig.told(delivery_records.Delivered)

    run(scenario)


def test_a_held_domain_waits_also_over_a_restart():
    async def scenario():
        async with Peer() as peer:
            rig = Rig(route_to(peer.port))
            await rig.spool.hold_domain(DomainHold(domain=DOMAIN, reason="r", by="me", since=1.0))
            await rig.put(notify=False)
            async with rig.running():
                await asyncio.sleep(0.05)
                assert peer.connections == 0
                status = rig.dispatcher.way(DOMAIN)
                assert (status.state, status.reason) == (PrimaryState.HELD, "r")
                rig.dispatcher.set_hold(DOMAIN, None)
                await rig.told(delivery_records.Delivered)

    run(scenario)


def test_a_domain_held_in_the_moment_its_mail_arrives_goes_home_when_released(monkeypatch):
    monkeypatch.setattr("tideover.outbound.drain.IDLE", 0.05)

    async def scenario():
        async with Peer() as peer, Rig(route_to(peer.port)).running() as rig:
            await rig.put()
            await rig.told(delivery_records.Delivered)
            while peer.open_connections:
                await asyncio.sleep(0.01)
            await rig.put(notify=False)
            hold = DomainHold(domain=DOMAIN, reason="test", by="me", since=0.0)
            rig.dispatcher.notify(DOMAIN)
            rig.dispatcher.set_hold(DOMAIN, hold)
            await asyncio.sleep(0.05)
            rig.dispatcher.set_hold(DOMAIN, None)
            await rig.told(delivery_records.Delivered, 2, within=2.0)

    run(scenario)


def test_what_fails_under_way_is_not_tried_again_in_a_domain_that_is_held_by_then():
    async def scenario():
        failing = asyncio.Event()

        def behave(step):
            if step.verb != "DATA" or failing.is_set():
                return None
            failing.set()
            return Reaction(delay=0.1, close=True)

        async with Peer(behave=behave) as peer:
            rig = Rig(route_to(peer.port), first_connections=2)
            both = [await rig.put(notify=False), await rig.put(notify=False)]
            async with rig.running():
                await failing.wait()
                await rig.told(delivery_records.Delivered)  # its connection is free for more
                hold = DomainHold(domain=DOMAIN, reason="test", by="me", since=0.0)
                rig.dispatcher.set_hold(DOMAIN, hold)
                await asyncio.sleep(0.3)
                (left,) = [row for one in both for row in await rig.rows(one)]
                assert (left.state, left.attempts) == (State.QUEUED, 0)
                assert len(peer.messages) == 1
                rig.dispatcher.set_hold(DOMAIN, None)
                await rig.told(delivery_records.Delivered, 2)

    run(scenario)


def test_leases_in_hand_are_lengthened_and_lost_ones_recovered():
    async def scenario():
        async with Peer(behave=once("BODY", Reaction("250 ok", delay=0.2))) as peer:
            rig = Rig(route_to(peer.port))
            extended = []
            plain = rig.spool.extend

            async def extend(queue_ids, *, lease, now):
                extended.extend(queue_ids)
                await plain(queue_ids, lease=lease, now=now)

            rig.spool.extend = extend
            async with rig.running():
                queue_id = await rig.put()
                while not peer.pieces:
                    await asyncio.sleep(0.005)
                later = time.time() + 150
                rig.dispatcher._clock = lambda: later
                rig.dispatcher._poke.set()
                await rig.told(delivery_records.Delivered)
                assert extended == [queue_id]

    run(scenario)


def test_many_domains_are_no_tasks():
    async def scenario():
        gone = Peer()
        await gone.start()
        await gone.stop()
        routes = {f"d{n}.example": route_to(gone.port, key=f"k{n % 3}") for n in range(3000)}
        rig = Rig(routes, probe_interval=5.0)
        async with rig.running():
            await asyncio.sleep(0.01)  # past the first look at what the spool holds
            for domain in routes:
                rig.dispatcher.notify(domain)
            await rig.told(delivery_records.PrimaryChanged, 3)
            assert len(rig.routes.asked) == 3000
            assert len(asyncio.all_tasks()) < 20
            for domain in routes:
                rig.dispatcher.notify(domain)
            assert len(rig.dispatcher._lanes) == 3000

    run(scenario)


def test_a_fault_in_making_a_report_loses_nothing(monkeypatch):
    def broken(*_args, **_kwargs):
        raise ZeroDivisionError("bug")

    monkeypatch.setattr("tideover.outbound.settle.conclude", broken)

    async def scenario():
        behave = once("RCPT", Reaction("550 5.1.1 no"))
        async with Peer(behave=behave) as peer, Rig(route_to(peer.port)).running() as rig:
            queue_id = await rig.put("gone@example.com", "good@example.com")
            await rig.state(queue_id, State.DEFERRED, State.DELIVERED)
            (row, _) = await rig.rows(queue_id)
            assert "ZeroDivisionError" in row.last_reply

    run(scenario)


def test_mail_removed_meanwhile_stops_the_probing():
    async def scenario():
        peer = Peer()
        await peer.start()
        await peer.stop()
        async with Rig(route_to(peer.port)).running() as rig:
            queue_id = await rig.put()
            await rig.told(delivery_records.PrimaryChanged)
            await rig.spool.remove(Filter(ids=(queue_id,)))
            await rig.dispatcher.flush()  # asks the spool what there is
            destination = rig.dispatcher._lanes[DOMAIN].destination
            async with asyncio.timeout(5):
                while not destination.idle or destination._waiting:
                    await asyncio.sleep(0.01)

    run(scenario)


def test_what_another_backup_takes_does_not_make_the_primary_up() -> None:
    async def scenario() -> None:
        async with Peer() as backup:
            hops = (
                NextHop("primary.example", "127.0.0.1", free_port()),
                NextHop("backup.example", "127.0.0.1", backup.port, intermediate=True),
            )
            async with Rig(Route(key="k", hops=hops)).running() as rig:
                for count in range(1, 4):
                    await rig.put()
                    await rig.told(delivery_records.Delivered, count)
                await asyncio.sleep(0.1)
                assert rig.dispatcher.primary_up(DOMAIN) is not True
                changes = [e for e in rig.events if isinstance(e, delivery_records.PrimaryChanged)]
                assert not [event for event in changes if event.after != "down"]

    run(scenario)
