"""primary.watch and primary.pacer: when each domain is looked at, and how many at once."""

import asyncio
from collections import Counter
from pathlib import Path
from random import Random

from virtual import clock, run

from tideover.config.model import Config, Domain
from tideover.config.values import Endpoint
from tideover.dns.resolver import MxAnswer
from tideover.events.domain_records import MxChanged, RouteTrouble
from tideover.events.event import Event
from tideover.primary.pacer import Pacer
from tideover.primary.router import ConfigRouter
from tideover.primary.watch import AT_ONCE, Watch
from tideover.testing.dns import FakeResolver

US = "mx2.example.org"


def config(*names: str, primary: tuple[Endpoint, ...] | None = None) -> Config:
    domain = Domain(primary=primary, recipients=("file:r",))
    return Config(hostname=US, data_dir=Path(), domains=dict.fromkeys(names, domain))


class Setting:
    """A watch of these domains, each with the same MX set."""

    def __init__(self, *names: str, ttl: float = 300.0, dns: type[FakeResolver] = FakeResolver):
        self.dns = dns(
            {name: [(10, "a.example.com"), (20, US)] for name in names},
            {"a.example.com": ["192.0.2.1"], "b.example.com": ["192.0.2.2"]},
            ttl,
        )
        self.events: list[Event] = []
        self.config = config(*names)
        self.router = ConfigRouter(
            self.config, self.dns, self.events.append, has_address=lambda _: False
        )
        self.watch = Watch(
            self.config, self.router, None, self.events.append, clock=clock, random=Random(1)
        )

    async def run(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.watch.run()
        except TimeoutError:
            pass

    def looks(self) -> Counter[str]:
        return Counter(name for name in self.dns.asked if name.startswith("mx "))


def test_the_ttl_sets_the_pace_also_without_mail() -> None:
    async def work() -> None:
        setting = Setting("example.com", ttl=300)
        await setting.run(3000)
        assert 9 <= setting.looks()["mx example.com"] <= 10
        setting = Setting("example.com", ttl=1)  # too short to be taken at its word
        await setting.run(3000)
        assert 90 <= setting.looks()["mx example.com"] <= 100

    run(work())


def test_a_change_is_seen_within_its_ttl() -> None:
    async def work() -> None:
        setting = Setting("example.com", ttl=60)
        task = asyncio.create_task(setting.run(1000))
        await asyncio.sleep(100)
        setting.dns.mx_records["example.com"] = [(10, "b.example.com"), (20, US)]
        await asyncio.sleep(64)
        assert [type(event) for event in setting.events[-1:]] == [MxChanged]
        route = await setting.router.route("example.com", now=clock())
        assert "192.0.2.2" in str(route)
        await task

    run(work())


def test_many_domains_are_spread() -> None:
    async def work() -> None:
        names = [f"d{n}.example" for n in range(1000)]
        setting = Setting(*names, ttl=86_400)
        await setting.run(10)
        assert 450 <= len(setting.dns.asked) / 2 <= 510
        await setting.run(11)
        assert setting.looks() == Counter({f"mx {name}": 1 for name in names})

    run(work())


class SlowResolver(FakeResolver):
    """Answers after five seconds."""

    most = now = 0

    async def mx(self, name: str) -> MxAnswer:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(5)
        self.now -= 1
        return await super().mx(name)


def test_a_slow_dns_gets_few_questions_at_once() -> None:
    async def work() -> None:
        setting = Setting(*(f"d{n}.example" for n in range(100)), dns=SlowResolver)
        await setting.run(40)
        assert isinstance(setting.dns, SlowResolver)
        assert setting.dns.most == AT_ONCE
        assert len(setting.looks()) == 100

    run(work())


def test_domains_come_and_go_with_the_configuration() -> None:
    async def work() -> None:
        setting = Setting("example.com")
        task = asyncio.create_task(setting.run(5000))
        await asyncio.sleep(1)
        fresh = config("example.org")
        setting.router.reconfigure(fresh)
        setting.watch.reconfigure(fresh)
        await asyncio.sleep(1)
        assert setting.looks()["mx example.org"] == 1
        await asyncio.sleep(1000)
        assert setting.looks()["mx example.com"] == 1
        static = config("example.org", "example.com", primary=(Endpoint("192.0.2.1", 25),))
        setting.router.reconfigure(static)
        setting.watch.reconfigure(static)
        before = setting.looks()
        await asyncio.sleep(2000)
        assert setting.looks() == before
        assert setting.watch.watch_state("example.com") is None
        task.cancel()

    run(work())


class BuggyResolver(FakeResolver):
    async def mx(self, name: str) -> MxAnswer:
        if name == "bad.example":
            raise ZeroDivisionError
        return await super().mx(name)


def test_a_bug_that_one_domain_sets_off_does_not_end_the_watch() -> None:
    async def work() -> None:
        setting = Setting("bad.example", "good.example", dns=BuggyResolver)
        await setting.run(1000)
        assert setting.looks()["mx good.example"] >= 3
        assert {type(event) for event in setting.events} >= {RouteTrouble}

    run(work())


def test_a_domain_that_is_planned_anew_is_not_looked_at_twice() -> None:
    async def work() -> None:
        looked: list[tuple[str, float]] = []

        async def look(domain: str) -> float | None:
            looked.append((domain, clock()))
            return None

        pacer = Pacer(look, clock=clock, random=Random(1), rate=100, at_once=2)
        start = clock()
        pacer.plan("a", start + 10)
        pacer.plan("a", start + 20)
        pacer.plan("b", start + 5)
        pacer.drop("b")
        task = asyncio.create_task(pacer.run())
        await asyncio.sleep(15)
        pacer.plan("c", start + 16)  # earlier than what it waits for
        await asyncio.sleep(15)
        task.cancel()
        assert [(name, round(at - start)) for name, at in looked] == [("c", 16), ("a", 20)]
        assert "a" not in pacer

    run(work())


def test_a_clock_that_is_set_back_puts_nothing_off() -> None:
    async def work() -> None:
        looked: list[float] = []
        back = 0.0

        def wall() -> float:
            return clock() - back

        async def look(_: str) -> float | None:
            looked.append(clock())
            began = wall()
            await asyncio.sleep(1)
            return began + 5

        pacer = Pacer(look, clock=wall, random=Random(1), rate=100, at_once=2)
        pacer.plan("a", wall())
        task = asyncio.create_task(pacer.run())
        await asyncio.sleep(2)
        back = 86_400.0  # between two looks
        await asyncio.sleep(28.5)
        assert len(looked) >= 4
        while clock() >= looked[-1] + 1:
            await asyncio.sleep(0.1)
        back += 86_400.0  # during one
        before = len(looked)
        await asyncio.sleep(30)
        assert len(looked) >= before + 4
        task.cancel()

    run(work())
