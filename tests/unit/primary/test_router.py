"""primary.router: what is remembered, what outlives DNS trouble, and what is told."""

import asyncio
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest
from virtual import clock, run

from tideover.config.model import Config, Domain
from tideover.config.values import Endpoint
from tideover.dns.resolver import AddressAnswer, MxAnswer
from tideover.events.domain_records import RouteChanged
from tideover.events.event import Event
from tideover.primary.interface import NoRoute, Route, Trouble
from tideover.primary.router import MAX_FOREIGN, ConfigRouter
from tideover.testing.dns import EVERYTHING, FakeResolver

US = "mx2.example.org"
E = TypeVar("E", bound=Event)


def config(**domains: tuple[Endpoint, ...] | None) -> Config:
    return Config(
        hostname=US,
        data_dir=Path(),
        domains={
            name.replace("_", "."): Domain(primary=primary, recipients=("file:r",))
            for name, primary in domains.items()
        },
    )


class Setting:
    """A router for example.com by MX, a table for DNS, and a clock."""

    def __init__(self) -> None:
        self.dns = FakeResolver(
            {"example.com": [(10, "a.example.com"), (20, US)], "else.org": [(5, "a.example.com")]},
            {"a.example.com": ["192.0.2.1"], "b.example.com": ["192.0.2.2"], US: ["192.0.2.99"]},
        )
        self.events: list[Event] = []
        self.router = ConfigRouter(
            config(example_com=None),
            self.dns,
            self.events.append,
            random=Random(1),
            has_address=lambda _: False,
        )
        self.now = 1000.0

    def route(self, domain: str = "example.com", after: float = 0.0) -> Route | NoRoute:
        self.now += after
        return asyncio.run(self.router.route(domain, now=self.now))

    def addresses(self, after: float = 0.0) -> list[str]:
        route = self.route(after=after)
        assert isinstance(route, Route), route
        assert route.expires_at is None or route.expires_at > self.now
        return [hop.address for hop in route.hops]

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def trouble(self, after: float = 0.0) -> Trouble:
        route = self.route(after=after)
        assert isinstance(route, NoRoute), route
        assert route.retry_at > self.now
        return route.trouble


@pytest.fixture
def setting() -> Setting:
    return Setting()


def test_a_route_is_remembered_for_its_ttl(setting: Setting) -> None:
    assert setting.addresses() == ["192.0.2.1"]
    asked = len(setting.dns.asked)
    setting.addresses(after=299)
    assert len(setting.dns.asked) == asked
    setting.dns.mx_records["example.com"] = [(10, "b.example.com"), (20, US)]
    assert setting.addresses(after=2) == ["192.0.2.2"]


def test_changes_are_told_once_and_not_when_only_the_order_differs(setting: Setting) -> None:
    setting.dns.mx_records["example.com"] = [(10, "a.example.com"), (10, "b.example.com")]
    for _ in range(30):
        setting.addresses(after=301)
    assert len(setting.told(RouteChanged)) == 1
    setting.dns.mx_records["example.com"] = [(10, "b.example.com")]
    setting.addresses(after=301)
    (change,) = setting.told(RouteChanged)[1:]
    assert sorted(change.before) == ["a.example.com[192.0.2.1]:25", "b.example.com[192.0.2.2]:25"]
    assert change.after == ("b.example.com[192.0.2.2]:25",)


def test_i9_the_last_good_route_outlives_dns(setting: Setting) -> None:
    setting.addresses()
    setting.dns.broken.add(EVERYTHING)
    for _ in range(20):
        assert setting.addresses(after=3600) == ["192.0.2.1"]
    setting.dns.broken.clear()
    setting.dns.mx_records["example.com"] = [(10, "b.example.com")]
    assert setting.addresses(after=61) == ["192.0.2.2"]


def test_i9_without_a_last_good_route_mail_waits_and_dns_is_asked_again(setting: Setting) -> None:
    setting.dns.broken.add(EVERYTHING)
    assert setting.trouble() is Trouble.TEMPORARY
    asked = len(setting.dns.asked)
    setting.trouble(after=4)
    assert len(setting.dns.asked) == asked
    setting.dns.broken.clear()
    assert setting.addresses(after=2) == ["192.0.2.1"]


def test_retries_get_rarer_up_to_a_minute(setting: Setting) -> None:
    setting.dns.broken.add(EVERYTHING)
    waits = []
    for _ in range(8):
        route = setting.route()
        assert isinstance(route, NoRoute)
        waits.append(route.retry_at - setting.now)
        setting.now = route.retry_at
    assert waits == [5, 10, 20, 40, 60, 60, 60, 60]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"example.com": [(10, US)]}, Trouble.BEST_MX),
        ({"example.com": [(0, "")]}, Trouble.NULL_MX),
        ({}, Trouble.NO_SUCH_DOMAIN),
    ],
)
def test_i9_what_dns_says_plainly_holds_and_heals(
    setting: Setting, change: dict[str, list[tuple[int, str]]], expected: Trouble
) -> None:
    setting.addresses()
    before = setting.dns.mx_records
    setting.dns.mx_records = change
    assert setting.trouble(after=301) is expected
    setting.dns.mx_records = before
    assert setting.addresses(after=301) == ["192.0.2.1"]


def test_i9_mx_records_that_vanish_do_not_send_mail_to_the_web_server(setting: Setting) -> None:
    setting.addresses()
    setting.dns.mx_records["example.com"] = []
    setting.dns.address_records["example.com"] = ["192.0.2.80"]
    assert setting.addresses(after=301) == ["192.0.2.1"]
    assert setting.addresses(after=3600) == ["192.0.2.1"]
    assert setting.addresses(after=86_400) == ["192.0.2.80"]  # it is meant


def test_a_partial_answer_does_not_replace_a_whole_one(setting: Setting) -> None:
    setting.dns.mx_records["example.com"] = [(10, "a.example.com"), (15, "b.example.com")]
    assert setting.addresses() == ["192.0.2.1", "192.0.2.2"]
    setting.dns.broken.add("a.example.com")
    assert setting.addresses(after=301) == ["192.0.2.1", "192.0.2.2"]
    assert setting.addresses(after=86_500) == ["192.0.2.2"]


def test_a_partial_answer_is_better_than_none_and_asked_again_soon(setting: Setting) -> None:
    setting.dns.mx_records["example.com"] = [(10, "a.example.com"), (15, "b.example.com")]
    setting.dns.broken.add("a.example.com")
    assert setting.addresses() == ["192.0.2.2"]
    setting.dns.broken.clear()
    assert setting.addresses(after=6) == ["192.0.2.1", "192.0.2.2"]


def test_foreign_domains_go_by_mx_without_events_and_bounded(setting: Setting) -> None:
    route = setting.route("else.org")
    assert isinstance(route, Route)
    assert route.warning is None
    assert setting.events == []
    assert not setting.router.is_ours("else.org")
    assert setting.router.is_ours("example.com")
    for n in range(MAX_FOREIGN + 10):
        setting.route(f"d{n}.example")
    assert len(setting.router._foreign) == MAX_FOREIGN


class SlowResolver(FakeResolver):
    """Answers when told to."""

    def __init__(self, like: FakeResolver) -> None:
        super().__init__(like.mx_records, like.address_records)
        self.go = asyncio.Event()

    async def mx(self, name: str) -> MxAnswer:
        self.asked.append(f"mx {name}")
        await self.go.wait()
        return MxAnswer(tuple(self.mx_records[name]), 300)

    async def addresses(self, name: str) -> AddressAnswer:
        return AddressAnswer(tuple(self.address_records[name]), 300)


def test_concurrent_look_ups_are_one_and_survive_a_caller_that_gives_up(setting: Setting) -> None:
    async def run() -> None:
        slow = SlowResolver(setting.dns)
        router = ConfigRouter(config(example_com=None), slow, setting.events.append)
        first, *others = [
            asyncio.create_task(router.route("example.com", now=1.0)) for _ in range(10)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        slow.go.set()
        routes = await asyncio.gather(*others)
        assert all(isinstance(route, Route) for route in routes)
        assert slow.asked == ["mx example.com"]

    asyncio.run(run())


def test_reconfigure_keeps_routes_of_domains_that_stay(setting: Setting) -> None:
    setting.addresses()
    setting.dns.broken.add(EVERYTHING)
    static = (Endpoint("127.0.0.1", 2526),)
    setting.router.reconfigure(config(example_com=None, example_org=static))
    assert setting.addresses(after=301) == ["192.0.2.1"]
    assert setting.router.is_ours("example.org")
    setting.router.reconfigure(config(example_com=static))
    assert setting.addresses() == ["127.0.0.1"]
    assert not setting.router.is_ours("example.org")


def test_a_static_route_is_looked_up_once(setting: Setting) -> None:
    setting.router.reconfigure(config(example_com=(Endpoint("127.0.0.1", 2526),)))
    for _ in range(3):
        route = setting.route(after=10**6)
        assert isinstance(route, Route)
        assert route.expires_at is None
    assert setting.dns.asked == []


def test_a_dns_that_takes_its_time_holds_nobody_up_who_has_a_route() -> None:
    class Slow(FakeResolver):
        pause = 0.0

        async def mx(self, name: str) -> MxAnswer:
            await asyncio.sleep(self.pause)
            return await super().mx(name)

    async def work() -> None:
        dns = Slow({"example.com": [(10, "a.example.com")]}, {"a.example.com": ["192.0.2.1"]})
        router = ConfigRouter(
            config(example_com=None), dns, [].append, random=Random(1), has_address=lambda _: False
        )
        dns.pause = 5.0
        began = clock()
        first = await router.route("example.com", now=clock())
        assert clock() - began >= 5.0  # there is none to go on with
        dns.address_records["a.example.com"] = ["192.0.2.2"]
        later = clock() + 100_000.0
        began = clock()
        assert await asyncio.gather(*(router.route("example.com", now=later) for _ in range(9))) \
            == [first] * 9  # fmt: skip
        assert clock() - began < 2.0
        await asyncio.sleep(5.0)
        found = await router.route("example.com", now=later)
        assert isinstance(found, Route)
        assert [hop.address for hop in found.hops] == ["192.0.2.2"]

    run(work())
