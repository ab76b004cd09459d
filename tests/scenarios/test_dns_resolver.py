"""The resolver against a real DNS server on loopback, well and ill."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop
from msgspec.structs import replace

from tideover.config.model import Dns
from tideover.config.values import Endpoint
from tideover.dns.resolver import (
    AddressAnswer,
    DnsResolver,
    DnsUnavailable,
    MxAnswer,
    NoSuchName,
)
from tideover.testing.dns import Behaviour, DnsServer

ZONE = """
@       600 MX 10 Mail
@       600 MX 20 mx2.example.org.
mail    900 A 192.0.2.1
mail    900 A 192.0.2.2
mail    120 AAAA 2001:db8::1
null    MX 0 .
bare    A 192.0.2.3
www     50 CNAME mail
far     40 CNAME host.elsewhere.org.
loop1   CNAME loop2
loop2   CNAME loop1
text    TXT "nothing"
many    MX 1 mail
"""
MANY = "".join(f"many MX {n} host-with-a-long-name-{n}.of.many.example.com.\n" for n in range(90))


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer({"example.com": ZONE + MANY, "elsewhere.org": "host A 192.0.2.4\n"}) as server:
        yield server


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_factory(request: pytest.FixtureRequest):
    return uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop


def ask(server: DnsServer | tuple[Endpoint, ...], kind: str, name: str, *, timeout: float = 5.0,
        loop_factory=None) -> MxAnswer | AddressAnswer:  # fmt: skip
    """The answer, sorted: servers give records in random order."""
    servers = server if isinstance(server, tuple) else (server.endpoint,)

    async def look_up() -> MxAnswer | AddressAnswer:
        resolver = DnsResolver(Dns(servers=servers, timeout=timeout))
        return await (resolver.mx(name) if kind == "mx" else resolver.addresses(name))

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        answer = runner.run(look_up())
    if isinstance(answer, MxAnswer):
        return MxAnswer(tuple(sorted(answer.hosts)), answer.ttl)
    return replace(answer, addresses=tuple(sorted(answer.addresses)))


def test_records_and_ttls(server: DnsServer, loop_factory) -> None:
    assert ask(server, "mx", "example.com", loop_factory=loop_factory) == MxAnswer(
        ((10, "mail.example.com"), (20, "mx2.example.org")), 600
    )
    assert ask(server, "addresses", "mail.example.com", loop_factory=loop_factory) == (
        AddressAnswer(("192.0.2.1", "192.0.2.2", "2001:db8::1"), 120)
    )
    assert ask(server, "addresses", "bare.example.com").ttl == 300


def test_the_root_as_mx(server: DnsServer) -> None:
    assert ask(server, "mx", "null.example.com") == MxAnswer(((0, ""),), 300)


def test_a_name_without_such_records(server: DnsServer) -> None:
    assert ask(server, "mx", "text.example.com") == MxAnswer((), 60)
    assert ask(server, "addresses", "text.example.com") == AddressAnswer((), 60)


def test_a_name_that_does_not_exist_holds_as_long_as_its_soa_says(server: DnsServer) -> None:
    for kind in ("mx", "addresses"):
        with pytest.raises(NoSuchName) as caught:
            ask(server, kind, "nowhere.example.com")
        assert caught.value.ttl == 60


def test_aliases_are_followed(server: DnsServer) -> None:
    assert ask(server, "addresses", "www.example.com") == AddressAnswer(
        ("192.0.2.1", "192.0.2.2", "2001:db8::1"), 50
    )
    assert ask(server, "addresses", "far.example.com") == AddressAnswer(("192.0.2.4",), 40)
    with pytest.raises(DnsUnavailable):
        ask(server, "addresses", "loop1.example.com")


def test_a_truncated_answer_is_fetched_by_tcp(server: DnsServer, loop_factory) -> None:
    server.behave(Behaviour.TRUNCATE)
    answer = ask(server, "mx", "many.example.com", loop_factory=loop_factory)
    assert isinstance(answer, MxAnswer)
    assert len(answer.hosts) == 91
    assert server.asked == {"udp many.example.com MX": 1, "tcp many.example.com MX": 1}


@pytest.mark.parametrize(
    "behaviour", [Behaviour.SILENT, Behaviour.SERVFAIL, Behaviour.GARBAGE, Behaviour.WRONG_ID]
)
@pytest.mark.parametrize("kind", ["mx", "addresses"])
def test_i9_trouble_is_never_taken_for_an_answer(
    server: DnsServer, behaviour: Behaviour, kind: str
) -> None:
    server.behave(behaviour)
    with pytest.raises(DnsUnavailable):
        ask(server, kind, "example.com", timeout=0.3)


def test_i9_a_server_that_is_not_there(server: DnsServer) -> None:
    with DnsServer({}) as gone:
        pass
    with pytest.raises(DnsUnavailable):
        ask((gone.endpoint,), "mx", "example.com", timeout=0.3)
    # the next server is asked
    assert ask((gone.endpoint, server.endpoint), "mx", "bare.example.com", timeout=1) == MxAnswer(
        (), 60
    )


def test_i9_refused_is_no_answer(server: DnsServer) -> None:
    with pytest.raises(DnsUnavailable):
        ask(server, "mx", "not-served.example")


def test_one_family_may_fail(server: DnsServer) -> None:
    real = server.respond

    def respond(wire: bytes, transport: str) -> bytes | None:
        quad_a = b"\x00\x1c\x00\x01"
        server.behave(Behaviour.SERVFAIL if quad_a in wire else Behaviour.ANSWER)
        return real(wire, transport)

    server.respond = respond  # type: ignore[method-assign]
    answer = ask(server, "addresses", "bare.example.com")
    assert answer == AddressAnswer(("192.0.2.3",), 300, partial=True)


@pytest.mark.parametrize("name", ["", ".", "a..b", "x" * 64 + ".example", "ü" * 80, "\x00", "*"])
def test_names_that_are_none(server: DnsServer, name: str) -> None:
    with pytest.raises((DnsUnavailable, NoSuchName)):
        ask(server, "mx", name, timeout=0.5)


def test_the_system_s_servers_are_read_again_when_they_change(
    server: DnsServer, tmp_path: Path
) -> None:
    resolv_conf = tmp_path / "resolv.conf"

    async def run() -> None:
        resolver = DnsResolver(Dns(timeout=0.5), resolv_conf=str(resolv_conf))
        resolver._current()
        assert [str(s) for s in resolver._current().nameservers] == ["127.0.0.1"]
        resolv_conf.write_text("nameserver 127.0.0.77\nsearch example.com\n")
        assert resolver._current().nameservers == ["127.0.0.77"]
        assert resolver._current() is resolver._current()

    asyncio.run(run())


def test_many_look_ups_at_once(server: DnsServer) -> None:
    async def run() -> None:
        resolver = DnsResolver(Dns(servers=(server.endpoint,)))
        answers = await asyncio.gather(*(resolver.mx("example.com") for _ in range(300)))
        assert {len(answer.hosts) for answer in answers} == {2}

    asyncio.run(run())


def test_families_come_in_turn(server: DnsServer) -> None:
    async def run() -> None:
        resolver = DnsResolver(Dns(servers=(server.endpoint,)))
        answer = await resolver.addresses("mail.example.com")
        assert [":" in address for address in answer.addresses] == [True, False, False]

    asyncio.run(run())


def test_other_servers_after_a_reload(server: DnsServer) -> None:
    async def run() -> None:
        with DnsServer({"example.com": "@ MX 7 new\n"}) as other:
            resolver = DnsResolver(Dns(servers=(server.endpoint,)))
            assert len((await resolver.mx("example.com")).hosts) == 2
            resolver.reconfigure(Dns(servers=(other.endpoint,)))
            assert (await resolver.mx("example.com")).hosts == ((7, "new.example.com"),)

    asyncio.run(run())
