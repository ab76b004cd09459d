"""The checks that ask DNS, on a real NSD with a block list, and on servers that are ill."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from tideover.config.model import Config, Dns
from tideover.config.policy import DnsList, ListOf
from tideover.dns.cache import CachedNames
from tideover.dns.resolver import DnsResolver, DnsUnavailable
from tideover.message.envelope import Client, SessionId
from tideover.policy.checks import dns_lists, helo, reverse_dns, sender_domain
from tideover.policy.interface import About, Result, Stage
from tideover.policy.services import Services
from tideover.testing import nsd as nsd_server
from tideover.testing.dns import Behaviour, DnsServer
from tideover.testing.nsd import Nsd

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(nsd_server.why_missing() is not None, reason=nsd_server.why_missing() or ""),
]

CHECKS = {
    "reverse-dns": (reverse_dns.make, Stage.CONNECT),
    "dns-lists": (dns_lists.make, Stage.CONNECT),
    "helo": (helo.make, Stage.HELO),
    "helo-lists": (dns_lists.make, Stage.HELO),
    "sender-domain": (sender_domain.make, Stage.MAIL),
    "sender-lists": (dns_lists.make, Stage.MAIL),
}
LISTS = {
    "bl.example": DnsList(),
    "names.example": DnsList(of=ListOf.SENDER, weight=3.0),
    "helos.example": DnsList(of=ListOf.HELO, weight=2.0),
}
BLOCK_LIST = """
2.0.0.127 A 127.0.0.2
2.0.0.127 TXT "see https://bl.example/127.0.0.2"
9.2.0.192 A 127.0.0.3
9.2.0.192 A 127.0.0.4
7.2.0.192 A 127.255.255.254
2.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 A 127.0.0.2
9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2 A 127.0.0.2
"""


@pytest.fixture(scope="module")
def nsd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nsd]:
    server = Nsd(Path(tmp_path_factory.mktemp("dns")))
    server.zone("sender.example", "@ MX 10 mail\nmail A 192.0.2.1\nmail AAAA 2001:db8::1\n")
    server.zone("null.example", "@ MX 0 .\n")
    server.zone("dark.example", "@ MX 10 nowhere\n")
    server.zone("2.0.192.in-addr.arpa", "1 PTR mail.sender.example.\n9 PTR mail.sender.example.\n")
    server.zone("8.b.d.0.1.0.0.2.ip6.arpa", "1" + ".0" * 23 + " PTR mail.sender.example.\n")
    server.zone("bl.example", BLOCK_LIST)
    server.zone("names.example", "bad.example A 127.0.1.2\ntest A 127.0.1.2\n")
    server.zone("helos.example", "bot.example A 127.0.1.2\n")
    server.zone("ill.example", "@ MX 10 mail\n")
    with server:
        server.break_zone("ill.example")
        yield server


class Site:
    """The checks with a real resolver and cache before them."""

    def __init__(
        self,
        server: Nsd | DnsServer,
        *,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        config = Config(
            hostname="mx2.example.org",
            data_dir=Path("/nowhere"),
            dns=Dns(servers=(server.endpoint,), timeout=timeout),
            dns_lists=LISTS,
        )
        self.names = CachedNames(DnsResolver(config.dns, patience=1.0), clock=clock)
        services = Services(
            config=config, names=self.names, memory=None, is_ours=set().__contains__, emit=print
        )
        self.checks = {name: (make(services), stage) for name, (make, stage) in CHECKS.items()}

    async def check(
        self,
        name: str,
        *,
        address: str = "192.0.2.1",
        helo: str = "mail.sender.example",
        sender: str = "a@sender.example",
    ) -> Result:
        check, stage = self.checks[name]
        client = Client(
            session=SessionId("s"), address=address, port=1, helo=helo, protocol="ESMTP"
        )
        domain = sender.partition("@")[2]
        about = About(stage=stage, client=client, now=0.0, sender=sender, sender_domain=domain)
        return await check(about)

    async def all(self) -> dict[str, Result]:
        results = await asyncio.gather(*(self.check(name) for name in self.checks))
        return dict(zip(self.checks, results, strict=True))


def found(result: Result) -> str:
    return "undecided" if result.undecided else " ".join(one.name for one in result.found)


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_an_honest_client(nsd: Nsd, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def run() -> None:
        site = Site(nsd)
        assert {name: found(one) for name, one in (await site.all()).items()} == dict.fromkeys(
            CHECKS, ""
        )
        result = await site.check("reverse-dns", address="2001:db8::1")
        assert result.evidence == {"name": "mail.sender.example"}

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run())


@pytest.mark.parametrize(
    ("check", "facts", "expected"),
    [
        ("reverse-dns", {"address": "192.0.2.9"}, "rdns-unconfirmed"),
        ("reverse-dns", {"address": "192.0.2.3"}, "rdns-none"),
        ("helo", {"helo": "sender.example"}, ""),
        ("helo", {"helo": "x.sender.example"}, "helo-unresolvable"),
        ("helo", {"helo": "mail.ill.example"}, "undecided"),
        ("helo", {"helo": "mail.not-served.example"}, "undecided"),
        ("sender-domain", {"sender": "a@null.example"}, "sender-null-mx"),
        ("sender-domain", {"sender": "a@dark.example"}, "sender-domain-no-mail"),
        ("sender-domain", {"sender": "a@x.sender.example"}, "sender-domain-missing"),
        ("sender-domain", {"sender": "a@ill.example"}, "undecided"),
        ("dns-lists", {"address": "127.0.0.2"}, "dns-listed"),
        ("dns-lists", {"address": "2001:db8::9"}, "dns-listed"),
        ("dns-lists", {"address": "192.0.2.9"}, "dns-listed"),
        ("dns-lists", {"address": "192.0.2.7"}, "undecided"),
        ("helo-lists", {"helo": "bot.example"}, "dns-listed"),
        ("sender-lists", {"sender": "a@bad.example"}, "dns-listed"),
    ],
)
def test_what_a_real_server_says(
    nsd: Nsd, check: str, facts: dict[str, str], expected: str
) -> None:
    assert found(asyncio.run(Site(nsd).check(check, **facts))) == expected


def test_a_listing_says_why(nsd: Nsd) -> None:
    result = asyncio.run(Site(nsd).check("dns-lists", address="127.0.0.2"))
    assert str(result.found[0].reply) == (
        "554 5.7.1 Your address 127.0.0.2 is listed by bl.example; "
        'it says: "see https://bl.example/127.0.0.2"'
    )


@pytest.mark.parametrize(
    "behaviour", [Behaviour.SILENT, Behaviour.SERVFAIL, Behaviour.GARBAGE, Behaviour.WRONG_ID]
)
def test_i14_a_server_that_is_ill_refuses_nobody(behaviour: Behaviour) -> None:
    async def run() -> None:
        with DnsServer({"example": ""}) as server:
            server.behave(behaviour)
            site = Site(server, timeout=0.4, clock=lambda: 0.0)
            began = time.monotonic()
            results = await site.all()
            assert {name: found(one) for name, one in results.items()} == dict.fromkeys(
                CHECKS, "undecided"
            )
            assert time.monotonic() - began < 10

            # what failed just now costs the next session nothing
            asked = dict(server.asked)
            for name in CHECKS:
                assert found(await site.check(name)) == "undecided"
            assert server.asked == asked

    asyncio.run(run())


def test_what_is_in_the_cache_comes_without_waiting(nsd: Nsd) -> None:
    async def run() -> None:
        site = Site(nsd)
        await site.all()
        nowhere = Site(nsd)
        for name in CHECKS:
            coroutine = site.check(name)
            with pytest.raises(StopIteration):
                coroutine.send(None)
            coroutine = nowhere.check(name)
            assert coroutine.send(None) is not None
            coroutine.close()
        await nowhere.names.close()

    asyncio.run(run())


def test_dns_that_comes_back_is_believed_within_five_seconds(tmp_path: Path) -> None:
    async def run() -> None:
        with Nsd(tmp_path) as server:
            server.zone("sender.example", "@ MX 10 mail\nmail A 192.0.2.1\n")
            server.stop()
            site = Site(server, timeout=0.5)
            with pytest.raises(DnsUnavailable):
                await site.names.mx("sender.example")
            server.start()
            back = time.monotonic()
            while found(await site.check("sender-domain")) == "undecided":
                assert time.monotonic() - back < 5
                await asyncio.sleep(0.05)

    asyncio.run(run())
