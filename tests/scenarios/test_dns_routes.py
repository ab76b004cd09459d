"""A domain's routes while its DNS goes through a bad day: router and resolver, a real server."""

import asyncio
from pathlib import Path

from tideover.config.model import Config, Dns, Domain
from tideover.dns.resolver import DnsResolver
from tideover.events.domain_records import RouteChanged
from tideover.events.event import Event
from tideover.primary.interface import NoRoute, Route, Trouble
from tideover.primary.router import ConfigRouter
from tideover.testing.dns import Behaviour, DnsServer

GOOD = """
@     60 MX 10 primary
@     60 MX 20 mx2
primary 60 A 127.0.0.2
mx2   60 A 127.0.0.3
"""


class Day:
    """The router of example.com on a real resolver; the clock is ours."""

    def __init__(self, server: DnsServer) -> None:
        config = Config(
            hostname="mx2.example.com",
            data_dir=Path(),
            dns=Dns(servers=(server.endpoint,), timeout=0.3),
            domains={"example.com": Domain(primary=None, recipients=("file:r",))},
        )
        self.events: list[Event] = []
        self.router = ConfigRouter(
            config,
            DnsResolver(config.dns),
            self.events.append,
            mx_port=2526,
            has_address=lambda _: False,
        )
        self.now = 0.0

    async def later(self, seconds: float) -> str:
        """The route after that long: addresses, or the trouble."""
        self.now += seconds
        route = await self.router.route("example.com", now=self.now)
        if isinstance(route, NoRoute):
            return route.trouble.value
        assert isinstance(route, Route)
        return " ".join(f"{hop.address}:{hop.port}" for hop in route.hops)


def test_i9_a_bad_day_costs_no_message() -> None:
    with DnsServer({"example.com": GOOD}) as server:

        async def run() -> None:
            day = Day(server)
            home = "127.0.0.2:2526"
            assert await day.later(0) == home
            for trouble in (Behaviour.SILENT, Behaviour.SERVFAIL, Behaviour.GARBAGE):
                server.behave(trouble)
                assert await day.later(100) == home
            server.behave(Behaviour.ANSWER)
            server.serve("example.com", "@ 60 A 127.0.0.80\n")  # the MX records are gone
            assert await day.later(100) == home
            server.behave(Behaviour.NXDOMAIN)
            assert await day.later(100) == Trouble.NO_SUCH_DOMAIN.value
            server.behave(Behaviour.ANSWER)
            server.serve("example.com", "@ 60 MX 10 mx2\nmx2 60 A 127.0.0.3\n")
            assert await day.later(400) == Trouble.BEST_MX.value
            server.serve("example.com", GOOD.replace("127.0.0.2", "127.0.0.4"))
            assert await day.later(400) == "127.0.0.4:2526"
            assert sum(isinstance(event, RouteChanged) for event in day.events) == 2

        asyncio.run(run())


def test_i9_a_start_without_dns_waits_for_it() -> None:
    with DnsServer({"example.com": GOOD}) as server:

        async def run() -> None:
            server.behave(Behaviour.SILENT)
            day = Day(server)
            assert await day.later(0) == Trouble.TEMPORARY.value
            server.behave(Behaviour.ANSWER)
            assert await day.later(5) == "127.0.0.2:2526"

        asyncio.run(run())
