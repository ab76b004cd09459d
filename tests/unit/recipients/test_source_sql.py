"""SQL sources without a server: URLs, queries, rows, entries."""

import asyncio
import contextlib
import sqlite3
import threading
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tideover.config.model import Source
from tideover.recipients.formats.entry import EntryError
from tideover.recipients.interface import NO_TERMS, Terms
from tideover.recipients.listing import ANY_DOMAIN, NameList
from tideover.recipients.sources.entries import Entries, parse_entry
from tideover.recipients.sources.interface import Load, SourceError
from tideover.recipients.sources.secret import hide
from tideover.recipients.sources.sql import SqlAsker, SqlLoader
from tideover.recipients.sources.sql_database import Database
from tideover.recipients.sources.sql_rows import Columns
from tideover.recipients.sources.threads import Stop, Threads


def load(settings: Source, domain: str | None = None) -> Load:
    return asyncio.run(SqlLoader("sql:x", settings, domain=domain).load(None, lambda _: None))


@pytest.mark.parametrize(
    "url",
    [
        None, "", "postgres", "oracle://me:geheim@db/x", "postgresql+asyncpg://me:geheim@db/x",
        "postgresql://me:geheim@db:port/x", "mysql+mysqldb://db/x", "sqlite+aiosqlite:///x",
        "http://me:geheim@db/", "postgresql://me:geheim@[::1/x",
    ],
)  # fmt: skip
def test_urls_of_something_else(url: str | None) -> None:
    with pytest.raises(SourceError, match="url: is written like") as caught:
        load(Source(url=url, query="SELECT 1"))
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["mysql://me:geheim@127.0.0.1:1/x?nonsense=1", "postgresql://me:geheim@127.0.0.1:1/x?no=1"],
)
def test_options_that_the_driver_does_not_know(url: str) -> None:
    with pytest.raises(SourceError) as caught:
        load(Source(url=url, query="SELECT 'x'", lookup_timeout=2.0))
    assert "geheim" not in str(caught.value)


def test_a_database_file_that_is_none(tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"
    with pytest.raises(SourceError, match="No such file"):
        load(Source(url=f"sqlite:{missing}", query="SELECT 'x'"))
    assert not missing.exists()
    with pytest.raises(SourceError, match="not a regular file"):
        load(Source(url=f"sqlite:{tmp_path}", query="SELECT 'x'"))
    text = tmp_path / "text"
    text.write_text("no database, but a text that is long enough to look at" * 100)
    with pytest.raises(SourceError, match="not a database"):
        load(Source(url=f"sqlite:{text}", query="SELECT a FROM b"))


def test_bare_local_parts_count_for_the_domain_or_for_each(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a)")
    named = Source(url=f"sqlite:{path}", query="SELECT 'ada' WHERE :domain = 'example.com'")
    assert set(load(named, "example.com").lists) == {"example.com"}
    with pytest.raises(SourceError, match='":domain" is not known, only no such value here'):
        load(named)
    shared = Source(url=f"sqlite:{path}", query="SELECT 'ada'")
    assert set(load(shared).lists) == {ANY_DOMAIN}


def test_a_question_whose_query_is_wrong_is_refused_each_time(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    sqlite3.connect(path).close()
    asker = SqlAsker("sql:x", Source(url=f"sqlite:{path}", query="SELECT 1"))

    async def run() -> None:
        for _ in range(2):
            with pytest.raises(SourceError, match=":address or :local"):
                await asker.ask("example.com", ["ada"])
        await asker.close()

    asyncio.run(run())


ROW = ("name", "honeypot", "max_size", "reject", "expires")


@pytest.mark.parametrize(
    ("values", "terms"),
    [
        ((None, None, None, None), NO_TERMS),
        ((False, None, "", None), NO_TERMS),
        ((0, None, None, None), NO_TERMS),
        (("No", None, None, None), NO_TERMS),
        ((b"\x00", None, None, None), NO_TERMS),
        ((True, 10, "gone", 1e9), Terms(honeypot=True, max_size=10, reject="gone", expires=1e9)),
        ((b"\x01", None, None, None), Terms(honeypot=True)),
        (("T", "10", None, None), Terms(honeypot=True, max_size=10)),
        ((None, "10MiB", None, None), Terms(max_size=10485760)),
        ((None, Decimal(7), None, None), Terms(max_size=7)),
        ((None, 7.0, None, None), Terms(max_size=7)),
        ((None, None, None, date(2031, 1, 1)), Terms(expires=1924992000.0)),
        ((None, None, None, datetime(2031, 1, 1)), Terms(expires=1924992000.0)),
        ((None, None, None, datetime(2031, 1, 1, tzinfo=UTC)), Terms(expires=1924992000.0)),
        ((None, None, None, "2031-01-01T01:00:00+01:00"), Terms(expires=1924992000.0)),
        ((None, None, None, 1924992000), Terms(expires=1924992000.0)),
    ],
)
def test_what_columns_say(values: tuple[object, ...], terms: Terms) -> None:
    assert Columns(ROW, strict=True).terms_in(("ada", *values)) == terms


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (("perhaps", None, None, None), "honeypot"),
        ((None, -1, None, None), "max_size"),
        ((None, 1.5, None, None), "max_size"),
        ((None, True, None, None), "max_size"),
        ((None, "much", None, None), "max_size"),
        ((None, None, "a\r\nb", None), "reject"),
        ((None, None, "x" * 201, None), "reject"),
        ((None, None, 7, None), "reject"),
        ((None, None, None, "tomorrow"), "expires"),
        ((None, None, None, 1e30), "expires"),
        ((None, None, None, float("nan")), "expires"),
        ((None, None, None, True), "expires"),
    ],
)
def test_values_that_spoil_their_row(values: tuple[object, ...], why: str) -> None:
    with pytest.raises(EntryError, match=f"^{why}: "):
        Columns(ROW, strict=True).terms_in(("ada", *values))


_ANY = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.decimals(), st.text(), st.binary(),
    st.dates(), st.datetimes(),
)  # fmt: skip


@given(st.tuples(_ANY, _ANY, _ANY, _ANY))
def test_no_value_does_worse_than_spoil_its_row(values: tuple[object, ...]) -> None:
    with contextlib.suppress(EntryError):
        Columns(ROW, strict=True).terms_in(("ada", *values))


def test_other_columns_matter_only_in_a_list() -> None:
    lookup = Columns(("id", "Honeypot", "note"), strict=False)
    assert lookup.terms_in((1, 1, "x")) == Terms(honeypot=True)
    with pytest.raises(SourceError, match="not 'note'"):
        Columns(("id", "Honeypot", "note"), strict=True)


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("ada", ("ada", "")),
        ("Ada@Example.COM", ("ada", "example.com")),
        ('"a b"@example.com', ("a b", "example.com")),
        ("Straße@BÜCHER.example", ("straße", "xn--bcher-kva.example")),
        ("@example.com", ("", "example.com")),
        ("@", ("", "")),
    ],
)
def test_entries(text: str, entry: tuple[str, str]) -> None:
    assert parse_entry(text) == entry


@pytest.mark.parametrize(
    "text",
    ["", "a b", "ada@", "ada@example..com", "a%b@example.com", "a!b", "<ada@example.com>",
     "ada@example.com ", "ada@exa mple.com", "@exa mple", "ada@[127.0.0.1]", "x" * 1001,
     "\ud800@example.com", "ada\n@example.com"],
)  # fmt: skip
def test_what_is_no_entry(text: str) -> None:
    with pytest.raises(EntryError):
        parse_entry(text)


@given(st.text(max_size=40))
def test_the_fast_way_finds_what_the_slow_one_finds(text: str) -> None:
    from tideover.recipients.formats.entry import parse_address

    address = f"{text}@example.com"
    try:
        slow = parse_address(address)
    except EntryError:
        slow = None
    try:
        fast = parse_entry(address)
    except EntryError:
        fast = None
    assert fast == slow or text == ""


def entries(**more: Any) -> Entries:
    settings = Source(**more)
    return Entries(settings, wanted=None, domain=None, progress=lambda _: None)


def test_one_mistake_is_forgiven_and_more_only_in_their_share() -> None:
    few = entries()
    few.take("row 1", "ada@example.com")
    few.spoiled("row 2", "NULL")
    assert few.load().bad == 1
    strict = entries(max_mistakes=0)
    strict.take("row 1", "ada@example.com")
    strict.spoiled("row 2", "NULL")
    with pytest.raises(SourceError, match="1 of 2 entries are malformed: row 2: NULL"):
        strict.load()
    many = entries(max_mistakes=10)
    for number in range(20):
        many.take(f"row {number}", f"u{number}@example.com")
    for number in range(2):
        many.take(f"row 2{number}", "no address")
    assert many.load().bad == 2
    many.take("row 22", "no address")
    with pytest.raises(SourceError, match="3 of 23"):
        many.load()


def test_a_catch_all_and_a_domain_beside() -> None:
    taken = entries()
    taken.take("row 1", "@example.com")
    taken.take("row 2", "ada", "Example.NET")
    taken.take("row 3", "@", "example.org")
    taken.take("row 4", "bob@example.com", "example.net")
    found = taken.load()
    assert found.mistakes == ("row 4: 'bob@example.com': example.net beside it is another domain",)
    for domain in ("example.com", "example.org"):
        listing = found.lists[domain]
        assert isinstance(listing, NameList)
        assert listing.catch_all is not None


def test_secrets_are_hidden() -> None:
    assert hide("a geheim\nb  g%2F", "geheim", None, "", "g%2F") == "a *** b ***"


def test_a_driver_that_repeats_the_password_is_not_repeated() -> None:
    settings = Source(url="mysql://me:ge%2Fheim@db.example/x")
    database = Database(settings, timeout=1, connect_timeout=1, kept=0)
    told = database._told(ValueError("mysql://me:ge%2Fheim@db: can't use 'ge/heim'"))
    assert told == "mysql://me:***@db: can't use '***'"


def test_work_that_nobody_waits_for_is_woken() -> None:
    woken = threading.Event()

    def work(stop: Stop) -> None:
        stop.wake_by(woken.set)
        woken.wait(30)
        ended.set()

    ended = threading.Event()

    async def run() -> None:
        threads = Threads(1, "test")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await threads.run(work)
        threads.close()

    asyncio.run(run())
    assert ended.wait(5)


def test_work_that_can_be_woken_only_later_is_woken_then() -> None:
    stop = Stop()
    stop.set()
    woken = threading.Event()
    stop.wake_by(woken.set)
    assert woken.is_set()
