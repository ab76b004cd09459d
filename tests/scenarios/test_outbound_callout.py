"""Callouts over real sockets: what the primary sees of them, and what they make of it."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator

import pytest
import trustme
from outbound_rig import DOMAIN, Routes, route_to, run, settings

from tideover.config.model import Source
from tideover.events.event import Event
from tideover.events.recipient_records import CalloutsRefused
from tideover.outbound import callout_destination as module
from tideover.outbound.callout import Callouts
from tideover.outbound.connection import host_text
from tideover.outbound.transport import opportunistic_context
from tideover.primary.interface import NextHop, NoRoute, Route, Trouble
from tideover.recipients.sources.callout import Answer, Unavailable
from tideover.recipients.sources.interface import SourceError
from tideover.smtp.capabilities import Capabilities
from tideover.testing.peer import Peer, Reaction, Step
from tideover.testing.ports import free_port


class Rig:
    """Callouts to one domain. `up` is what the dispatcher would say of its primary."""

    def __init__(self, *ports: int, source: Source | None = None) -> None:
        self.up: bool | None = True
        self.events: list[Event] = []
        self.evidence: list[tuple[str, str, bool | str]] = []
        self.router = Routes()
        self.router.table = {DOMAIN: route_to(*ports)}
        self.callouts = Callouts(
            self.router,
            hostname="mx2.example.org",
            outbound=settings(),
            source=source or Source(max_rate=10_000),
            emit=self.events.append,
            tls=opportunistic_context(),
            destination_up=lambda _: self.up,
            evidence=self,
        )

    def reached(self, key: str, host: str, offered: Capabilities) -> None:
        self.evidence.append((key, host, offered.dsn))

    def failed(self, key: str, host: str, reason: str) -> None:
        self.evidence.append((key, host, reason))

    async def ask(self, local: str, **more) -> Answer:
        return (await self.callouts.probe(DOMAIN, local, **more)).answer

    async def fails(
        self, kind: type[SourceError], local: str = "user", match: str | None = None
    ) -> None:
        with pytest.raises(SourceError, match=match) as caught:
            await self.ask(local)
        assert type(caught.value) is kind


@contextlib.asynccontextmanager
async def rig(peer: Peer, **more) -> AsyncIterator[Rig]:
    made = Rig(peer.port, **more)
    try:
        yield made
    finally:
        await made.callouts.close()


def only(*users: str):
    """A primary that knows these."""

    def behave(step: Step) -> Reaction | None:
        if step.verb == "RCPT" and step.argument[4:].split("@")[0].rstrip(">") not in users:
            return Reaction("550 5.1.1 no such user")
        return None

    return behave


@pytest.mark.parametrize("pipelining", [True, False])
def test_it_asks_with_the_null_sender_and_sends_no_message(pipelining: bool) -> None:
    async def scenario() -> None:
        capabilities = ("PIPELINING", "SIZE 1000") if pipelining else ("SIZE 1000",)
        async with Peer(capabilities=capabilities) as peer:
            peer.behave = only("user", '"a \\"b"')
            async with rig(peer) as one:
                assert await one.ask("user") is Answer.TAKEN
                assert await one.ask("nobody") is Answer.REFUSED
                assert await one.ask('a "b') is Answer.TAKEN
            assert peer.commands == [
                "EHLO mx2.example.org",
                "MAIL FROM:<>", "RCPT TO:<user@example.com>", "RSET",
                "MAIL FROM:<>", "RCPT TO:<nobody@example.com>", "RSET",
                "MAIL FROM:<>", 'RCPT TO:<"a \\"b"@example.com>', "RSET",
                "QUIT",
            ]  # fmt: skip
            assert (peer.connections, peer.messages) == (1, [])

    run(scenario)


def test_connections_are_kept_and_bounded() -> None:
    async def scenario() -> None:
        async with Peer() as peer:
            peer.behave = lambda step: (
                Reaction("250 ok", delay=0.02) if step.verb == "RCPT" else None
            )
            async with rig(peer, source=Source(max_rate=10_000, max_lookups=3)) as one:
                await asyncio.gather(*(one.ask(f"u{n}") for n in range(30)))
                assert (peer.connections, peer.most_open) == (3, 3)

    run(scenario)


def test_what_its_connections_meet_is_evidence() -> None:
    async def scenario() -> None:
        async with Peer() as peer, rig(peer) as made:
            assert await made.ask("user") is Answer.TAKEN
            assert await made.ask("other") is Answer.TAKEN
            host = host_text(made.router.table[DOMAIN].hops[0])
            assert made.evidence == [(str(peer.port), host, True)]
        gone = Rig(peer.port)
        await gone.fails(Unavailable)
        ((key, host, reason),) = gone.evidence
        assert (key, "can't connect" in str(reason)) == (str(peer.port), True)

    run(scenario)


def test_an_idle_connection_is_ended_politely(monkeypatch) -> None:
    monkeypatch.setattr(module, "IDLE", 0.05)

    async def scenario() -> None:
        async with Peer() as peer, rig(peer) as one:
            await one.ask("user")
            async with asyncio.timeout(5):
                while peer.open_connections:
                    await asyncio.sleep(0.01)
            assert peer.commands[-1] == "QUIT"
            assert await one.ask("user") is Answer.TAKEN
            assert peer.connections == 2

    run(scenario)


def test_a_connection_is_not_worn_out() -> None:
    async def scenario() -> None:
        async with Peer() as peer:
            peer.behave = only()
            async with rig(peer, source=Source(max_rate=10_000, max_lookups=1)) as one:
                for number in range(20):
                    assert await one.ask(f"u{number}") is Answer.REFUSED
                assert (peer.connections, peer.most_open) == (3, 1)
                peer.behave = lambda _: None
                for number in range(170):
                    assert await one.ask(f"u{number}") is Answer.TAKEN
                assert (peer.connections, peer.most_open) == (5, 1)

    run(scenario)


def test_a_kept_connection_that_the_server_closed_is_no_answer() -> None:
    async def scenario() -> None:
        async with Peer() as peer:
            closing: list[int] = []

            def behave(step: Step) -> Reaction | None:
                if step.verb == "MAIL" and step.connection in closing:
                    return Reaction(close=True)
                return None

            peer.behave = behave
            async with rig(peer) as one:
                await one.ask("user")
                closing.append(1)
                assert await one.ask("user") is Answer.TAKEN
                assert peer.connections == 2

    run(scenario)


def test_never_more_questions_a_minute_than_allowed_and_room_for_those_who_wait() -> None:
    async def scenario() -> None:
        async with Peer() as peer, rig(peer, source=Source(max_rate=6)) as one:
            for _ in range(3):
                await one.ask("user", background=True)
            with pytest.raises(Unavailable, match="most allowed"):
                await one.ask("user", background=True)
            for _ in range(3):
                await one.ask("user")
            await one.fails(Unavailable, match="most allowed")
            assert peer.commands.count("MAIL FROM:<>") == 6

    run(scenario)


@pytest.mark.parametrize(
    ("verb", "reply", "kind"),
    [
        ("RCPT", "450 4.7.1 greylisted", SourceError),
        ("RCPT", "451 4.3.0 local trouble", SourceError),
        ("RCPT", "550 5.7.1 blocked", SourceError),
        ("RCPT", "554 5.7.1 Relay access denied", SourceError),
        ("RCPT", "552 5.2.2 full", SourceError),
        ("RCPT", "421 4.3.2 shutting down", Unavailable),
        ("MAIL", "451 4.7.1 later", Unavailable),
        ("CONNECT", "421 4.3.2 too busy", Unavailable),
    ],
)
def test_what_does_not_speak_of_the_mailbox_is_no_answer(verb, reply, kind) -> None:
    async def scenario() -> None:
        async with Peer() as peer:
            peer.behave = lambda step: Reaction(reply) if step.verb == verb else None
            async with rig(peer) as one:
                await one.fails(kind)
                assert one.events == []

    run(scenario)


def test_a_doubt_is_told_from_other_delays() -> None:
    async def scenario() -> None:
        async with Peer() as peer:
            peer.behave = lambda step: (
                Reaction("450 4.1.1 unknown for now") if step.verb == "RCPT" else None
            )
            async with rig(peer) as one:
                assert await one.ask("user") is Answer.DOUBTED

    run(scenario)


@pytest.mark.parametrize("verb", ["MAIL", "CONNECT"])
def test_a_primary_that_will_not_be_asked_is_told_once_and_left_alone(verb: str) -> None:
    async def scenario() -> None:
        async with Peer() as peer:
            peer.behave = lambda step: Reaction("550 5.1.1 not you") if step.verb == verb else None
            async with rig(peer) as one:
                for _ in range(5):
                    await one.fails(Unavailable, match="not you")
                assert peer.connections == 1
                (event,) = one.events
                assert isinstance(event, CalloutsRefused)
                assert (event.domain, event.reply) == (DOMAIN, "550 5.1.1 not you")

    run(scenario)


def test_a_primary_that_is_down_is_not_asked() -> None:
    async def scenario() -> None:
        async with Peer() as peer, rig(peer) as one:
            one.up = False
            await one.fails(Unavailable, match="down")
            one.router.table[DOMAIN] = NoRoute(
                trouble=Trouble.TEMPORARY, text="DNS is slow", retry_at=0.0
            )
            one.up = None
            await one.fails(Unavailable, match="DNS is slow")
            assert peer.connections == 0

    run(scenario)


def test_another_backup_is_not_asked() -> None:
    async def scenario() -> None:
        async with Peer() as primary, Peer() as backup, rig(primary) as one:
            hops = (
                NextHop("mx1.example.com", "127.0.0.1", primary.port),
                NextHop("mx2.example.com", "127.0.0.1", backup.port, intermediate=True),
            )
            one.router.table[DOMAIN] = Route(key="k", hops=hops)
            assert await one.ask("user") is Answer.TAKEN
            one.router.table[DOMAIN] = Route(key="other", hops=hops[1:])
            await one.fails(Unavailable, match="only other backups")
            assert (primary.connections, backup.connections) == (1, 0)

    run(scenario)


def test_one_that_can_not_be_reached_is_left_alone_ever_longer(monkeypatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.1)

    async def scenario() -> None:
        async with Peer() as peer, rig(peer) as one:
            one.up = None
            peer.behave = lambda step: Reaction(close=True) if step.verb == "CONNECT" else None
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                await one.fails(Unavailable)
                await asyncio.sleep(0.01)
            assert 3 <= peer.connections <= 4  # at 0, 0.1, 0.3, 0.7
            peer.behave = lambda _: None
            async with asyncio.timeout(5):
                while True:
                    with contextlib.suppress(Unavailable):
                        await one.ask("user")
                        break
                    await asyncio.sleep(0.02)

    run(scenario)


def test_when_mail_reaches_it_again_it_is_not_left_alone_for_long() -> None:
    async def scenario() -> None:
        port = free_port()
        async with Peer(port=port) as peer, rig(peer) as one:
            await peer.stop()
            one.up = None
            await one.fails(Unavailable)
            destination = next(iter(one.callouts._destinations.values()))
            destination.past.not_before += 50.0
            await peer.start()
            one.up = True
            await one.fails(Unavailable, match="left alone")
            await asyncio.sleep(1.05)
            assert await one.ask("user") is Answer.TAKEN

    run(scenario)


def test_it_uses_tls_where_it_is_to_be_had() -> None:
    async def scenario() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        trustme.CA().issue_cert("mx.example").configure_cert(context)
        offered = ("STARTTLS", "PIPELINING")
        async with Peer(capabilities=offered, tls=context) as peer, rig(peer) as one:
            assert await one.ask("user") is Answer.TAKEN
            assert peer.commands[1] == "STARTTLS"

    run(scenario)


def test_a_local_part_beyond_ascii_is_asked_for_only_where_it_can_be() -> None:
    async def scenario() -> None:
        async with Peer() as peer, rig(peer) as one:
            assert await one.ask("jörg") is Answer.TAKEN
            assert "MAIL FROM:<> SMTPUTF8" in peer.commands
        async with Peer(capabilities=("PIPELINING",)) as peer, rig(peer) as one:
            await one.fails(SourceError, "jörg", "SMTPUTF8")
            assert await one.ask("user") is Answer.TAKEN
            assert peer.connections == 1

    run(scenario)


def test_who_gives_up_leaves_no_connection_in_the_middle_of_a_question() -> None:
    async def scenario() -> None:
        async with Peer() as peer:
            peer.behave = lambda step: Reaction(None) if step.verb == "RCPT" else None
            async with rig(peer, source=Source(max_rate=100, max_lookups=1)) as one:
                task = asyncio.ensure_future(one.ask("user"))
                while "RSET" not in peer.commands:
                    await asyncio.sleep(0.01)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                peer.behave = lambda _: None
                assert await one.ask("user") is Answer.TAKEN
                assert (peer.connections, peer.open_connections) == (2, 1)

    run(scenario)


def test_a_reload_ends_old_connections_and_uses_the_new_settings() -> None:
    async def scenario() -> None:
        async with Peer() as peer, rig(peer) as one:
            await one.ask("user")
            one.callouts.reconfigure(
                router=one.router,
                hostname="other.example.org",
                outbound=settings(),
                source=Source(max_rate=2),
            )
            await one.ask("user")
            await one.fails(Unavailable, match="most allowed")
            async with asyncio.timeout(5):
                while "QUIT" not in peer.commands:
                    await asyncio.sleep(0.01)
            assert "EHLO other.example.org" in peer.commands

    run(scenario)


def test_a_reload_that_changes_nothing_of_them_ends_no_connection() -> None:
    async def scenario() -> None:
        async with Peer() as peer, rig(peer, source=Source(max_rate=2)) as one:
            for _ in range(2):
                await one.ask("user")
                one.callouts.reconfigure(
                    router=one.router,
                    hostname="mx2.example.org",
                    outbound=settings(),
                    source=Source(max_rate=2),
                )
            await one.fails(Unavailable, match="most allowed")
            assert peer.connections == 1

    run(scenario)


def test_a_host_that_is_no_next_hop_any_more_is_not_asked_on_a_kept_connection() -> None:
    async def scenario() -> None:
        async with Peer() as old, Peer() as new, rig(old) as one:
            assert await one.ask("user") is Answer.TAKEN
            new.behave = only("other")
            one.router.table[DOMAIN] = route_to(new.port, key=one.router.table[DOMAIN].key)
            assert await one.ask("user") is Answer.REFUSED
            async with asyncio.timeout(5):
                while old.open_connections:
                    await asyncio.sleep(0.01)
            assert (old.connections, new.connections) == (1, 1)
            assert old.commands[-1] == "QUIT"

    run(scenario)


def test_connections_are_bounded_over_all_primaries(monkeypatch) -> None:
    monkeypatch.setattr(module, "IDLE_IN_ALL", 3)
    monkeypatch.setattr(module, "IN_USE", 5)

    async def scenario() -> None:
        async with Peer() as peer, rig(peer) as one:
            peer.behave = lambda step: (
                Reaction("250 ok", delay=0.02) if step.verb == "RCPT" else None
            )
            names = [f"d{number}.example" for number in range(20)]
            for name in names:
                one.router.table[name] = route_to(peer.port, key=name)
            await asyncio.gather(*(one.callouts.probe(name, "user") for name in names))
            assert peer.connections == 20
            assert peer.most_open <= 5 + 3 + 4  # some may be saying goodbye
            async with asyncio.timeout(5):
                while peer.open_connections != 3:
                    await asyncio.sleep(0.01)
            await asyncio.gather(*(one.callouts.probe(name, "user") for name in names[-3:]))
            assert peer.connections == 20, "the latest are kept"

    run(scenario)


def test_destinations_that_are_quiet_are_forgotten(monkeypatch) -> None:
    monkeypatch.setattr("tideover.outbound.callout.DESTINATIONS", 3)
    monkeypatch.setattr(module, "IDLE", 0.01)
    monkeypatch.setattr(module, "_MINUTE", 0.01)

    async def scenario() -> None:
        async with Peer() as peer, rig(peer) as one:
            for number in range(10):
                one.router.table[DOMAIN] = route_to(peer.port, key=f"k{number}")
                await one.ask("user")
                await asyncio.sleep(0.05)
            assert len(one.callouts._destinations) <= 3

    run(scenario)
