"""LDAP sources against a real slapd: what is read, what is refused, and what a dead one means."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tideover.config.model import Source
from tideover.recipients.interface import Confidence, Match
from tideover.recipients.listing import NameList
from tideover.recipients.sources.interface import Load, SourceError
from tideover.recipients.sources.ldap import LdapAsker, LdapLoader
from tideover.testing import slapd as program
from tideover.testing.slapd import BASE, PASSWORD, PEOPLE, READER, Slapd, person

_REASON = program.why_missing()
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(_REASON is not None, reason=_REASON or ""),
]


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with Slapd(tmp_path_factory.mktemp("slapd"), settings="sizelimit 500") as server:
        server.add_person("ada", mail="Ada@Example.com")
        server.add_person("bob", mailLocalAddress=["bob@example.com", "robert@example.org"])
        server.add_person(
            "carl",
            mail="carl@example.com",
            proxyAddresses=[
                "SMTP:carl.gauss@example.com",
                "smtp:prince@example.com",
                "X500:/o=Example/cn=carl",
                "sip:carl@example.com",
                "smtp:carl@example.net",
            ],
        )
        server.add_person("zoe", mail='"zoe (home) *"@example.com')
        yield server


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    return path


def settings(slapd: Slapd, password: Path | None, **more: Any) -> Source:
    named = {} if password is None else {"bind_dn": READER, "password_file": password}
    return Source(**{"url": slapd.url, "base": BASE, "lookup_timeout": 5.0, **named, **more})


def load(settings: Source, told: list[int] | None = None, domain: str | None = None) -> Load:
    async def run() -> Load:
        loader = LdapLoader("ldap:x", settings, domain=domain)
        progress = [] if told is None else told
        found = await loader.load(None, progress.append)
        await loader.close()
        return found

    return asyncio.run(run())


def names(load: Load, domain: str) -> set[str]:
    listing = load.lists[domain]
    assert isinstance(listing, NameList)
    return set(listing.names())


def ask(settings: Source, domain: str, *names: str) -> Match | None:
    async def run() -> Match | None:
        asker = LdapAsker("ldap:x", settings)
        try:
            return await asker.ask(domain, names)
        finally:
            await asker.close()

    return asyncio.run(run())


def trouble(settings: Source) -> str:
    with pytest.raises(SourceError) as caught:
        load(settings)
    text = str(caught.value)
    assert PASSWORD not in text
    assert "\n" not in text
    with pytest.raises(SourceError) as asked:
        ask(settings, "example.com", "ada")
    assert str(asked.value) == text
    return text


def test_all_attributes_that_hold_addresses_are_loaded(slapd: Slapd, password: Path) -> None:
    found = load(settings(slapd, password))
    assert names(found, "example.com") == {
        "ada", "bob", "carl", "carl.gauss", "prince", "zoe (home) *",
    }  # fmt: skip
    assert names(found, "example.org") == {"robert"}
    assert not found.bad


def test_only_the_domain_that_is_wanted(slapd: Slapd, password: Path) -> None:
    found = load(settings(slapd, password), domain="example.org")
    assert set(found.lists) == {"example.org"}
    assert found.skipped == 7


def test_a_filter_and_attributes_of_ones_own(slapd: Slapd, password: Path) -> None:
    chosen = settings(slapd, password, filter="(mail=*@{domain})", attributes=("uid",))
    found = load(chosen, domain="example.com")
    assert names(found, "example.com") == {"ada", "carl", "zoe"}


@pytest.mark.parametrize(
    "address",
    ["ada", "bob", "carl", "carl.gauss", "prince", "zoe (home) *"],
)
def test_an_address_that_exists_is_found(slapd: Slapd, password: Path, address: str) -> None:
    name = f'"{address}"' if " " in address else address
    match = ask(settings(slapd, password), "example.com", name)
    assert match == Match(Confidence.LISTED, name)


@pytest.mark.parametrize(
    "local",
    [
        "nobody", "*", "a*", "ada)(mail=*", "*)(objectClass=*", "ada\\", "\\2a", "(", ")",
        "{address}", "x@example.com)(|(uid=*", "ada\x00", "ü", "carl@example.com", "a" * 255,
        "{local}",
    ],
)  # fmt: skip
def test_a_local_part_is_never_part_of_the_filter(slapd: Slapd, password: Path, local: str) -> None:
    assert ask(settings(slapd, password), "example.com", local) is None
    own = settings(slapd, password, filter="(|(mail={address})(&(mail=*@{domain})(uid={local})))")
    assert ask(own, "example.com", local) is None


def test_without_its_detail(slapd: Slapd, password: Path) -> None:
    match = ask(settings(slapd, password), "example.com", "ada+list", "ada")
    assert match == Match(Confidence.LISTED, "ada")


def test_many_questions_at_once_on_few_connections(slapd: Slapd, password: Path) -> None:
    async def run() -> None:
        asker = LdapAsker("ldap:x", settings(slapd, password, max_lookups=3))
        slots = asyncio.Semaphore(3)

        async def one(number: int) -> bool:
            async with slots:
                name = "ada" if number % 2 else f"no{number}"
                return await asker.ask("example.com", [name]) is not None

        answers = await asyncio.gather(*map(one, range(300)))
        assert answers == [bool(number % 2) for number in range(300)]
        assert len(asker._idle) == 3
        await asker.close()

    asyncio.run(run())


def test_a_connection_that_was_closed_while_idle_is_opened_anew(
    tmp_path: Path, password: Path
) -> None:
    with Slapd(tmp_path / "own") as own:
        own.add_person("ada", mail="ada@example.com")

        async def run() -> None:
            asker = LdapAsker("ldap:x", settings(own, password))
            assert await asker.ask("example.com", ["ada"])
            own.stop()
            with pytest.raises(SourceError, match="refused"):
                await asker.ask("example.com", ["ada"])
            own.start()
            assert await asker.ask("example.com", ["ada"])
            own.stop()
            own.start()
            assert await asker.ask("example.com", ["ada"])
            await asker.close()

        asyncio.run(run())


def test_two_thousand_entries_come_in_pages(tmp_path: Path, password: Path) -> None:
    limits = "limits users size.soft=500 size.hard=500 size.prtotal=unlimited"
    with Slapd(tmp_path / "own", database=limits) as own:
        own.add("".join(person(f"u{i}", mail=f"u{i}@example.com") for i in range(2000)))
        told: list[int] = []
        found = load(settings(own, password), told)
        assert names(found, "example.com") == {f"u{i}" for i in range(2000)}
        assert told == [1000, 2000, 2000]


def test_a_limit_that_cuts_the_answer_short_is_an_error(tmp_path: Path, password: Path) -> None:
    limits = "limits users size.soft=5 size.hard=5 size.prtotal=12"
    with Slapd(tmp_path / "own", database=limits) as own:
        own.add("".join(person(f"u{i}", mail=f"u{i}@example.com") for i in range(20)))
        with pytest.raises(SourceError, match="limit exceeded"):
            load(settings(own, password, page_size=4))


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"base": "dc=elsewhere,dc=net"}, "no such object|refers to"),
        ({"base": f"ou=nobody,{BASE}"}, "no such object"),
        ({"base": "no DN"}, "invalid dn syntax"),
        ({"bind_dn": f"cn=stranger,{BASE}"}, "bind as cn=stranger.*invalid credentials"),
        ({"filter": "(mail={address}"}, "filter: "),
    ],
)
def test_mistakes_of_the_operator(
    slapd: Slapd, password: Path, more: dict[str, Any], why: str
) -> None:
    chosen = settings(slapd, password, **more)
    if "filter" not in more:
        trouble(chosen)
    with pytest.raises(SourceError, match=why):
        ask(chosen, "example.com", "ada")


def test_a_wrong_password_is_not_told(slapd: Slapd, tmp_path: Path) -> None:
    path = tmp_path / "wrong"
    path.write_text("not-the-password")
    text = trouble(settings(slapd, path))
    assert "invalid credentials" in text
    assert "not-the-password" not in text


def test_who_may_not_read_is_told_so(slapd: Slapd) -> None:
    assert "insufficient access" in trouble(settings(slapd, None))


def test_a_directory_without_one_of_the_attributes_names_nobody(
    slapd: Slapd, password: Path
) -> None:
    chosen = settings(slapd, password, attributes=("street",), filter="(uid=*)")
    with pytest.raises(SourceError, match="names no recipient"):
        load(chosen)


def test_referrals_are_not_followed(tmp_path: Path, password: Path) -> None:
    with Slapd(tmp_path / "own", settings="referral ldap://root.example.net") as own:
        own.add_person("ada", mail="ada@example.com")
        elsewhere = settings(own, password, base="dc=elsewhere,dc=net")
        assert "refers to ldap://root.example.net" in trouble(elsewhere)
        own.add(
            f"dn: ou=branch,{BASE}\nobjectClass: referral\nobjectClass: extensibleObject\n"
            "ou: branch\nref: ldap://branch.example.net/ou=branch,dc=example,dc=net\n"
        )
        with pytest.raises(
            SourceError, match=r"refers to ldap://branch\.example\.net.*not followed"
        ):
            load(settings(own, password))
        assert ask(settings(own, password), "example.com", "ada")
        with pytest.raises(SourceError, match="refers to"):
            ask(settings(own, password), "example.com", "nobody")
        below = settings(own, password, base=PEOPLE)
        assert names(load(below), "example.com") == {"ada"}


def test_what_active_directory_refers_to_holds_no_mailboxes(tmp_path: Path, password: Path) -> None:
    with Slapd(tmp_path / "own") as own:
        own.add_person("ada", mail="ada@example.com")
        for number, part in enumerate(("CN=Configuration", "DC=DomainDnsZones")):
            own.add(
                f"dn: ou=r{number},{BASE}\nobjectClass: referral\nobjectClass: extensibleObject\n"
                f"ou: r{number}\nref: ldap://ad.example.com/{part},{BASE}\n"
            )
        assert names(load(settings(own, password)), "example.com") == {"ada"}
        assert ask(settings(own, password), "example.com", "nobody") is None


def test_a_server_that_is_down(slapd: Slapd, password: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"ldap://127.0.0.1:{probe.getsockname()[1]}"
        assert "refused" in trouble(settings(slapd, password, url=url))


@pytest.mark.parametrize("more", [{}, {"starttls": True}, {"url": "ldaps://127.0.0.1:{port}"}])
def test_a_server_that_hangs_holds_nothing_up(password: Path, more: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = more.get("url", "ldap://127.0.0.1:{port}").format(port=port)
        chosen = Source(
            base=BASE, lookup_timeout=0.5, bind_dn=READER, password_file=password,
            **{**more, "url": url},
        )  # fmt: skip

        async def run() -> None:
            loop = asyncio.get_running_loop()
            begun = loop.time()
            asker = LdapAsker("ldap:x", chosen)
            question = asyncio.create_task(asker.ask("example.com", ["ada"]))
            longest = 0.0
            while not question.done():
                before = loop.time()
                await asyncio.sleep(0.01)
                longest = max(longest, loop.time() - before)
            with pytest.raises(SourceError, match=r"no answer within 0\.5 s"):
                await question
            assert loop.time() - begun < 3
            assert longest < 0.3
            await asker.close()

        asyncio.run(run())


def test_a_frozen_server_can_be_left_at_any_moment(tmp_path: Path, password: Path) -> None:
    with Slapd(tmp_path / "own") as own:
        own.add_person("ada", mail="ada@example.com")

        async def run() -> None:
            asker = LdapAsker("ldap:x", settings(own, password))
            assert await asker.ask("example.com", ["ada"])
            own.freeze()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await asker.ask("example.com", ["ada"])
            assert not asker._idle
            own.thaw()
            assert await asker.ask("example.com", ["ada"])
            await asker.close()

        asyncio.run(run())


def test_a_server_that_dies_in_the_middle_of_a_load(tmp_path: Path, password: Path) -> None:
    limits = "limits users size.soft=500 size.prtotal=unlimited"
    with Slapd(tmp_path / "own", database=limits) as own:
        own.add("".join(person(f"u{i}", mail=f"u{i}@example.com") for i in range(1500)))

        async def run() -> None:
            loader = LdapLoader("ldap:x", settings(own, password, page_size=50))
            await loader.load(None, lambda count: own.kill() if count == 1000 else None)

        with pytest.raises(SourceError, match=r"the connection was lost|reset"):
            asyncio.run(run())


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def secure(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    directory = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("127.0.0.1")
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    with Slapd(directory / "slapd", certificate=certificate, key=key) as server:
        server.add_person("ada", mail="ada@example.com")
        yield server


def over_tls(secure: Slapd, kind: str, password: Path, **more: Any) -> Source:
    if kind == "ldaps":
        return settings(secure, password, url=secure.tls_url, **more)
    return settings(secure, password, starttls=True, **more)


@pytest.mark.parametrize("kind", ["starttls", "ldaps"])
def test_tls_with_the_right_authority(
    secure: Slapd, kind: str, password: Path, authority: trustme.CA, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    chosen = over_tls(secure, kind, password, ca_file=ca)
    assert names(load(chosen), "example.com") == {"ada"}
    assert ask(chosen, "example.com", "ada")
    assert ask(chosen, "example.com", "bob") is None


@pytest.mark.parametrize("kind", ["starttls", "ldaps"])
def test_tls_with_the_wrong_authority(
    secure: Slapd, kind: str, password: Path, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(ca)
    for more in ({"ca_file": ca}, {}):
        text = trouble(over_tls(secure, kind, password, **more))
        assert "its certificate is not accepted: " in text


@pytest.mark.parametrize("kind", ["starttls", "ldaps"])
def test_tls_with_a_certificate_for_another_host(
    secure: Slapd, kind: str, password: Path, authority: trustme.CA, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    url = secure.tls_url if kind == "ldaps" else secure.url
    chosen = over_tls(secure, kind, password, ca_file=ca)
    chosen = Source(
        base=BASE, url=url.replace("127.0.0.1", "localhost"), ca_file=ca, bind_dn=READER,
        password_file=password, starttls=chosen.starttls,
    )  # fmt: skip
    assert "not valid for 'localhost'" in trouble(chosen)


def test_starttls_that_is_not_offered_is_no_reason_to_go_on_in_clear(
    slapd: Slapd, password: Path
) -> None:
    assert "STARTTLS is refused" in trouble(settings(slapd, password, starttls=True))


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "can't understand"),
        (b"\x30\x84\x7f\xff\xff\xff", "can't understand"),
        (b"\x30\x80\x00\x00", "can't understand"),
        (b"\x30\x03\x02\x01\x01", "can't understand|end of file"),
        (b"\x30\x05\x02\x01\x01\x61\x00", "can't understand"),
        (b"\x30\x0c\x02\x01\x07\x61\x07\x0a\x01\x00\x04\x00\x04\x00", "can't understand"),
        (b"\x30", "end of file"),
        (b"", "end of file"),
    ],
)
def test_what_is_no_ldap(password: Path, answers: bytes, why: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(2):
                peer, _ = server.accept()
                with peer:
                    peer.recv(1000)
                    peer.sendall(answers)
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(1000):
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        chosen = Source(
            url=f"ldap://127.0.0.1:{server.getsockname()[1]}", base=BASE,
            bind_dn=READER, password_file=password, lookup_timeout=5.0,
        )  # fmt: skip
        with pytest.raises(SourceError, match=why):
            load(chosen)
        with pytest.raises(SourceError, match=why):
            ask(chosen, "example.com", "ada")
        thread.join(5)


def test_what_comes_before_the_handshake_is_not_taken_for_what_comes_after(
    password: Path,
) -> None:
    # an answer to STARTTLS, and at once the forged "success" of a bind behind it
    success = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"
    forged = b"\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(success + forged)
                while peer.recv(1000):
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        chosen = Source(
            url=f"ldap://127.0.0.1:{server.getsockname()[1]}", base=BASE, starttls=True,
            bind_dn=READER, password_file=password, lookup_timeout=5.0,
        )  # fmt: skip
        with pytest.raises(SourceError, match="TLS fails"):
            load(chosen)
        thread.join(5)
