"""Connections kept for transactions that pass through: how many, how long, to whom, for whom."""

import asyncio

import pytest
from live_rig import BODY, OFFERS, rig, saying, settled, talk
from outbound_rig import DOMAIN, run

from tideover.outbound import kept as kept_module
from tideover.outbound import pool as pool_module
from tideover.primary.interface import NextHop, NoRoute, Route, Trouble
from tideover.primary.relay import Crowded, Gone
from tideover.smtp.receipt import Receipt
from tideover.testing.peer import Peer, Reaction, Step
from tideover.testing.ports import free_port


def test_a_connection_that_the_server_closed_is_not_used():
    async def scenario() -> None:
        async with Peer() as peer, rig(peer.port) as site:
            assert isinstance(await site.send(), Receipt)
            for session in list(peer._sessions):
                session._transport.write(b"421 4.4.2 timeout\r\n")
                session._close()
            await asyncio.sleep(0.02)
            assert isinstance(await site.send(), Receipt)
            assert peer.connections == 2
            assert site.evidence.downs == []

    run(scenario)


@pytest.mark.parametrize("how", ["close", "421"])
def test_one_that_fails_at_its_first_command_is_replaced_once(how):
    async def scenario() -> None:
        def behave(step: Step) -> Reaction | None:
            if step.verb == "MAIL" and step.message == 2:
                return Reaction(None if how == "close" else "421 4.4.2 timeout", close=True)
            return None

        async with Peer(behave=behave) as peer, rig(peer.port) as site:
            for _ in range(3):
                assert isinstance(await site.send(), Receipt)
            assert (peer.connections, len(peer.messages)) == (3, 3)
            assert site.evidence.downs == []
            peer.behave = lambda step: Reaction(close=True) if step.verb == "MAIL" else None
            assert isinstance(await site.send(), Gone)
            assert peer.connections == 4

    run(scenario)


def test_after_a_pause_a_connection_is_asked_first(monkeypatch):
    monkeypatch.setattr(pool_module, "FRESH", -1.0)
    monkeypatch.setattr(pool_module, "ALIVE", 0.1)

    async def scenario() -> None:
        async with Peer() as peer, rig(peer.port) as site:
            assert isinstance(await site.send(), Receipt)
            assert isinstance(await site.send(), Receipt)
            assert (peer.connections, peer.commands.count("RSET")) == (1, 1)
            peer.behave = lambda step: Reaction() if step.verb == "RSET" else None
            assert isinstance(await site.send(), Receipt)
            assert peer.connections == 2

    run(scenario)


def test_no_more_than_allowed_at_once(monkeypatch):
    monkeypatch.setattr(pool_module, "PATIENCE", 0.05)

    async def scenario() -> None:
        async with Peer() as peer, rig(peer.port, max_connections=2) as site:
            first, second = await site.open(), await site.open()
            assert await site.send() == Crowded()
            first.abandon()
            assert isinstance(await site.send(), Receipt)
            second.abandon()
            assert peer.most_open == 2

    run(scenario)


def test_a_limit_of_the_primarys_own_is_a_crowd_too():
    async def scenario() -> None:
        def behave(step: Step) -> Reaction | None:
            if step.verb == "CONNECT" and step.connection > 1:
                return Reaction("421 4.7.0 too many connections", close=True)
            return None

        async with Peer(behave=behave) as peer, rig(peer.port) as site:
            first = await site.open()
            assert await site.send() == Crowded()
            assert site.evidence.downs == []
            first.abandon()
            assert isinstance(await site.send(), Receipt)

    run(scenario)


def test_a_connection_ends_when_it_is_worn_or_idle(monkeypatch):
    monkeypatch.setattr(kept_module, "TRANSACTIONS", 2)

    async def scenario() -> None:
        async with Peer() as peer, rig(peer.port, idle_time=0.1) as site:
            for _ in range(3):
                assert isinstance(await site.send(), Receipt)
            assert peer.connections == 2
            await settled(peer, 0)
            assert peer.commands.count("QUIT") == 2

    run(scenario)


def test_who_is_refused_much_costs_a_connection_not_the_servers_patience():
    async def scenario() -> None:
        async with (
            Peer(behave=saying(RCPT="550 5.1.1 no such user")) as peer,
            rig(peer.port) as site,
        ):
            for _ in range(2 * kept_module.REFUSALS):
                assert (await site.send()).code == 550
                await asyncio.sleep(0.005)  # RSET
            assert peer.connections == 2

    run(scenario)


def test_the_limit_on_transactions_that_the_server_names_is_kept():
    async def scenario() -> None:
        async with (
            Peer(capabilities=("PIPELINING", "LIMITS MAILMAX=1")) as peer,
            rig(peer.port) as site,
        ):
            for _ in range(3):
                assert isinstance(await site.send(), Receipt)
            assert peer.connections == 3

    run(scenario)


def test_all_are_ended_politely_at_reload_and_at_the_end():
    async def scenario() -> None:
        async with Peer() as peer:
            async with rig(peer.port) as site:
                assert isinstance(await site.send(), Receipt)
                live = await site.open()
                _, outbound, settings = site.relay._settings
                site.relay.reconfigure(
                    router=site.router, hostname="new.example.org", outbound=outbound,
                    settings=settings,
                )  # fmt: skip
                assert isinstance(await talk(live, BODY), Receipt)
                await settled(peer, 0)
                assert isinstance(await site.send(), Receipt)
                assert "EHLO new.example.org" in peer.commands
            await settled(peer, 0)
            assert peer.commands.count("QUIT") == 2

    run(scenario)


# Hosts


def hops(*choices: tuple[int, int]) -> Route:
    return Route(
        key="several",
        hops=tuple(
            NextHop(f"mx{port}", "127.0.0.1", port, preference=preference)
            for port, preference in choices
        ),
    )


def test_equal_hosts_share_the_load_and_a_dead_one_is_passed_over(monkeypatch):
    monkeypatch.setattr(kept_module, "TRANSACTIONS", 1)

    async def scenario() -> None:
        async with Peer() as one, Peer() as two:
            route = hops((one.port, 10), (two.port, 10))
            async with rig(route=route) as site:
                lives = [await site.open() for _ in range(20)]
                assert one.connections > 2 < two.connections
                for live in lives:
                    live.abandon()
                await one.stop()
                before = len(site.evidence.downs)
                for _ in range(40):
                    assert isinstance(await site.send(), Receipt)
                assert len(site.evidence.downs) - before <= 1
                assert len(two.messages) == 40

    run(scenario)


def test_a_better_host_that_is_back_is_used_again(monkeypatch):
    monkeypatch.setattr(pool_module, "PASS_OVER", 0.1)

    async def scenario() -> None:
        port = free_port()
        async with Peer() as worse, rig(route=hops((port, 10), (worse.port, 20))) as site:
            assert isinstance(await site.send(), Receipt)
            async with Peer(port=port) as better:
                await asyncio.sleep(0.15)
                assert isinstance(await site.send(), Receipt)
                assert (len(better.messages), len(worse.messages)) == (1, 1)

    run(scenario)


def test_a_host_that_fails_in_a_transaction_is_passed_over():
    async def scenario() -> None:
        async with Peer(behave=lambda step: _hang_up(step, "MAIL")) as better, Peer() as worse:
            route = hops((better.port, 10), (worse.port, 20))
            async with rig(route=route) as site:
                assert isinstance(await site.send(), Gone)
                assert isinstance(await site.send(), Receipt)
                assert (better.connections, len(worse.messages)) == (1, 1)

    run(scenario)


def _hang_up(step: Step, verb: str) -> Reaction | None:
    return Reaction(close=True) if step.verb == verb else None


def test_a_silent_host_costs_time_once_only():
    async def scenario() -> None:
        def silent(step: Step) -> Reaction | None:
            return Reaction() if step.verb == "CONNECT" else None

        async with Peer(behave=silent) as first, Peer() as second:
            route = hops((first.port, 10), (second.port, 20))
            async with rig(route=route, connect_timeout=0.6) as site:
                loop = asyncio.get_running_loop()
                began = loop.time()
                lives = [await site.open() for _ in range(4)]
                assert loop.time() - began < 0.6
                assert first.connections == 1
                for live in lives:
                    live.abandon()

    run(scenario)


def test_nowhere_to_go():
    async def scenario() -> None:
        async with rig(free_port()) as site:
            assert isinstance(await site.send(), Gone)
            assert len(site.evidence.downs) == 1
            site.router.table[DOMAIN] = NoRoute(
                trouble=Trouble.TEMPORARY, text="DNS is down", retry_at=0.0
            )
            assert await site.send() == Gone(text="DNS is down")
            hop = NextHop("mx", "127.0.0.1", free_port(), intermediate=True)
            site.router.table[DOMAIN] = Route(key="x", hops=(hop,))
            assert isinstance(await site.send(), Gone)

    run(scenario)


# Who the client is

XCLIENT = (*OFFERS, "XCLIENT NAME ADDR PORT PROTO HELO")


@pytest.mark.parametrize("pipelining", [True, False])
def test_the_client_is_told_by_xforward_each_time(pipelining):
    async def scenario() -> None:
        offers = (*OFFERS[0 if pipelining else 1 :], "XFORWARD NAME ADDR PROTO HELO")

        def behave(step: Step) -> Reaction | None:
            return Reaction("250 2.0.0 ok") if step.verb == "XFORWARD" else None

        async with Peer(capabilities=offers, behave=behave) as peer, rig(peer.port) as site:
            for number in (1, 2):
                live = await site.open(number=number)
                assert live.told == "XFORWARD"
                assert isinstance(await talk(live, BODY), Receipt)
            told = [line for line in peer.commands if line.startswith("XFORWARD")]
            assert [f"ADDR=192.0.2.{n}" in line for n, line in enumerate(told, 1)] == [True] * 2
            assert peer.connections == 1

    run(scenario)


def test_each_client_has_a_connection_of_its_own_where_xclient_is_for_good():
    async def scenario() -> None:
        told: set[int] = set()

        def behave(step: Step) -> Reaction | None:
            if step.verb == "EHLO" and step.connection in told:
                return Reaction("250-peer.example\n250 PIPELINING")  # no XCLIENT any more
            if step.verb == "XCLIENT":
                told.add(step.connection)
                return Reaction("220 home ESMTP")
            return None

        async with Peer(capabilities=XCLIENT, behave=behave) as peer, rig(peer.port) as site:
            ready = []
            clients = (1, 1, *range(2, 20))
            for number in clients:
                live = await site.open(number=number)
                ready.append(live._kept.waited)
                assert live.told == "XCLIENT"
                assert isinstance(await talk(live, BODY), Receipt)
                await asyncio.sleep(0.02)
            lines = [line for line in peer.commands if line.startswith("XCLIENT")]
            assert len(lines) == 19
            assert all("NAME=client.example.net" in line for line in lines)
            assert len({message.connection for message in peer.messages}) == 19
            assert ready.count(False) <= 2  # the rest were opened ahead
            assert peer.open_connections <= pool_module.HELD + pool_module.SPARES

    run(scenario)


def test_a_client_whom_the_primary_refuses():
    async def scenario() -> None:
        def behave(step: Step) -> Reaction | None:
            if step.verb == "XCLIENT":
                return Reaction("550 5.7.1 blocked")
            return None

        async with Peer(capabilities=XCLIENT, behave=behave) as peer, rig(peer.port) as site:
            answer = await site.send()
            assert str(answer) == "550 5.7.1 blocked"
            await settled(peer, 0)

    run(scenario)
