"""Records as plain values, and a resolver that does not let look-ups pile up."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from tideover.config.model import Dns
from tideover.dns.resolver import DnsResolver, DnsUnavailable, NoSuchName, Records
from tideover.testing.dns import Behaviour, DnsServer

ZONE = """
@       600 MX 10 Mail
mail    900 A 192.0.2.1
mail    120 AAAA 2001:DB8:0::1
text    30  TXT "v=spf1 " "-all"
bytes   30  TXT "\\255\\000x"
null    MX 0 .
alias   50 CNAME text
"""
REVERSE = "1 PTR Mail.Example.COM.\n"


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer({"example.com": ZONE, "2.0.192.in-addr.arpa": REVERSE}) as server:
        yield server


def ask(server: DnsServer, name: str, kind: str) -> Records:
    return asyncio.run(DnsResolver(Dns(servers=(server.endpoint,))).records(name, kind))


@pytest.mark.parametrize(
    ("name", "kind", "records"),
    [
        ("example.com", "MX", Records(((10, "mail.example.com"),), 600)),
        ("null.example.com", "MX", Records(((0, ""),), 300)),
        ("mail.example.com", "A", Records(("192.0.2.1",), 900)),
        ("mail.example.com", "AAAA", Records(("2001:db8::1",), 120)),
        ("text.example.com", "TXT", Records((b"v=spf1 -all",), 30)),
        ("bytes.example.com", "TXT", Records((b"\xff\x00x",), 30)),
        ("alias.example.com", "TXT", Records((b"v=spf1 -all",), 30)),
        ("1.2.0.192.in-addr.arpa", "PTR", Records(("mail.example.com",), 300)),
        ("text.example.com", "A", Records((), 60)),
    ],
)
def test_records_as_plain_values(server: DnsServer, name: str, kind: str, records: Records) -> None:
    assert ask(server, name, kind) == records


def test_a_name_that_does_not_exist(server: DnsServer) -> None:
    with pytest.raises(NoSuchName) as caught:
        ask(server, "nowhere.example.com", "TXT")
    assert caught.value.ttl == 60


def test_when_the_servers_are_dead_look_ups_do_not_wait_for_a_turn_for_ever(
    server: DnsServer,
) -> None:
    server.behave(Behaviour.SILENT)

    async def run() -> None:
        config = Dns(servers=(server.endpoint,), timeout=1.0)
        resolver = DnsResolver(config, at_once=2, patience=0.05)
        began = time.monotonic()
        asked = (resolver.records(f"n{n}.example.com", "A") for n in range(40))
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(result) for result in results} == {DnsUnavailable}
        assert sum("too many" in str(result) for result in results) == 38
        assert time.monotonic() - began < 10  # one after the other it would be twenty

        server.behave(Behaviour.ANSWER)
        assert (await resolver.records("mail.example.com", "A")).values == ("192.0.2.1",)

    asyncio.run(run())
