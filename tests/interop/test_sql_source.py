"""SQL sources against real servers: what is read, what is refused, and what a dead one means."""

import asyncio
import contextlib
import os
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from peers import open_directory

from tideover.config.model import Source
from tideover.recipients.interface import Confidence, Match, Terms
from tideover.recipients.listing import NameList
from tideover.recipients.sources.interface import Load, SourceError
from tideover.recipients.sources.sql import SqlAsker, SqlLoader
from tideover.testing import mariadb, postgresql
from tideover.testing.mariadb import Mariadb
from tideover.testing.postgresql import Postgresql

pytestmark = pytest.mark.interop

TABLES = [
    "CREATE TABLE users (address VARCHAR(200), login VARCHAR(100), active INTEGER)",
    """CREATE TABLE aliases (name VARCHAR(100), host VARCHAR(100), trap INTEGER, quota BIGINT,
    gone VARCHAR(200), until VARCHAR(40))""",
    *(
        f"INSERT INTO users VALUES ({address}, '{login}', {active})"
        for address, login, active in (
            ("'Ada@Example.com'", "ada", 1),
            ("'bob@example.com'", "bob", 1),
            ("'carl@example.org'", "carl", 1),
            ("'it''s@example.com'", "it", 1),
            ("'old@example.com'", "old", 0),
            ("NULL", "none", 2),
            ("'two words@example.com'", "words", 3),
        )
    ),
    "INSERT INTO aliases VALUES ('info', 'example.com', 0, NULL, NULL, NULL)",
    "INSERT INTO aliases VALUES ('trap', 'example.com', 1, NULL, '', NULL)",
    "INSERT INTO aliases VALUES ('small', 'example.com', 0, 1000, NULL, '2031-01-01 00:00:00')",
    "INSERT INTO aliases VALUES ('moved', 'example.net', 0, NULL, 'has moved', NULL)",
]
GOOD = "SELECT address FROM users WHERE active < 2"


class Peer:
    """A database with the tables, and how to reach it."""

    def __init__(self, url: str, secret: str | None, server: Any) -> None:
        self.url = url
        self.secret = secret
        self.server = server

    def settings(self, directory: Path, query: str, **more: Any) -> Source:
        named: dict[str, Any] = {"url": self.url, "query": query, "lookup_timeout": 5.0}
        if self.secret is not None:
            named["password_file"] = directory / "secret"
            named["password_file"].write_text(self.secret + "\n")
        return Source(**{**named, **more})


@pytest.fixture(scope="module")
def own_directory() -> Iterator[Path]:
    with open_directory() as path:
        yield path


@pytest.fixture(scope="module")
def postgres(own_directory: Path) -> Iterator[Peer]:
    if reason := postgresql.why_missing():
        pytest.skip(reason)
    with Postgresql(own_directory / "postgresql") as server:
        server.execute(*TABLES, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        yield Peer(server.url(), postgresql.PASSWORD, server)


@pytest.fixture(scope="module")
def maria(own_directory: Path) -> Iterator[Peer]:
    if reason := mariadb.why_missing():
        pytest.skip(reason)
    with Mariadb(own_directory / "mariadb") as server:
        server.execute(*TABLES)
        yield Peer(server.url(), mariadb.PASSWORD, server)


@pytest.fixture(scope="module")
def sqlite(own_directory: Path) -> Peer:
    path = own_directory / "mail?#%20.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in TABLES:
            connection.execute(statement)
        connection.commit()
    return Peer(f"sqlite:{path}", None, path)


@pytest.fixture(params=["postgres", "maria", "sqlite"])
def peer(request: pytest.FixtureRequest) -> Peer:
    found: Peer = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["postgres", "maria"])
def server(request: pytest.FixtureRequest) -> Peer:
    found: Peer = request.getfixturevalue(request.param)
    return found


def load(settings: Source, told: list[int] | None = None, domain: str | None = None) -> Load:
    async def run() -> Load:
        loader = SqlLoader("sql:x", settings, domain=domain)
        progress = [] if told is None else told
        found = await loader.load(None, progress.append)
        await asyncio.sleep(0)
        await loader.close()
        return found

    return asyncio.run(run())


def names(load: Load, domain: str) -> set[str]:
    listing = load.lists[domain]
    assert isinstance(listing, NameList)
    return set(listing.names())


def ask(settings: Source, domain: str, *names: str) -> Match | None:
    async def run() -> Match | None:
        asker = SqlAsker("sql:x", settings)
        try:
            return await asker.ask(domain, names)
        finally:
            await asker.close()

    return asyncio.run(run())


def trouble(peer: Peer, do: Callable[[], object]) -> str:
    with pytest.raises(SourceError) as caught:
        do()
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.__suppress_context__ or caught.value.__cause__ is None
    if peer.secret is not None:
        assert peer.secret not in text
    return text


def test_a_column_of_addresses(peer: Peer, tmp_path: Path) -> None:
    found = load(peer.settings(tmp_path, GOOD))
    assert names(found, "example.com") == {"ada", "bob", "it's", "old"}
    assert names(found, "example.org") == {"carl"}
    assert not found.bad


def test_a_query_of_one_domain(peer: Peer, tmp_path: Path) -> None:
    query = "SELECT login FROM users WHERE LOWER(address) LIKE '%@' || :domain AND active = 1"
    if "mariadb" in peer.url:
        query = "SELECT login FROM users WHERE address LIKE CONCAT('%@', :domain) AND active = 1"
    found = load(peer.settings(tmp_path, query), domain="example.com")
    assert names(found, "example.com") == {"ada", "bob", "it"}
    assert set(found.lists) == {"example.com"}


def test_columns_beside_the_address(peer: Peer, tmp_path: Path) -> None:
    query = (
        "SELECT name, host AS domain, trap AS honeypot, quota AS max_size, gone AS reject, "
        "until AS expires FROM aliases"
    )
    found = load(peer.settings(tmp_path, query))
    assert names(found, "example.com") == {"info", "trap", "small"}
    listing = found.lists["example.com"]
    assert isinstance(listing, NameList)
    assert listing.terms == {
        "trap": Terms(honeypot=True),
        "small": Terms(max_size=1000, expires=1924992000.0),
    }
    moved = found.lists["example.net"]
    assert isinstance(moved, NameList)
    assert moved.terms == {"moved": Terms(reject="has moved")}


def test_rows_that_are_no_addresses_are_mistakes(peer: Peer, tmp_path: Path) -> None:
    query = "SELECT address FROM users ORDER BY active"
    settings = peer.settings(tmp_path, query, max_mistakes=30)
    found = load(settings)
    assert found.bad == 2
    assert found.mistakes == (
        "row 6: address: NULL, not text",
        "row 7: 'two words@example.com': not an address or local part",
    )
    text = trouble(peer, lambda: load(peer.settings(tmp_path, query)))
    assert text.startswith("2 of 7 entries are malformed: row 6: address: NULL")


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("SELECT active FROM users", "first column must be the address: .*type int"),
        (
            "SELECT host AS domain, name FROM aliases",
            "first column must be the address, not domain",
        ),
        ("SELECT address, login FROM users", "not 'login'"),
        ("SELECT name, host AS domain, host AS domain FROM aliases", "two columns domain"),
        ("SELECT nothing FROM users", "nothing"),
        ("SELEC address", "(?i)syntax"),
        ("SELECT address FROM users WHERE login = :login", '":login" is not known'),
        ("SELECT address FROM users WHERE login = :local", '":local" is not known'),
        ("SELECT address FROM users WHERE active = 7", "names no recipient"),
        ("DELETE FROM users", "(?i)read.?only|is no SELECT|syntax|denied"),
        ("", "query: is missing"),
    ],
)
def test_queries_that_can_not_be_used(peer: Peer, tmp_path: Path, query: str, why: str) -> None:
    with pytest.raises(SourceError, match=why):
        load(peer.settings(tmp_path, query))
    trouble(peer, lambda: load(peer.settings(tmp_path, query)))
    assert len(names(load(peer.settings(tmp_path, GOOD)), "example.com")) == 4


def test_an_address_is_asked_for(peer: Peer, tmp_path: Path) -> None:
    query = "SELECT login FROM users WHERE LOWER(address) = :address AND active < 2"
    settings = peer.settings(tmp_path, query)
    assert ask(settings, "example.com", "ada") == Match(Confidence.LISTED, "ada")
    assert ask(settings, "example.com", "it's") == Match(Confidence.LISTED, "it's")
    assert ask(settings, "example.com", "ada+list", "ada") == Match(Confidence.LISTED, "ada")
    assert ask(settings, "example.com", "nobody", "none") is None
    assert ask(settings, "example.org", "ada") is None


def test_a_lookup_brings_terms(peer: Peer, tmp_path: Path) -> None:
    query = (
        "SELECT 1, trap AS honeypot, quota AS max_size, gone AS reject FROM aliases "
        "WHERE name = :local AND host = :domain"
    )
    settings = peer.settings(tmp_path, query)
    assert ask(settings, "example.com", "info") == Match(Confidence.LISTED, "info")
    trap = Match(Confidence.LISTED, "trap", Terms(honeypot=True))
    assert ask(settings, "example.com", "trap") == trap
    moved = Match(Confidence.LISTED, "moved", Terms(reject="has moved"))
    assert ask(settings, "example.net", "moved") == moved


@pytest.mark.parametrize(
    "local",
    ["' or '1'='1", "'; drop table users; --", "%", "_da", "\\", "ada\x00", "ü", "\U0001f600",
     ":domain", "%s", "%(local)s", "{local}", '" or ""="', "ada'--", "a" * 255],
)  # fmt: skip
def test_a_local_part_is_never_part_of_the_query(peer: Peer, tmp_path: Path, local: str) -> None:
    query = "SELECT login FROM users WHERE LOWER(address) = :address OR login = :local"
    settings = peer.settings(tmp_path, query)
    assert ask(settings, "example.com", local) is None
    assert ask(settings, "example.com", "ada")


def test_a_lookup_that_does_not_ask_for_the_address_is_refused(peer: Peer, tmp_path: Path) -> None:
    settings = peer.settings(tmp_path, "SELECT login FROM users WHERE login = :domain")
    with pytest.raises(SourceError, match=":address or :local"):
        ask(settings, "example.com", "ada")


def test_signs_that_mean_something_to_drivers_and_to_us(postgres: Peer, tmp_path: Path) -> None:
    query = "SELECT address::text FROM users WHERE address LIKE '%@%' AND '10\\:00' = '10:00'"
    query = query.replace("'10:00'", "'10\\:00'") + " AND active % 2 = 1 AND active < 2"
    found = load(postgres.settings(tmp_path, query))
    assert names(found, "example.com") == {"ada", "bob", "it's"}


def test_many_questions_at_once(peer: Peer, tmp_path: Path) -> None:
    query = "SELECT login FROM users WHERE LOWER(address) = :address"

    async def run() -> None:
        asker = SqlAsker("sql:x", peer.settings(tmp_path, query, max_lookups=3))

        async def one(number: int) -> bool:
            name = "ada" if number % 2 else f"no{number}"
            return await asker.ask("example.com", [name]) is not None

        before = threading.active_count()
        answers = await asyncio.gather(*map(one, range(200)))
        assert answers == [bool(number % 2) for number in range(200)]
        assert threading.active_count() - before <= 3
        await asker.close()

    asyncio.run(run())


def test_a_long_list_comes_in_pieces(peer: Peer, tmp_path: Path) -> None:
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) "
    number = "CAST(i AS CHAR(9))" if "mariadb" in peer.url else "CAST(i AS TEXT)"
    told: list[int] = []
    if "mariadb" in peer.url:
        query = f"{many} SELECT CONCAT('u', {number}, '@example.com') FROM n"
        peer.server.execute("SET GLOBAL max_recursive_iterations = 100000")
    else:
        query = f"{many} SELECT 'u' || {number} || '@example.com' FROM n"
    found = load(peer.settings(tmp_path, query), told)
    assert names(found, "example.com") == {f"u{i}" for i in range(1, 5001)}
    assert told == [1000, 2000, 3000, 4000, 5000, 5000]
    text = trouble(peer, lambda: load(peer.settings(tmp_path, query, max_size=10_000)))
    assert "larger than max_size" in text


@pytest.mark.parametrize("password", ["wrong:pass/word", "x"])
def test_a_wrong_password_is_not_told(server: Peer, tmp_path: Path, password: str) -> None:
    path = tmp_path / "wrong"
    path.write_text(password)
    in_url = server.url.replace("reader@", "reader:wrong%3Apass%2Fword@")
    for more in ({"password_file": path}, {"password_file": None, "url": in_url}):
        settings = server.settings(tmp_path, GOOD, **more)
        text = trouble(server, lambda settings=settings: load(settings))
        assert "wrong:pass/word" not in text
        assert "wrong%3Apass%2Fword" not in text
        assert "(?i)password" not in text
        assert "reader" in text


def test_the_password_may_stand_in_the_url(server: Peer, tmp_path: Path) -> None:
    from urllib.parse import quote

    secret = quote(server.secret or "", safe="")
    settings = server.settings(
        tmp_path, GOOD, password_file=None, url=server.url.replace("reader@", f"reader:{secret}@")
    )
    assert names(load(settings), "example.org") == {"carl"}


def test_a_server_that_is_down(server: Peer, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = server.url.replace(str(server.server.port), str(probe.getsockname()[1]))
        settings = server.settings(tmp_path, GOOD, url=url)
        assert "refused" in trouble(server, lambda: load(settings))
        query = "SELECT 1 FROM users WHERE address = :address"
        asked = server.settings(tmp_path, query, url=url)
        assert "refused" in trouble(server, lambda: ask(asked, "example.com", "ada"))


@pytest.mark.slow
def test_a_server_that_never_speaks(server: Peer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = server.url.replace(str(server.server.port), str(silent.getsockname()[1]))
        settings = server.settings(tmp_path, GOOD, url=url, lookup_timeout=0.5)
        begun = time.monotonic()
        trouble(server, lambda: load(settings))
        assert time.monotonic() - begun < 5


def test_a_slow_query_ends_in_its_time(peer: Peer, tmp_path: Path) -> None:
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000) "
        "SELECT 'x' FROM n WHERE i = 0 AND 'x' <> :local"
    )
    queries = {"p": "SELECT 'x' FROM pg_sleep(30) WHERE 'x' <> :local",
               "m": "SELECT SLEEP(30) FROM users WHERE 'x' <> :local"}  # fmt: skip
    query = queries.get(peer.url[0], endless)
    settings = peer.settings(tmp_path, query, lookup_timeout=0.5)
    begun = time.monotonic()
    if peer.url[0] == "m":  # MariaDB's SLEEP() ends early and says so with a row
        with contextlib.suppress(SourceError):
            ask(settings, "example.com", "ada")
    else:
        text = trouble(peer, lambda: ask(settings, "example.com", "ada"))
        assert "timeout" in text or "interrupted" in text
    assert time.monotonic() - begun < 5


def test_a_thread_ends_when_nobody_waits_for_it(peer: Peer, tmp_path: Path) -> None:
    query = {
        "p": "SELECT 'x' FROM pg_sleep(30)",
        "m": "SELECT SLEEP(30) FROM users",
    }.get(
        peer.url[0],
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000) "
        "SELECT 'x' FROM n WHERE i = 0",
    )
    settings = peer.settings(tmp_path, query)
    before = set(threading.enumerate())

    async def run() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await SqlLoader("sql:x", settings).load(None, lambda _: None)

    asyncio.run(run())
    ended = time.monotonic() + 3
    while set(threading.enumerate()) - before and time.monotonic() < ended:
        time.sleep(0.02)
    assert not set(threading.enumerate()) - before


@pytest.mark.slow
def test_a_frozen_server_holds_no_thread(server: Peer, tmp_path: Path) -> None:
    query = "SELECT login FROM users WHERE LOWER(address) = :address"

    async def run() -> None:
        settings = server.settings(tmp_path, query, max_lookups=1, lookup_timeout=2.0)
        asker = SqlAsker("sql:x", settings)
        assert await asker.ask("example.com", ["ada"])
        server.server.freeze()
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await asker.ask("example.com", ["ada"])
            async with asyncio.timeout(2):  # its one thread is free, while the server still hangs
                assert await asker._threads.run(lambda _: True)
            # a new connection can't be woken before it is one; lookup_timeout bounds it
            with pytest.raises(SourceError):
                await asker.ask("example.com", ["ada"])
        finally:
            server.server.thaw()
        async with asyncio.timeout(10):
            assert await asker.ask("example.com", ["ada"])
        await asker.close()

    asyncio.run(run())


def test_connections_that_died_while_idle_are_opened_anew(server: Peer, tmp_path: Path) -> None:
    query = "SELECT login FROM users WHERE LOWER(address) = :address"

    async def run() -> None:
        asker = SqlAsker("sql:x", server.settings(tmp_path, query))
        assert await asker.ask("example.com", ["ada"])
        server.server.stop()
        with pytest.raises(SourceError):
            await asker.ask("example.com", ["ada"])
        server.server.start()
        assert await asker.ask("example.com", ["ada"])
        server.server.stop()
        server.server.start()
        assert await asker.ask("example.com", ["ada"])
        assert await asker.ask("example.com", ["nobody"]) is None
        await asker.close()

    asyncio.run(run())


def test_the_query_can_write_nothing(peer: Peer, tmp_path: Path) -> None:
    statement = "INSERT INTO users (login) SELECT 'x' FROM users"
    if peer.url[0] == "p":
        peer.server.execute("GRANT INSERT ON users TO reader")
        statement += " RETURNING login"
    if peer.url[0] == "m":
        peer.server.execute("GRANT INSERT ON mail.* TO reader@'%'")
    with pytest.raises(SourceError, match=r"(?i)read.?only|syntax"):
        load(peer.settings(tmp_path, statement))
    asked = statement.replace("'x'", ":local")
    with pytest.raises(SourceError, match=r"(?i)read.?only"):
        ask(peer.settings(tmp_path, asked), "example.com", "ada")


def test_an_authority_that_is_not_there_is_no_reason_to_go_on(server: Peer, tmp_path: Path) -> None:
    settings = server.settings(tmp_path, GOOD, ca_file=tmp_path / "nothing.pem")
    trouble(server, lambda: load(settings))


@pytest.fixture(scope="module", params=["postgres", "maria"])
def secure(
    request: pytest.FixtureRequest, own_directory: Path
) -> Iterator[tuple[Peer, trustme.CA]]:
    program = postgresql if request.param == "postgres" else mariadb
    if reason := program.why_missing():
        pytest.skip(reason)
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate = own_directory / f"{request.param}.pem"
    key = own_directory / f"{request.param}.key"
    certificate.write_bytes(issued.cert_chain_pems[0].bytes())
    key.write_bytes(issued.private_key_pem.bytes())
    key.chmod(0o600)
    directory = own_directory / f"{request.param}-tls"
    running: Postgresql | Mariadb
    if program is postgresql:
        lines = f"ssl = on\nssl_cert_file = '{certificate}'\nssl_key_file = '{key}'"
        running = Postgresql(directory, settings=lines)
    else:
        running = Mariadb(directory, arguments=[f"--ssl-cert={certificate}", f"--ssl-key={key}"])
    if os.geteuid() == 0:
        shutil.chown(key, "postgres" if program is postgresql else "mysql")
    with running as server:
        server.execute(*TABLES)
        if program is postgresql:
            server.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        yield Peer(server.url(), program.PASSWORD, server), authority


def test_with_an_authority_the_certificate_is_checked(
    secure: tuple[Peer, trustme.CA], tmp_path: Path
) -> None:
    peer, authority = secure
    ca, other = tmp_path / "ca.pem", tmp_path / "other.pem"
    authority.cert_pem.write_to_path(ca)
    trustme.CA().cert_pem.write_to_path(other)
    assert names(load(peer.settings(tmp_path, GOOD, ca_file=ca)), "example.org") == {"carl"}
    text = trouble(peer, lambda: load(peer.settings(tmp_path, GOOD, ca_file=other)))
    assert "certificate verify failed" in text
    elsewhere = peer.url.replace("127.0.0.1", "localhost")
    settings = peer.settings(tmp_path, GOOD, ca_file=ca, url=elsewhere)
    assert "localhost" in trouble(peer, lambda: load(settings))


def test_with_an_authority_nothing_is_said_in_clear(server: Peer, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(ca)
    text = trouble(server, lambda: load(server.settings(tmp_path, GOOD, ca_file=ca)))
    assert "SSL" in text or "certificate" in text
