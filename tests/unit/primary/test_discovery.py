"""primary.discovery: domains that are taken in because DNS names us, and all who must not be.

Postfix's `permit_mx_backup` made open relays of backups: who names one in his MX set had it carry
his mail. Here the better hosts must be those of listed owners, whoever asks.
"""

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from tideover.config.model import Config, Discover, Domain, Smtp
from tideover.config.values import Endpoint
from tideover.dns.resolver import DnsUnavailable, MxAnswer
from tideover.events.domain_records import DiscoveryFull, DomainDiscovered, DomainLost
from tideover.events.event import Event
from tideover.primary.discovery import (
    AT_ONCE,
    MAX_REFUSED,
    NO_PRIMARY_HOLDS,
    Discovery,
)
from tideover.primary.store import PrimaryStore
from tideover.testing.dns import EVERYTHING, FakeResolver

D = "customer.example"
US = "mx2.example.org"
OURS = "198.51.100.1"
HOME = "mail.owner.example"
BEHIND = [(10, HOME), (20, US)]
ADDRESSES = {
    HOME: ["192.0.2.1"],
    "mail2.owner.example": ["192.0.2.2", "2001:db8::2"],
    "half.owner.example": ["192.0.2.3", "203.0.113.3"],
    "mail.stranger.example": ["203.0.113.1"],
    "alias.example.org": [OURS],
    "loop.stranger.example": ["127.0.0.1"],
    US: [OURS],
}
BY_NAME = Discover(primary_hosts=(HOME,))
BY_NETWORK = Discover(primary_networks=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")))


class Day:
    """A discovery on tables of DNS; the clock is ours."""

    def __init__(self, path: Path, discover: Discover = BY_NAME) -> None:
        self.path = path
        self.dns = FakeResolver({D: BEHIND}, ADDRESSES)
        self.events: list[Event] = []
        self.found: list[str] = []
        self.lost: list[str] = []
        self.now = 1_000_000.0
        self.config = self.configured(discover)
        self.discovery: Discovery
        self.store: PrimaryStore

    def configured(self, discover: Discover, *domains: str) -> Config:
        smtp = Smtp(listen=(Endpoint(OURS, 25), Endpoint("127.0.0.1", 25)))
        named = {name: Domain(primary=None, recipients=("file:r",)) for name in domains}
        return Config(hostname=US, data_dir=Path(), smtp=smtp, discover=discover, domains=named)

    async def start(self) -> None:
        self.store = await PrimaryStore.open(self.path, self.events.append, clock=lambda: self.now)
        self.discovery = Discovery(
            self.config,
            self.dns,
            self.store,
            self.events.append,
            on_found=lambda name, _: self.found.append(name),
            on_lost=self.lost.append,
            clock=lambda: self.now,
            random=Random(1),
            has_address=lambda address: address == OURS,
        )
        self.discovery.adopt(self.config)

    async def restart(self, discover: Discover = BY_NAME, *domains: str) -> None:
        await self.store.close()
        self.config = self.configured(discover, *domains)
        await self.start()

    async def is_ours(self, domain: str = D, after: float = 0.0) -> bool:
        self.now += after
        return await self.discovery.ask(domain) is not None

    async def check(self, domain: str = D, after: float = 400.0) -> None:
        """What the clockwork does when a domain is due."""
        self.now += after
        await self.discovery._check_again(domain)

    def asked(self) -> list[str]:
        return [name for name in self.dns.asked if name.startswith("mx ")]


def live(
    path: Path, work: Callable[[Day], Awaitable[None]], *, discover: Discover = BY_NAME
) -> None:
    async def run() -> None:
        day = Day(path, discover)
        await day.start()
        try:
            await work(day)
        finally:
            await day.store.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("hosts", "discover"),
    [
        (BEHIND, BY_NAME),
        ([(10, HOME), (20, "alias.example.org")], BY_NAME),  # we, by address
        (
            [(10, HOME), (20, US), (30, "mail.stranger.example")],
            BY_NAME,
        ),  # worse than we: no matter
        (BEHIND, BY_NETWORK),
        ([(5, HOME), (10, "mail2.owner.example"), (20, US)], BY_NETWORK),
    ],
)
def test_a_domain_of_a_listed_owner_is_taken_in(
    tmp_path: Path, hosts: list[tuple[int, str]], discover: Discover
) -> None:
    async def work(day: Day) -> None:
        day.dns.mx_records[D] = hosts
        settings = await day.discovery.ask(D)
        assert settings == Domain(primary=None, recipients=("callout", "learn"))
        assert day.found == [D]
        assert [type(event) for event in day.events] == [DomainDiscovered]
        asked = len(day.dns.asked)
        assert await day.is_ours()
        assert len(day.dns.asked) == asked

    live(tmp_path, work, discover=discover)


@pytest.mark.parametrize(
    ("hosts", "discover"),
    [
        # a stranger names us behind his own host: we would carry his mail
        ([(10, "mail.stranger.example"), (20, US)], BY_NAME),
        ([(10, "mail.stranger.example"), (20, US)], BY_NETWORK),
        # he adds a listed host beside his own
        ([(5, "mail.stranger.example"), (10, HOME), (20, US)], BY_NAME),
        ([(10, HOME), (15, "mail.stranger.example"), (20, US)], BY_NETWORK),
        # a host with an address in a listed network, and one of his own
        ([(10, "half.owner.example"), (20, US)], BY_NETWORK),
        # names that only look like a listed one
        ([(10, "mail.owner.example.stranger.example"), (20, US)], BY_NAME),
        ([(10, "x.mail.owner.example"), (20, US)], BY_NAME),
        # a better host without any address
        ([(10, "nowhere.owner.example"), (20, US)], BY_NETWORK),
        # we are the best, or alone: whose it is nobody can tell
        ([(10, US), (20, HOME)], BY_NAME),
        ([(10, US), (10, HOME)], BY_NAME),
        ([(10, US)], BY_NAME),
        # we are the best by address, although a listed host stands before our name
        ([(5, "alias.example.org"), (10, HOME), (20, US)], BY_NETWORK),
        # not named at all; named by a loopback address, which is everybody's
        ([(10, HOME)], BY_NAME),
        ([(10, HOME), (20, "loop.stranger.example")], BY_NAME),
        # null MX, no MX, and a set that is long enough to make us work
        ([(0, "")], BY_NAME),
        ([], BY_NAME),
        ([(10, HOME), *((n, f"h{n}.stranger.example") for n in range(11, 30)), (30, US)], BY_NAME),
        # nothing is listed
        (BEHIND, Discover()),
    ],
)
def test_strangers_are_never_taken_in(
    tmp_path: Path, hosts: list[tuple[int, str]], discover: Discover
) -> None:
    async def work(day: Day) -> None:
        day.dns.mx_records[D] = hosts
        assert not await day.is_ours()
        assert day.found == []
        assert day.events == []
        asked = len(day.dns.asked)
        assert not await day.is_ours(after=200)
        assert len(day.dns.asked) == asked, "a no is remembered"

    live(tmp_path, work, discover=discover)


@pytest.mark.parametrize(
    "name",
    [
        "com", "localhost", "", ".", "192.0.2.1", "[192.0.2.1]", "2001:db8::1", "a..example",
        "example.com.", "EXAMPLE.com", "-a.example", "a" * 64 + ".example", "x." * 130 + "example",
        "bücher.example", "a b.example", "a.example\n", "a.0", "*.example",
    ],
)  # fmt: skip
def test_what_is_no_domain_name_is_not_looked_up(tmp_path: Path, name: str) -> None:
    async def work(day: Day) -> None:
        assert not await day.is_ours(name)
        assert day.dns.asked == []

    live(tmp_path, work)


@pytest.mark.parametrize("broken", [D, HOME])
def test_what_dns_does_not_say_is_neither_yes_nor_no(tmp_path: Path, broken: str) -> None:
    async def work(day: Day) -> None:
        day.dns.broken.add(broken)
        for _ in range(3):
            with pytest.raises(DnsUnavailable):
                await day.discovery.ask(D)
        assert len(day.asked()) == 1, "asked again only after a while"
        day.dns.broken.clear()
        assert await day.is_ours(after=31)

    live(tmp_path, work, discover=BY_NETWORK)


def test_a_host_whose_addresses_are_known_in_part_is_not_listed_yet(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        day.dns.partial.add(HOME)
        with pytest.raises(DnsUnavailable):
            await day.discovery.ask(D)

    live(tmp_path, work, discover=BY_NETWORK)


def test_a_wildcard_does_not_make_endless_domains(tmp_path: Path) -> None:
    class Wild(FakeResolver):
        async def mx(self, name: str) -> MxAnswer:
            self.asked.append(f"mx {name}")
            return MxAnswer(tuple(BEHIND), 300.0)

    async def work(day: Day) -> None:
        day.discovery._resolver = day.dns = Wild({}, ADDRESSES)
        day.discovery.adopt(day.config)
        for n in range(10):
            assert not await day.is_ours(f"x{n}.wild.example")
        assert day.found == []

    live(tmp_path, work)


def test_a_no_holds_as_its_ttl_says_within_bounds(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        day.dns.ttl = 1.0
        day.dns.mx_records[D] = [(10, HOME)]
        assert not await day.is_ours()
        day.dns.mx_records[D] = BEHIND
        assert not await day.is_ours(after=29)
        assert await day.is_ours(after=2)
        day.dns.ttl = 86_400.0
        day.dns.mx_records["late.example"] = [(10, HOME)]
        assert not await day.is_ours("late.example")
        day.dns.mx_records["late.example"] = BEHIND
        assert not await day.is_ours("late.example", after=299)
        assert await day.is_ours("late.example", after=2)

    live(tmp_path, work)


class SlowResolver(FakeResolver):
    async def mx(self, name: str) -> MxAnswer:
        self.asked.append(f"mx {name}")
        await asyncio.sleep(0.01)
        return MxAnswer((), 300.0)


def test_a_stranger_can_not_make_us_ask_without_end(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        day.discovery._resolver = day.dns = SlowResolver()
        day.discovery.adopt(day.config)
        answers = await asyncio.gather(
            *(day.discovery.ask(f"d{n}.example") for n in range(100)), return_exceptions=True
        )
        assert len(day.dns.asked) == AT_ONCE
        assert sum(isinstance(answer, DnsUnavailable) for answer in answers) == 100 - AT_ONCE
        told = 0
        for n in range(200, 400):  # one after the other, but within one second
            try:
                await day.discovery.ask(f"d{n}.example")
            except DnsUnavailable:
                told += 1
        assert told >= 100
        day.now += 1
        assert not await day.is_ours("d999.example")

    live(tmp_path, work)


def test_what_is_remembered_of_strangers_is_bounded(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        for n in range(MAX_REFUSED + 100):
            day.now += 0.1
            assert not await day.is_ours(f"d{n}.example")
        assert len(day.discovery._refused) == MAX_REFUSED

    live(tmp_path, work)


def test_many_who_ask_for_one_domain_are_one_look_up(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        answers = await asyncio.gather(*(day.discovery.ask(D) for _ in range(50)))
        assert all(answer is not None for answer in answers)
        assert day.asked().count(f"mx {D}") == 1
        assert day.found == [D]

    live(tmp_path, work)


def test_discovered_domains_outlive_a_restart_also_while_dns_is_down(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        assert await day.is_ours()
        day.dns.broken.add(EVERYTHING)
        await day.restart()
        assert list(day.config.domains) == [D]
        await day.check()
        assert await day.is_ours()
        assert day.lost == []

    live(tmp_path, work)


@pytest.mark.parametrize(
    "hosts",
    [
        [(10, HOME)],  # names us no more
        [(10, "mail.stranger.example"), (20, US)],  # another owner
        [(5, "mail.stranger.example"), *BEHIND],
        [(0, "")],
    ],
)
def test_a_domain_that_is_no_longer_of_a_listed_owner_is_lost(
    tmp_path: Path, hosts: list[tuple[int, str]]
) -> None:
    async def work(day: Day) -> None:
        await day.is_ours()
        day.dns.mx_records[D] = hosts
        await day.check()
        assert day.lost == [D]
        assert isinstance(day.events[-1], DomainLost)
        assert not await day.is_ours()
        await day.restart()
        assert day.config.domains == {}

    live(tmp_path, work)


@pytest.mark.parametrize("hosts", [[], [(10, US)], None])
def test_i9_a_set_that_names_no_primary_any_more_costs_no_mail_for_days(
    tmp_path: Path, hosts: list[tuple[int, str]] | None
) -> None:
    async def work(day: Day) -> None:
        await day.is_ours()
        if hosts is None:
            del day.dns.mx_records[D]  # NXDOMAIN
        else:
            day.dns.mx_records[D] = hosts
        await day.check(after=NO_PRIMARY_HOLDS - 10)
        assert day.lost == []
        await day.check(after=20)
        assert day.lost == [D]

    live(tmp_path, work)


def test_an_owner_that_the_operator_no_longer_lists(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        await day.is_ours()
        fresh = day.configured(Discover(primary_hosts=("other.example",)))
        day.discovery.adopt(fresh)
        assert list(fresh.domains) == [D], "until DNS was asked again"
        await day.check(after=0)
        assert day.lost == [D]
        day.discovery.adopt(day.configured(BY_NAME))
        assert await day.is_ours()
        off = day.configured(Discover())
        day.discovery.adopt(off)
        assert off.domains == {}
        assert not await day.is_ours()
        await day.restart()
        assert day.config.domains == {}

    live(tmp_path, work)


def test_a_domain_that_is_configured_is_discovered_no_more(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        await day.is_ours()
        fresh = day.configured(BY_NAME, D)
        day.discovery.adopt(fresh)
        assert fresh.domains[D].recipients == ("file:r",)
        await day.restart()
        assert day.config.domains == {}

    live(tmp_path, work)


def test_no_more_than_max_domains_and_those_without_mail_go_first(tmp_path: Path) -> None:
    names = [f"d{n}.example" for n in range(5)]
    few = Discover(primary_hosts=(HOME,), max_domains=3)

    async def work(day: Day) -> None:
        day.dns.mx_records |= dict.fromkeys(names, BEHIND)
        for name in names[:3]:
            assert await day.is_ours(name, after=1)
            day.discovery.used(name)
        for _ in range(2):
            with pytest.raises(DnsUnavailable):
                await day.is_ours(names[3], after=5000)
        assert sum(isinstance(event, DiscoveryFull) for event in day.events) == 1
        day.discovery._found[names[1]] = replace(day.discovery._found[names[1]], used=False)
        assert await day.is_ours(names[4], after=5000)
        assert day.lost == [names[1]]
        with pytest.raises(DnsUnavailable):
            await day.is_ours(names[1])  # nobody without mail is old enough
        await day.restart(few)
        assert sorted(day.config.domains) == [names[0], names[2], names[4]]

    live(tmp_path, work, discover=few)


def test_the_clockwork_checks_found_domains_as_their_ttl_says(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        await day.is_ours()
        day.dns.mx_records[D] = [(10, HOME)]
        task = asyncio.create_task(day.discovery.run())
        await asyncio.sleep(0.05)
        assert day.lost == []
        day.now += 330
        day.discovery._pacer._wake.set()
        await asyncio.sleep(0.05)
        assert day.lost == [D]
        task.cancel()

    live(tmp_path, work)
