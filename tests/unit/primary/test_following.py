"""primary.router and primary.mx_sets: changes, alarms, null MX and restarts of followed domains."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from tideover.config.model import Config, Domain
from tideover.config.values import Endpoint
from tideover.events.domain_records import (
    DnsRecovered,
    DnsTrouble,
    MxAlarm,
    MxAlarmCleared,
    MxChanged,
    RouteChanged,
)
from tideover.events.event import Event
from tideover.primary.interface import NoRoute, Route, Trouble
from tideover.primary.mx_sets import MOST_UNRESOLVED
from tideover.primary.router import ConfigRouter
from tideover.primary.store import NULL_MX_HOLDS, MxChange, PrimaryStore
from tideover.testing.dns import EVERYTHING, FakeResolver

D = "example.com"
US = "mx2.example.org"
E = TypeVar("E", bound=Event)


def config(*names: str, primary: tuple[Endpoint, ...] | None = None) -> Config:
    domain = Domain(primary=primary, recipients=("file:r",))
    return Config(hostname=US, data_dir=Path(), domains=dict.fromkeys(names, domain))


class Day:
    """A router that follows DNS, with what it remembers on disk; the clock is ours."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dns = FakeResolver(
            {D: [(10, "a.example.com"), (20, US)]},
            {
                "a.example.com": ["192.0.2.1"],
                "b.example.com": ["192.0.2.2"],
                US: ["192.0.2.99"],
                D: ["192.0.2.80"],
            },
        )
        self.dns.serials[D] = 7
        self.events: list[Event] = []
        self.now = 1000.0
        self.router: ConfigRouter
        self.store: PrimaryStore

    async def start(self, *names: str) -> None:
        self.store = await PrimaryStore.open(self.path, self.events.append, clock=lambda: self.now)
        self.router = ConfigRouter(
            config(*(names or (D,))),
            self.dns,
            self.events.append,
            has_address=lambda _: False,
            store=self.store,
        )

    async def restart(self) -> None:
        await self.store.close()
        self.events.clear()
        await self.start()

    async def ask(self, after: float = 0.0, domain: str = D) -> Route | NoRoute:
        self.now += after
        return await self.router.route(domain, now=self.now)

    async def home(self, after: float = 0.0) -> str:
        """The addresses, or the trouble."""
        route = await self.ask(after)
        if isinstance(route, NoRoute):
            return route.trouble.value
        return " ".join(hop.address for hop in route.hops)

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def alarms(self) -> list[str]:
        """Problems that began, and with a minus those that ended."""
        return [
            event.problem if isinstance(event, MxAlarm) else f"-{event.problem}"
            for event in self.events
            if isinstance(event, MxAlarm | MxAlarmCleared)
        ]


def live(path: Path, work: Callable[[Day], Awaitable[None]]) -> None:
    async def run() -> None:
        day = Day(path)
        await day.start()
        try:
            await work(day)
        finally:
            await day.store.close()

    asyncio.run(run())


def test_added_removed_and_reordered_hosts_are_told_with_the_serial(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        await day.ask()
        assert day.told(MxChanged) == []
        day.dns.mx_records[D] = [(5, "b.example.com"), (15, "a.example.com"), (20, US)]
        day.dns.serials[D] = 8
        assert await day.home(after=301) == "192.0.2.2 192.0.2.1"
        day.dns.mx_records[D] = [(5, "b.example.com"), (20, US)]
        assert await day.home(after=301) == "192.0.2.2"
        await day.ask(after=301)
        first, second = day.told(MxChanged)
        assert (first.added, first.removed) == (("5 b.example.com",), ())
        assert first.reordered == ("15 a.example.com",)
        assert first.before == ("10 a.example.com", f"20 {US}")
        assert first.after == ("5 b.example.com", "15 a.example.com", f"20 {US}")
        assert first.serial == 8
        assert second.removed == ("15 a.example.com",)
        changes = await day.store.history(D, 10)
        assert [c.at for c in changes] == [1602.0, 1301.0, 1000.0]
        assert changes[1] == MxChange(at=1301.0, before=first.before, after=first.after, serial=8)
        assert changes[2].before == ()

    live(tmp_path, work)


def test_what_changed_while_we_were_down_is_told_and_nothing_else(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        await day.ask()
        await day.restart()
        await day.ask()
        assert day.events == []
        await day.restart()
        day.dns.mx_records[D] = [(10, "b.example.com"), (20, US)]
        await day.ask()
        assert [type(event) for event in day.events] == [RouteChanged, MxChanged]
        assert len(await day.store.history(D, 10)) == 2

    live(tmp_path, work)


def test_i9_the_last_good_route_outlives_a_restart_while_dns_is_down(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        assert await day.home() == "192.0.2.1"
        day.dns.broken.add(EVERYTHING)
        await day.restart()
        for _ in range(3):
            assert await day.home(after=3600) == "192.0.2.1"
        assert day.alarms() == ["unresolved"]
        day.dns.broken.clear()
        assert await day.home(after=61) == "192.0.2.1"
        assert day.alarms() == ["unresolved", "-unresolved"]
        (cleared,) = day.told(MxAlarmCleared)
        assert cleared.seconds == 61

    live(tmp_path, work)


def test_i9_mx_records_that_vanish_over_a_restart_do_not_send_mail_to_the_web(
    tmp_path: Path,
) -> None:
    async def work(day: Day) -> None:
        await day.ask()
        day.dns.mx_records[D] = []
        await day.restart()
        assert await day.home(after=3600) == "192.0.2.1"
        assert day.alarms() == ["vanished"]

    live(tmp_path, work)


def test_a_route_from_before_the_start_never_leads_to_ourselves(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        await day.ask()
        day.dns.broken.add(EVERYTHING)
        await day.store.close()
        await day.start()
        day.router._ourselves._listen = (Endpoint("192.0.2.1", 25),)
        assert await day.home() == Trouble.TEMPORARY.value

    live(tmp_path, work)


@pytest.mark.parametrize(
    ("records", "problem"),
    [
        ({D: [(10, US), (20, "a.example.com")]}, "best"),
        ({D: [(10, US)]}, "alone"),
        ({D: [(10, "a.example.com")]}, "missing"),
        ({D: []}, "vanished"),
        ({}, "vanished"),
        ({D: [(10, "nowhere.example.com"), (20, US)]}, "vanished"),
        ({D: [(0, "")]}, "null-mx"),
    ],
)
def test_i9_each_problem_raises_one_alarm_holds_mail_and_is_cleared(
    tmp_path: Path, records: dict[str, list[tuple[int, str]]], problem: str
) -> None:
    async def work(day: Day) -> None:
        await day.ask()
        before, addresses = day.dns.mx_records, dict(day.dns.address_records)
        if not records:
            del day.dns.address_records[D]
        day.dns.mx_records = dict(records)
        for _ in range(5):
            await day.ask(after=301)
            state = day.router.mx_state(D)
            assert state is not None
            assert state.problem == problem
            assert state.alarm is not None
            assert state.next_at is not None
            assert state.next_at > day.now
            assert state.last_good[0].endswith(":25"), "kept, for the operator"
        assert day.alarms() == [problem]
        day.dns.mx_records, day.dns.address_records = before, addresses
        assert await day.home(after=301) == "192.0.2.1"
        assert day.alarms() == [problem, f"-{problem}"]
        state = day.router.mx_state(D)
        assert state is not None
        assert (state.alarm, state.own, state.serial) == (None, 20, 7)
        assert state.hosts == ("10 a.example.com", f"20 {US}")

    live(tmp_path, work)


def test_a_problem_that_turns_into_another_is_told_again_but_not_cleared(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        await day.ask()
        day.dns.mx_records[D] = [(10, US)]
        await day.ask(after=301)
        day.dns.mx_records[D] = [(10, US), (10, "a.example.com")]
        await day.ask(after=301)
        assert day.alarms() == ["alone", "best"]
        day.dns.broken.add(EVERYTHING)
        for _ in range(5):
            await day.ask(after=301)
        assert day.alarms() == ["alone", "best"], "DNS that fails says nothing new"

    live(tmp_path, work)


def test_one_look_up_that_fails_is_no_alarm(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        await day.ask()
        for _ in range(5):
            day.dns.broken.add(EVERYTHING)
            await day.ask(after=301)
            await day.ask(after=6)
            day.dns.broken.clear()
            await day.ask(after=11)
        assert day.alarms() == []

    live(tmp_path, work)


def test_a_null_mx_closes_the_domain_until_it_is_gone(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        await day.ask()
        assert day.router.closed(D, day.now) is None
        before = day.dns.mx_records[D]
        day.dns.mx_records[D] = [(0, "")]
        assert await day.home(after=301) == Trouble.NULL_MX.value
        text = day.router.closed(D, day.now)
        assert text is not None
        assert D in text
        await day.restart()
        assert day.router.closed(D, day.now) == text, "known before DNS is asked"
        day.dns.mx_records[D] = before
        assert await day.home() == "192.0.2.1"
        assert day.router.closed(D, day.now) is None
        await day.restart()
        assert day.router.closed(D, day.now) is None

    live(tmp_path, work)


def test_i9_a_null_mx_that_dns_has_not_said_for_a_day_closes_nothing(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        day.dns.mx_records[D] = [(0, "")]
        await day.ask()
        day.dns.broken.add(EVERYTHING)
        await day.ask(after=NULL_MX_HOLDS - 10)
        assert day.router.closed(D, day.now) is not None
        await day.ask(after=20)
        assert day.router.closed(D, day.now) is None

    live(tmp_path, work)


def test_a_domain_with_a_primary_of_its_own_is_neither_closed_nor_watched(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        day.dns.mx_records[D] = [(0, "")]
        await day.ask()
        day.router.reconfigure(config(D, primary=(Endpoint("192.0.2.5", 25),)))
        assert day.router.closed(D, day.now) is None
        assert day.router.mx_state(D) is None
        assert await day.home() == "192.0.2.5"

    live(tmp_path, work)


def test_a_reload_keeps_a_domain_closed_that_was_not_asked_for_yet(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        day.dns.mx_records[D] = [(0, "")]
        await day.ask()
        await day.restart()
        day.router.reconfigure(config(D, "example.org"))
        assert day.router.closed(D, day.now) is not None
        day.router.reconfigure(config("example.org"))
        day.router.reconfigure(config(D))
        assert day.router.closed(D, day.now) is None

    live(tmp_path, work)


def test_a_domain_that_was_lost_is_forgotten(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        day.dns.mx_records[D] = [(0, "")]
        await day.ask()
        settings = day.router._config.domains.pop(D)
        day.router.forget(D)
        day.router._config.domains[D] = settings
        assert day.router.closed(D, day.now) is None
        assert day.router.mx_state(D) is None

    live(tmp_path, work)


def test_dns_that_fails_for_all_is_one_alarm_not_thousands(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        names = [f"d{n}.example" for n in range(3 * MOST_UNRESOLVED)]
        await day.store.close()
        await day.start(*names)
        day.dns.broken.add(EVERYTHING)
        for _ in range(4):
            day.now += 301
            for name in names:
                await day.ask(domain=name)
        assert len(day.told(MxAlarm)) == MOST_UNRESOLVED
        (trouble,) = day.told(DnsTrouble)
        assert trouble.domains == MOST_UNRESOLVED + 1
        day.dns.broken.clear()
        day.dns.mx_records |= {name: [(10, "a.example.com"), (20, US)] for name in names}
        day.now += 301
        for name in names:
            await day.ask(domain=name)
        assert len(day.told(DnsRecovered)) == 1
        assert all(day.router.mx_state(name).alarm is None for name in names)  # type: ignore[union-attr]

    live(tmp_path, work)


def test_a_domain_whose_settings_can_not_be_read_waits(tmp_path: Path) -> None:
    async def work(day: Day) -> None:
        day.router.reconfigure(config(D, primary=()))
        assert await day.home() == Trouble.TEMPORARY.value

    live(tmp_path, work)
