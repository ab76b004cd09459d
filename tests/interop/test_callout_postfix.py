"""Postfix as the primary that is asked: known, unknown, catch-all, later, refusing, down and back.

The whole way: memory, source, prober, sockets.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from peers import needs_postfix, open_directory

from tideover.config.model import Outbound, Source
from tideover.events.event import Event
from tideover.events.recipient_records import CalloutsRefused, CatchAllFound
from tideover.outbound.callout import Callouts
from tideover.outbound.transport import opportunistic_context
from tideover.primary.interface import NextHop, Route
from tideover.recipients.facts import Facts
from tideover.recipients.interface import Confidence
from tideover.recipients.sources.callout import CalloutAsker, Unavailable
from tideover.recipients.sources.callout_keeper import CalloutKeeper
from tideover.recipients.sources.interface import SourceError
from tideover.testing.ports import free_port
from tideover.testing.postfix import Postfix

pytestmark = [pytest.mark.interop, needs_postfix()]

USERS = [f"user{number}" for number in range(200)]
_HOME = """
virtual_mailbox_domains = example.com, all.example
virtual_mailbox_base = @DIR@/mail
virtual_mailbox_maps = hash:@DIR@/users
virtual_alias_maps =
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
smtpd_relay_restrictions = permit_auth_destination, reject
smtpd_sender_restrictions = check_sender_access hash:@DIR@/senders
smtpd_null_access_lookup_key = null
smtpd_recipient_restrictions = check_recipient_access hash:@DIR@/recipients
smtpd_client_connection_count_limit = 100
smtpd_error_sleep_time = 1s
in_flow_delay = 0s
"""
# in_flow_delay: of 100 accepted RCPTs without a message it would answer one a second, until its
# queue manager looks around again.


class House:
    """A Postfix and what asks it."""

    def __init__(self, postfix: Postfix) -> None:
        self.postfix = postfix
        self.up: bool | None = None
        self.events: list[Event] = []
        self.now = 1_000_000_000.0

    async def route(self, domain: str, *, now: float) -> Route:
        hop = NextHop("primary.example", "127.0.0.1", self.postfix.port)
        return Route(key="primary", hops=(hop,))

    def is_ours(self, domain: str) -> bool:
        return True

    @contextlib.asynccontextmanager
    async def open(self, path: Path, **source) -> AsyncIterator[tuple[CalloutAsker, Facts]]:
        facts = await Facts.open(path, self.events.append, clock=lambda: self.now)
        callouts = Callouts(
            self,
            hostname="mx2.example.org",
            outbound=Outbound(),
            source=Source(**{"max_rate": 10_000, **source}),
            emit=self.events.append,
            tls=opportunistic_context(),
            destination_up=lambda _: self.up,
        )
        asker = CalloutAsker(facts, callouts, self.events.append, clock=lambda: self.now)
        try:
            yield asker, facts
        finally:
            await asker.close()
            await callouts.close()
            await facts.close()

    def count(self, text: str) -> int:
        return self.postfix.log().count(text)


@pytest.fixture(scope="module")
def primary() -> Iterator[Postfix]:
    with open_directory() as directory:
        postfix = Postfix(directory, port=free_port(), settings=_HOME, hostname="home.example.com")
        lines = [f"{user}@example.com {user}/" for user in USERS]
        postfix.table("users", "\n".join([*lines, "@all.example all/"]) + "\n")
        postfix.table("senders", "refused@example.net REJECT\n")
        postfix.table(
            "recipients",
            "grey@example.com 450 4.7.1 greylisted\nblocked@example.com 550 5.7.1 no\n",
        )
        with postfix:
            yield postfix


@pytest.fixture
def house(primary: Postfix) -> House:
    return House(primary)


async def confidence(asker: CalloutAsker, local: str, domain: str = "example.com") -> Confidence:
    match = await asker.ask(domain, [local])
    assert match is not None
    return match.confidence


def test_known_unknown_later_and_policy(house: House, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house.open(tmp_path / "a.sqlite") as (asker, _):
            before = house.count(": connect from")
            assert await confidence(asker, "user1") is Confidence.LEARNED
            assert await confidence(asker, "unknown") is Confidence.REFUSED
            for local in ("grey", "blocked"):
                with pytest.raises(SourceError, match=r"\.7\.1"):
                    await asker.ask("example.com", [local])
            assert house.count(": connect from") - before == 1

    asyncio.run(scenario())
    assert house.events == []
    assert house.postfix.queued() == 0


def test_connections_are_kept_and_hundreds_of_addresses_slow_nothing_down(
    house: House, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with house.open(tmp_path / "a.sqlite", max_lookups=4) as (asker, _):
            await confidence(asker, "user0")
            before = house.count(": connect from")
            loop = asyncio.get_running_loop()
            start = loop.time()
            found = await asyncio.gather(*(confidence(asker, user) for user in USERS))
            assert set(found) == {Confidence.LEARNED}
            assert house.count(": connect from") - before <= 6
            gone = await asyncio.gather(*(confidence(asker, f"gone{n}") for n in range(80)))
            assert set(gone) == {Confidence.REFUSED}
            took = loop.time() - start
            # Postfix sleeps a second for each error from the tenth of a connection on
            assert took < 10.0
            print(f"280 questions in {took:.2f} s, "
                  f"{house.count(': connect from') - before} more connections")  # fmt: skip

    asyncio.run(scenario())
    assert "too many errors" not in house.postfix.log()


def test_a_catch_all_is_found_out(house: House, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house.open(tmp_path / "a.sqlite") as (asker, facts):
            for local in ("anybody", "somebody"):
                assert await confidence(asker, local, "all.example") is Confidence.CATCH_ALL
            assert await facts.page("all.example", "callout") == []
            assert await confidence(asker, "user1") is Confidence.LEARNED

    asyncio.run(scenario())
    assert [type(event) for event in house.events] == [CatchAllFound]


def test_seeds_are_verified_before_it_goes_down_and_outlive_it(
    house: House, tmp_path: Path
) -> None:
    path = tmp_path / "a.sqlite"

    async def before() -> None:
        async with house.open(path) as (asker, facts):
            names = [*USERS[:20], "gone1", "gone2"]
            await facts.seed("example.com", names, "callout", until=house.now + 1e6)
            keeper = CalloutKeeper(
                facts,
                asker,
                sources_of=lambda _: ("callout",),
                primary_up=lambda _: house.up,
                clock=lambda: house.now,
            )
            assert await keeper.make_pass() == 22

    async def during() -> None:
        async with house.open(path) as (asker, _):
            for known_down in (None, False):
                house.up = known_down
                assert await confidence(asker, "user7") is Confidence.LEARNED
                assert await confidence(asker, "gone1") is Confidence.REFUSED
                with pytest.raises(Unavailable):
                    await asker.ask("example.com", ["user99"])
            house.now += 8 * 86400  # it is asked again, in vain
            assert await confidence(asker, "user7") is Confidence.LEARNED
            await asyncio.sleep(0.1)
            assert await confidence(asker, "user7") is Confidence.LEARNED

    async def after() -> None:
        async with house.open(path) as (asker, _):
            assert await confidence(asker, "user99") is Confidence.LEARNED

    asyncio.run(before())
    house.postfix.stop()
    try:
        asyncio.run(during())
    finally:
        house.postfix.start()
    house.up = True
    asyncio.run(after())


def test_a_kept_connection_survives_a_restart_of_the_primary(house: House, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house.open(tmp_path / "a.sqlite") as (asker, _):
            assert await confidence(asker, "user1") is Confidence.LEARNED
            await asyncio.to_thread(house.postfix.stop)
            await asyncio.to_thread(house.postfix.start)
            assert await confidence(asker, "user2") is Confidence.LEARNED

    asyncio.run(scenario())


@pytest.mark.slow
def test_one_that_refuses_the_null_sender_is_told_once(house: House, tmp_path: Path) -> None:
    senders = house.postfix.directory / "senders"
    settings = "null REJECT no bounces here\n"

    async def scenario() -> None:
        async with house.open(tmp_path / "a.sqlite") as (asker, facts):
            for _ in range(3):
                with pytest.raises(SourceError, match="no bounces here"):
                    await asker.ask("example.com", ["user1"])
            assert await facts.page("example.com", "callout") == []

    config = house.postfix.directory / "etc" / "main.cf"
    text = config.read_text()
    before = senders.read_text()
    house.postfix.stop()
    try:
        house.postfix.table("senders", settings)
        config.write_text(text + "smtpd_delay_reject = no\n")
        house.postfix.start()
        asyncio.run(scenario())
    finally:
        house.postfix.stop()
        house.postfix.table("senders", before)
        config.write_text(text)
        house.postfix.start()
    assert [type(event) for event in house.events] == [CalloutsRefused]
