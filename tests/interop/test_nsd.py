"""Following the DNS of a real NSD: what the operator of a zone may do to us on any day."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest

from tideover.config.model import Config, Discover, Dns, Domain
from tideover.dns.resolver import DnsResolver, DnsUnavailable
from tideover.events.domain_records import MxAlarm, MxAlarmCleared, MxChanged
from tideover.events.event import Event
from tideover.primary.discovery import Discovery
from tideover.primary.interface import NoRoute, Trouble
from tideover.primary.router import ConfigRouter
from tideover.primary.store import PrimaryStore
from tideover.primary.watch import Watch
from tideover.testing import nsd as nsd_server
from tideover.testing.nsd import Nsd

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(nsd_server.why_missing() is not None, reason=nsd_server.why_missing() or ""),
]

D = "example.com"
US = "mx2.example.org"
E = TypeVar("E", bound=Event)
HOSTS = "a A 192.0.2.1\nb A 192.0.2.2\nc A 192.0.2.3\n"
GOOD = f"@ MX 10 a\n@ MX 20 {US}.\n{HOSTS}"
TTL = 301.0
"""Seconds after which what DNS said has run out."""


@pytest.fixture
def nsd(tmp_path: Path) -> Iterator[Nsd]:
    server = Nsd(tmp_path)
    server.zone(D, GOOD)
    with server:
        yield server


class Day:
    """A router with a real resolver and store; the clock is ours."""

    def __init__(self, path: Path, nsd: Nsd) -> None:
        self.path = path
        self.nsd = nsd
        self.now = 1_000_000.0
        self.events: list[Event] = []
        self.config = Config(
            hostname=US,
            data_dir=path,
            dns=Dns(servers=(nsd.endpoint,), timeout=1.0),
            discover=Discover(primary_hosts=(f"a.{D}",)),
            domains={D: Domain(primary=None, recipients=("file:r",))},
        )
        self.resolver: DnsResolver
        self.router: ConfigRouter
        self.store: PrimaryStore

    async def start(self) -> None:
        self.store = await PrimaryStore.open(self.path, self.events.append, clock=lambda: self.now)
        self.resolver = DnsResolver(self.config.dns)
        self.router = ConfigRouter(
            self.config,
            self.resolver,
            self.events.append,
            has_address=lambda _: False,
            store=self.store,
        )

    async def restart(self) -> None:
        await self.store.close()
        self.events.clear()
        await self.start()

    async def serve(self, text: str, ttl: int = 300) -> int:
        """The operator writes the zone anew. Returns its serial."""
        serial = self.nsd.zone(D, text, ttl=ttl)
        await asyncio.to_thread(self.nsd.reload)
        return serial

    async def home(self, after: float = TTL) -> str:
        """The hosts of the route, or the trouble."""
        self.now += after
        route = await self.router.route(D, now=self.now)
        if isinstance(route, NoRoute):
            return route.trouble.value
        return " ".join(hop.name.partition(".")[0] for hop in route.hops)

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]


def live(path: Path, nsd: Nsd, work: Callable[[Day], Awaitable[None]]) -> None:
    async def run() -> None:
        day = Day(path, nsd)
        await day.start()
        try:
            await work(day)
        finally:
            await day.store.close()

    asyncio.run(run())


def test_hosts_added_removed_and_reordered_are_followed_with_the_zone_s_serial(
    tmp_path: Path, nsd: Nsd
) -> None:
    async def work(day: Day) -> None:
        assert await day.home() == "a"
        added = await day.serve(f"@ MX 5 b\n{GOOD}")
        assert await day.home() == "b a"
        reordered = await day.serve(f"@ MX 15 b\n{GOOD}")
        assert await day.home() == "a b"
        removed = await day.serve(f"@ MX 15 b\n@ MX 20 {US}.\n{HOSTS}")
        assert await day.home() == "b"
        changes = day.told(MxChanged)
        assert [change.serial for change in changes] == [added, reordered, removed]
        assert changes[0].added == ("5 b.example.com",)
        assert changes[1].reordered == ("15 b.example.com",)
        assert changes[2].removed == ("10 a.example.com",)
        history = await day.store.history(D, 10)
        assert [change.serial for change in history] == [removed, reordered, added, 1]
        assert history[0].after == ("15 b.example.com", f"20 {US}")
        assert day.told(MxAlarm) == []

    live(tmp_path, nsd, work)


def test_a_ttl_is_waited_for_and_no_longer(tmp_path: Path, nsd: Nsd) -> None:
    async def work(day: Day) -> None:
        await day.serve(GOOD, ttl=120)
        assert await day.home() == "a"
        await day.serve(GOOD.replace("MX 10 a", "MX 10 c"), ttl=120)
        assert await day.home(after=119) == "a"
        assert await day.home(after=2) == "c"

    live(tmp_path, nsd, work)


@pytest.mark.parametrize(
    ("zone", "problem", "home"),
    [
        (f"@ MX 10 {US}.\n@ MX 20 a\n{HOSTS}", "best", Trouble.BEST_MX),
        (f"@ MX 10 {US}.\n{HOSTS}", "alone", Trouble.BEST_MX),
        (f"@ MX 0 .\n{HOSTS}", "null-mx", Trouble.NULL_MX),
        (f"@ MX 10 gone\n@ MX 20 {US}.\n{HOSTS}", "vanished", Trouble.NO_SUCH_DOMAIN),
        (f"{HOSTS}", "vanished", Trouble.NO_SUCH_DOMAIN),
        (f"@ A 192.0.2.80\n{HOSTS}", "vanished", "a"),
        (f"@ MX 10 b\n{HOSTS}", "missing", "b"),
    ],
)
def test_i9_a_set_that_can_not_be_followed_is_an_alarm_and_heals(
    tmp_path: Path, nsd: Nsd, zone: str, problem: str, home: str
) -> None:
    async def work(day: Day) -> None:
        assert await day.home() == "a"
        serial = await day.serve(zone)
        for _ in range(3):
            assert await day.home() == home
        assert [alarm.problem for alarm in day.told(MxAlarm)] == [problem]
        assert [change.serial for change in day.told(MxChanged)] == [serial]
        assert (day.router.closed(D, day.now) is not None) == (problem == "null-mx")
        await day.serve(GOOD)
        assert await day.home() == "a"
        assert [cleared.problem for cleared in day.told(MxAlarmCleared)] == [problem]
        assert day.router.closed(D, day.now) is None

    live(tmp_path, nsd, work)


def test_a_domain_below_a_zone_has_the_serial_of_that_zone(tmp_path: Path, nsd: Nsd) -> None:
    async def work(day: Day) -> None:
        serial = await day.serve(GOOD)
        assert await day.resolver.serial(f"deep.down.{D}") == serial
        assert await day.resolver.serial(f"a.{D}") == serial
        assert await day.resolver.serial("example.org") is None
        assert await day.resolver.serial("com") is None

    live(tmp_path, nsd, work)


def test_i9_a_domain_that_does_not_exist_any_more(tmp_path: Path, nsd: Nsd) -> None:
    async def work(day: Day) -> None:
        name = f"sub.{D}"
        day.config.domains[name] = day.config.domains[D]
        await day.serve(GOOD + f"sub MX 10 a\nsub MX 20 {US}.\n")
        await day.router.route(name, now=day.now)
        serial = await day.serve(GOOD)  # NXDOMAIN for sub
        day.now += TTL
        answer = await day.router.route(name, now=day.now)
        assert isinstance(answer, NoRoute)
        assert answer.trouble is Trouble.NO_SUCH_DOMAIN
        assert [alarm.problem for alarm in day.told(MxAlarm)] == ["vanished"]
        (change,) = day.told(MxChanged)
        assert change.after == ()
        assert change.serial == serial, "of the zone above"

    live(tmp_path, nsd, work)


def test_i9_servfail_and_a_server_that_is_down_keep_the_last_good_hop(
    tmp_path: Path, nsd: Nsd
) -> None:
    async def work(day: Day) -> None:
        assert await day.home() == "a"
        await asyncio.to_thread(nsd.break_zone, D)
        for _ in range(4):
            assert await day.home() == "a"
        await asyncio.to_thread(nsd.stop)
        for _ in range(2):
            assert await day.home() == "a"
        assert [alarm.problem for alarm in day.told(MxAlarm)] == ["unresolved"]
        assert day.told(MxChanged) == []
        nsd.zone(D, GOOD)
        await asyncio.to_thread(nsd.start)
        assert await day.home() == "a"
        assert len(day.told(MxAlarmCleared)) == 1

    live(tmp_path, nsd, work)


def test_i9_the_last_good_hop_serves_after_a_restart_with_dns_down(
    tmp_path: Path, nsd: Nsd
) -> None:
    async def work(day: Day) -> None:
        assert await day.home() == "a"
        await asyncio.to_thread(nsd.stop)
        await day.restart()
        assert await day.home(after=3600) == "a"

    live(tmp_path, nsd, work)


def test_the_watch_sees_a_change_without_mail(tmp_path: Path, nsd: Nsd) -> None:
    async def work(day: Day) -> None:
        watch = Watch(
            day.config, day.router, day.store, day.events.append,
            clock=lambda: day.now, random=Random(1),
        )  # fmt: skip
        task = asyncio.create_task(watch.run())
        await until(lambda: watch.watch_state(D) is not None)
        serial = await day.serve(f"@ MX 5 b\n{GOOD}")
        day.now += TTL + 20
        watch._pacer._wake.set()
        await until(lambda: len(day.told(MxChanged)) == 1)
        state = watch.watch_state(D)
        assert state is not None
        assert state.hosts == ("5 b.example.com", "10 a.example.com", f"20 {US}")
        assert (state.own, state.serial, state.alarm) == (20, serial, None)
        assert state.checked_at == day.now
        assert [change.serial for change in await watch.history(D, 1)] == [serial]
        task.cancel()

    live(tmp_path, nsd, work)


def test_a_discovered_domain_from_first_to_last(tmp_path: Path, nsd: Nsd) -> None:
    async def work(day: Day) -> None:
        del day.config.domains[D]
        lost: list[str] = []
        discovery = Discovery(
            day.config, day.resolver, day.store, day.events.append,
            on_found=day.config.domains.__setitem__, on_lost=lost.append,
            clock=lambda: day.now, has_address=lambda _: False,
        )  # fmt: skip
        discovery.adopt(day.config)
        assert await discovery.ask(f"nothing.{D}") is None
        with pytest.raises(DnsUnavailable):
            await discovery.ask("example.net")  # NSD refuses: not its zone
        assert await discovery.ask(D) == Domain(primary=None, recipients=("callout", "learn"))
        assert await day.home(after=0) == "a"
        nsd.zone("stranger.example", f"@ MX 10 mail\n@ MX 20 {US}.\nmail A 203.0.113.1\n")
        await asyncio.to_thread(nsd.reload)
        assert await discovery.ask("stranger.example") is None
        await day.serve(f"@ MX 10 mail.stranger.example.\n@ MX 20 {US}.\n")
        day.now += TTL
        await discovery._check_again(D)
        assert lost == [D]

    live(tmp_path, nsd, work)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)
