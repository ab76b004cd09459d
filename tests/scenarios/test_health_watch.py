"""outbound.watch: how primaries stand is known, also when no mail ever goes to them."""

import asyncio
import contextlib
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import uvloop

from tideover.config.model import Config, Domain, Outbound
from tideover.config.primaries import Health as Settings
from tideover.config.values import Endpoint
from tideover.events.clock import now as wall_clock
from tideover.events.delivery_records import Delivered, PrimaryChanged
from tideover.events.event import Event
from tideover.message.envelope import Client, Envelope, NewMessage, Recipient, SessionId
from tideover.outbound import watch
from tideover.outbound.checking import Checker
from tideover.outbound.dispatcher import Dispatcher
from tideover.outbound.transport import opportunistic_context
from tideover.outbound.watch import HealthWatch
from tideover.primary.healths import Healths
from tideover.primary.interface import PrimaryState
from tideover.primary.router import ConfigRouter
from tideover.primary.standing import Standing
from tideover.spool.interface import DomainHold
from tideover.spool.memory import MemorySpool
from tideover.testing.dns import FakeResolver
from tideover.testing.peer import Peer, Reaction, Step

DOWN, RECOVERING, UP = PrimaryState.DOWN, PrimaryState.RECOVERING, PrimaryState.UP
D = "example.com"
QUICK = Settings(check_interval=0.2, timeout=0.4)


class Site:
    """Watched primaries, one for each domain, by ports of loopback."""

    def __init__(
        self,
        *ports: int,
        health: Settings = QUICK,
        probe_interval: float = 0.1,
        domains: dict[str, Domain] | None = None,
    ) -> None:
        here = tuple(Endpoint("127.0.0.1", port) for port in ports)
        self.config = Config(
            hostname="mx2.example.org",
            data_dir=Path(),
            domains=domains or {D: Domain(primary=here, recipients=("file:r",))},
            health=health,
            outbound=Outbound(probe_interval=probe_interval),
        )
        self.events: list[Event] = []
        self.dns = FakeResolver({}, {})
        self.router = ConfigRouter(self.config, self.dns, self.events.append)
        self.healths = Healths(health, self.router, self.events.append)
        self.watch = HealthWatch(
            self.config,
            self.router,
            self.healths,
            Checker(self.config, opportunistic_context()),
            self.events.append,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Site"]:
        task = asyncio.create_task(self.watch.run())
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def standing(self) -> Standing:
        return self.healths.standing(D)

    async def stands(self, *states: PrimaryState, within: float = 10.0) -> float:
        """Wait until it stands so; how long that took."""
        began = time.monotonic()
        async with asyncio.timeout(within):
            while self.standing().state not in states:
                await asyncio.sleep(0.005)
        return time.monotonic() - began

    def told(self) -> list[str]:
        return [event.after for event in self.events if isinstance(event, PrimaryChanged)]


def run(scenario) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


@contextlib.contextmanager
def deaf(port: int) -> Iterator[None]:
    """The kernel drops all SYNs to this port, as its backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield


def saying(verb: str, reply: str | None, *, close: bool = True):
    def behave(step: Step) -> Reaction | None:
        return Reaction(reply, close=close) if step.verb == verb else None

    return behave


def test_up_then_down_then_up_without_any_mail() -> None:
    async def scenario() -> None:
        async with Peer() as peer, Site(peer.port).running() as site:
            await site.stands(UP)
            found = site.standing()
            assert (found.doubt, found.key) == (False, f"127.0.0.1:{peer.port}")
            assert found.checked_at == pytest.approx(time.time(), abs=5)
            assert found.capabilities is not None
            assert found.capabilities.size == 10240000
            await peer.stop()
            await site.stands(DOWN)
            assert "can't connect" in site.standing().reason
            assert site.standing().capabilities == found.capabilities
            await peer.start()
            await site.stands(RECOVERING)
            await site.stands(UP)
            assert site.told() == ["up", "down", "recovering", "up"]
            assert not peer.messages
            assert peer.commands[-1] == "QUIT"

    run(scenario)


@pytest.mark.parametrize(
    ("verb", "reply", "reason"),
    [
        ("CONNECT", "421 4.3.2 later", "421 4.3.2 later"),
        ("CONNECT", "554 5.3.2 no service", "554 5.3.2 no service"),
        ("CONNECT", None, "in time"),
        ("EHLO", "421 4.3.2 later", "421 4.3.2 later"),
        ("EHLO", None, "in time"),
    ],
)
def test_who_gives_no_service_is_down(verb: str, reply: str | None, reason: str) -> None:
    async def scenario() -> None:
        silent = saying(verb, reply, close=reply is not None)
        async with Peer(behave=silent) as peer, Site(peer.port).running() as site:
            await site.stands(DOWN)
            assert reason in site.standing().reason
            peer.behave = lambda _step: None
            await site.stands(UP)

    run(scenario)


def test_who_knows_no_ehlo_is_up() -> None:
    async def scenario() -> None:
        old = saying("EHLO", "502 what?", close=False)
        async with Peer(behave=old) as peer, Site(peer.port).running() as site:
            await site.stands(UP)

    run(scenario)


def test_dropped_packets_are_an_outage_and_its_end_is_seen() -> None:
    async def scenario() -> None:
        async with Peer() as peer, Site(peer.port).running() as site:
            await site.stands(UP)
            await peer.stop()
            with deaf(peer.port):
                await site.stands(DOWN)
                assert "in time" in site.standing().reason
            await peer.start()
            await site.stands(UP)

    run(scenario)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("dropped", [False, True])
def test_the_times_that_are_promised(dropped: bool) -> None:
    """With the default settings: an outage within 15 s, a return within 2 s."""

    async def scenario() -> None:
        async with Peer() as peer:
            site = Site(peer.port, health=Settings(), probe_interval=Outbound().probe_interval)
            async with site.running():
                for _ in range(2):
                    await site.stands(UP)
                    await asyncio.sleep(random.uniform(0.0, 5.0))
                    await peer.stop()
                    with deaf(peer.port) if dropped else contextlib.nullcontext():
                        took = await site.stands(DOWN, within=20)
                        assert took < 15.0
                        await asyncio.sleep(random.uniform(2.0, 5.0))
                    await peer.start()
                    back = await site.stands(RECOVERING, UP)
                    assert back < 2.0
                    print(f"down known after {took:.1f} s, return after {back:.2f} s")

    run(scenario)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["CONNECT", "EHLO", "STARTTLS"])
def test_who_fell_silent_is_down_and_back_although_older_connections_stay_silent(verb) -> None:
    def refusing_tls(step: Step) -> Reaction | None:
        return Reaction("454 no") if step.verb == "STARTTLS" else None

    async def scenario() -> None:
        slow = Settings(check_interval=0.2, timeout=1.5)
        async with (
            Peer(("STARTTLS",), refusing_tls) as peer,
            Site(peer.port, health=slow).running() as site,
        ):
            await site.stands(UP)
            peer.behave = saying(verb, None, close=False)
            await site.stands(DOWN)
            before = peer.connections
            while peer.connections == before:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.1)  # a check waits now, and will go on waiting
            peer.behave = refusing_tls
            assert await site.stands(RECOVERING, UP) < 1.0

    run(scenario)


@pytest.mark.parametrize(
    ("reply", "up"),
    [
        ("451 4.3.2 later", False),
        ("452 4.3.1 full", False),
        ("421 bye", False),
        ("550 5.7.1 not you", True),
        ("451 4.7.1 greylisted", True),
        ("451 local error", True),
    ],
)
def test_in_doubt_it_is_asked_whether_it_takes_mail_at_all(reply: str, up: bool) -> None:
    async def scenario() -> None:
        async with Peer() as peer, Site(peer.port).running() as site:
            await site.stands(UP)
            peer.behave = saying("MAIL", reply, close=False)
            await asyncio.sleep(0.5)
            assert site.standing().state is UP
            commands = len(peer.commands)
            site.healths.failed(site.standing().key or "", f"[127.0.0.1]:{peer.port}", reply)
            if up:
                await asyncio.sleep(0.6)
                assert site.told() == ["up"]
                assert "MAIL FROM:<>" in peer.commands[commands:]
            else:
                await site.stands(DOWN)
                assert reply in site.standing().reason
                await asyncio.sleep(0.5)
                assert site.standing().state is DOWN
                peer.behave = lambda _step: None
                await site.stands(UP)
            assert not peer.messages

    run(scenario)


def test_a_check_does_not_unsay_a_failure_that_came_while_it_was_made() -> None:
    async def scenario() -> None:
        def behave(step: Step) -> Reaction | None:
            if step.verb == "EHLO":
                key = site.standing().key or ""
                site.healths.failed(key, f"[127.0.0.1]:{peer.port}", "451 4.3.2 later")
            return Reaction("451 4.3.2 later") if step.verb == "MAIL" else None

        async with Peer() as peer, Site(peer.port).running() as site:
            await site.stands(UP)
            peer.behave = behave
            await site.stands(DOWN)

    run(scenario)


def test_what_others_hear_spares_a_check() -> None:
    async def scenario() -> None:
        async with Peer() as peer, Site(peer.port).running() as site:
            await site.stands(UP)
            key, known = site.standing().key, site.standing().capabilities
            assert key is not None
            assert known is not None
            before = peer.connections
            for _ in range(20):
                site.healths.reached(key, f"[127.0.0.1]:{peer.port}", known)
                await asyncio.sleep(0.05)
            assert peer.connections == before
            await asyncio.sleep(0.5)
            assert peer.connections > before

    run(scenario)


def test_a_failure_that_others_met_is_looked_into_at_once() -> None:
    async def scenario() -> None:
        slow = Settings(check_interval=30.0, timeout=1.0)
        async with Peer() as peer, Site(peer.port, health=slow).running() as site:
            await site.stands(UP)
            key = site.standing().key
            assert key is not None
            await peer.stop()
            await asyncio.sleep(0.6)  # not nearly at once with what was heard before
            for _ in range(50):
                site.healths.failed(key, f"[127.0.0.1]:{peer.port}", "lost")
            assert (site.standing().state, site.standing().doubt) == (UP, True)
            await site.stands(DOWN, within=5)
            assert site.told() == ["up", "down"]

    run(scenario)


def test_looks_share_one_check_and_see_what_it_saw() -> None:
    async def scenario() -> None:
        slow = Settings(check_interval=30.0, timeout=1.0, failures=5)
        async with Peer() as peer, Site(peer.port, health=slow).running() as site:
            await site.stands(UP)
            await asyncio.sleep(0.3)
            before = peer.connections
            peer.behave = lambda step: Reaction("220 hello", delay=0.1) \
                if step.verb == "CONNECT" else None  # fmt: skip
            found = await asyncio.gather(*(site.healths.look(D) for _ in range(100)))
            assert {one.state for one in found} == {UP}
            assert peer.connections == before + 1
            await peer.stop()
            await asyncio.sleep(0.3)
            with deaf(peer.port):
                began = time.monotonic()
                found = await asyncio.gather(*(site.healths.look(D) for _ in range(100)))
                assert time.monotonic() - began < 1.5
            assert {(one.state, one.doubt) for one in found} == {(DOWN, True)}
            assert site.standing().state is UP

    run(scenario)


def test_a_look_at_a_domain_that_nobody_knows_waits_for_nothing() -> None:
    async def scenario() -> None:
        async with Site(1).running() as site:
            found = await site.healths.look("other.example")
            assert (found.key, found.doubt) == (None, True)

    run(scenario)


def test_one_of_several_hosts_is_enough_and_the_others_are_known_to_fail() -> None:
    async def scenario() -> None:
        async with Peer() as good:
            bad = Peer()
            await bad.start()
            async with Site(good.port, bad.port).running() as site:
                await site.stands(UP)
                key = site.standing().key
                assert key is not None
                await bad.stop()
                async with asyncio.timeout(5):
                    while not site.healths.ailing(key, f"[127.0.0.1]:{bad.port}"):
                        await asyncio.sleep(0.02)
                await asyncio.sleep(1.0)
                assert site.told() == ["up"]
                assert not site.healths.ailing(key, f"[127.0.0.1]:{good.port}")

    run(scenario)


@pytest.mark.parametrize(
    ("reply", "up"),
    [
        ("250 2.1.5 ok", True),
        ("550 5.7.1 relaying denied", True),
        ("451 4.7.1 greylisted", True),
        ("451 4.3.0 queue file write error", False),
        ("451 local error", False),
        ("421 4.3.2 later", False),
    ],
)
def test_postmaster_is_asked_for_where_that_is_set(reply: str, up: bool) -> None:
    async def scenario() -> None:
        asking = Settings(check_interval=0.2, timeout=0.4, ask_postmaster=True)
        answers = saying("RCPT", reply, close=False)
        async with Peer(behave=answers) as peer, Site(peer.port, health=asking).running() as site:
            await site.stands(UP if up else DOWN)
            assert f"RCPT TO:<postmaster@{D}>" in peer.commands
            assert not peer.messages

    run(scenario)


def test_what_is_offered_is_what_is_offered_under_tls(contexts, monkeypatch) -> None:
    monkeypatch.setattr(watch, "HANDSHAKES", 0.001)

    def behave(step: Step) -> Reaction | None:
        secured.append(step.verb == "STARTTLS")
        return Reaction("250-peer\n250-XCLIENT ADDR NAME\n250 SIZE 5") \
            if step.verb == "EHLO" and any(secured) else None  # fmt: skip

    secured: list[bool] = []

    async def scenario() -> None:
        offers = ("SIZE 9", "STARTTLS")
        async with Peer(offers, behave, tls=contexts) as peer, Site(peer.port).running() as site:
            await site.stands(UP)
            offered = site.standing().capabilities
            assert offered is not None
            assert (offered.size, offered.xclient) == (5, {"ADDR", "NAME"})
            secured.clear()
            hellos = peer.commands.count("EHLO mx2.example.org")
            await asyncio.sleep(1.0)
            assert peer.commands.count("EHLO mx2.example.org") > hellos
            # one handshake for many checks; what is offered in clear counts for nothing
            assert peer.commands.count("STARTTLS") == 1
            assert site.standing().capabilities == offered

    run(scenario)


@pytest.fixture
def contexts(tmp_path: Path) -> ssl.SSLContext:
    trustme = pytest.importorskip("trustme")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("peer.example").configure_cert(context)
    return context


# Many, and others


def test_a_hundred_thousand_domains_of_one_primary_are_one_check() -> None:
    async def scenario() -> None:
        async with Peer() as peer:
            here = (Endpoint("127.0.0.1", peer.port),)
            domain = Domain(primary=here, recipients=("file:r",))
            names = [f"d{number}.example" for number in range(100_000)]
            began = time.process_time()
            site = Site(domains=dict.fromkeys([*names, D], domain))
            async with site.running():
                await site.stands(UP)
                assert site.healths.standing("d99999.example").state is UP
                await asyncio.sleep(1.0)
                assert time.process_time() - began < 2.0
                assert peer.connections <= 10

    run(scenario)


def test_a_reload_watches_new_primaries_and_no_old_ones() -> None:
    async def scenario() -> None:
        async with Peer() as old, Peer() as new:
            site = Site(old.port)
            async with site.running():
                await site.stands(UP)
                fresh = Site(new.port).config
                site.router.reconfigure(fresh)
                site.watch.reconfigure(fresh)
                async with asyncio.timeout(5):
                    while str(new.port) not in (site.standing().key or ""):
                        await asyncio.sleep(0.01)
                await site.stands(UP)
                await asyncio.sleep(0.3)
                before = old.connections
                await asyncio.sleep(1.0)
                assert old.connections == before
                site.healths.sweep()
                assert site.healths.up(f"127.0.0.1:{old.port}") is None

    run(scenario)


def test_no_more_are_watched_than_allowed_and_of_others_it_is_found_out() -> None:
    async def scenario() -> None:
        async with Peer() as one, Peer() as other:
            domains = {
                name: Domain(primary=(Endpoint("127.0.0.1", peer.port),), recipients=("file:r",))
                for name, peer in (("one.example", one), ("other.example", other))
            }
            few = Settings(check_interval=0.2, timeout=0.4, max_watched=1)
            site = Site(health=few, domains=domains)
            async with site.running():
                await asyncio.sleep(1.0)
                states = {name: site.healths.standing(name) for name in domains}
                unwatched = next(name for name, found in states.items() if found.state is not UP)
                assert states[unwatched].doubt
                assert (await site.healths.look(unwatched)).state is UP
            assert sorted((one.connections > 1, other.connections > 1)) == [False, True]

    run(scenario)


def test_a_primary_whose_mail_is_held_is_watched_and_the_mail_goes_home_when_released() -> None:
    async def scenario() -> None:
        peer = Peer()
        await peer.start()
        await peer.stop()
        site = Site(peer.port)
        spool = MemorySpool()
        dispatcher = Dispatcher(
            spool,
            site.router,
            hostname="mx2.example.org",
            settings=site.config.outbound,
            emit=site.events.append,
            tls=None,
            healths=site.healths,
            grace=1.0,
        )
        async with site.running():
            deliveries = asyncio.create_task(dispatcher.run())
            await site.stands(DOWN)
            await _put(spool)
            dispatcher.notify(D)
            dispatcher.set_hold(D, DomainHold(domain=D, reason="test", by="me", since=1.0))
            assert dispatcher.way(D).state is PrimaryState.HELD
            async with peer:
                async with asyncio.timeout(5):
                    while dispatcher.primary_up(D) is not True:
                        await asyncio.sleep(0.01)
                assert not peer.messages
                dispatcher.set_hold(D, None)
                await peer.received(1)
                assert dispatcher.way(D).capabilities
                async with asyncio.timeout(5):
                    while not any(isinstance(event, Delivered) for event in site.events):
                        await asyncio.sleep(0.01)
            deliveries.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await deliveries

    run(scenario)


async def _put(spool: MemorySpool) -> None:
    queue_id = spool.new_id(wall_clock())
    intake = spool.open(queue_id)
    intake.write(b"Subject: tide\r\n\r\n")
    await intake.commit(
        NewMessage(
            queue_id=queue_id,
            received_at=wall_clock(),
            envelope=Envelope(
                sender="", recipients=(Recipient(address=f"user@{D}", domain=D),), body=None
            ),
            client=Client(
                session=SessionId("s"), address="192.0.2.1", port=1, helo="c", protocol="ESMTP"
            ),
            trace=b"",
        )
    )
