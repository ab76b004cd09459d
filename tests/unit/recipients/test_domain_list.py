import asyncio
import json
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from functools import wraps
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tideover.config.domains import UNREADABLE
from tideover.config.load import load
from tideover.events.domain_records import DomainListLoaded, DomainListTrouble
from tideover.recipients.domain_copy import NAME
from tideover.recipients.domain_list import DomainList
from tideover.recipients.domain_rows import from_csv, from_json, from_rows
from tideover.recipients.sources.interface import SourceError

ROW = {"primary": ["10.0.0.1"], "recipients": ["file:/x"]}


def on_a_loop(test):
    @wraps(test)
    def run(*args, **kwargs):
        asyncio.run(test(*args, **kwargs))

    return run


class Site:
    """A web server with one document; `text` None: 503."""

    def __init__(self):
        self.text = "{}"
        self.asked = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                tag = f'"{hash(site.text)}"'
                code = 503 if site.text is None else 200
                if self.headers["If-None-Match"] == tag:
                    code = 304
                site.asked.append((code, self.headers["Authorization"]))
                body = (site.text or "").encode() if code == 200 else b""
                self.send_response(code)
                self.send_header("ETag", tag)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def rows(self, names, row=ROW):
        self.text = json.dumps(dict.fromkeys(names, row))

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def site():
    site = Site()
    yield site
    site.close()


class House:
    """A configuration with a list at the site, a clock that stands, and the events."""

    def __init__(self, directory, site):
        self.path = directory / "t.toml"
        self.url = f"http://127.0.0.1:{site.server.server_address[1]}/domains"
        self.top = f'hostname = "mx2.example.org"\ndata_dir = "d"\ndomains_from = "{self.url}"\n'
        (directory / "d").mkdir()
        self.now = 1000.0
        self.events = []
        self.configure("")

    def configure(self, more, details=""):
        self.path.write_text(f'{self.top}[sources."{self.url}"]\n{details}\n{more}')
        self.config = load(self.path)

    def list(self):
        return DomainList(self.config, self.path.parent, self.events.append, lambda: self.now)

    def told(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def house(tmp_path, site):
    return House(tmp_path, site)


@on_a_loop
async def test_domains_of_the_list_are_joined_and_the_files_own_come_first(house, site):
    house.configure('[domains."a.example"]\nprimary = "mx"\nrecipients = ["learn"]\n')
    site.rows(["a.example", "BÜCHER.example"])
    domains = house.list()
    assert domains.doubt(house.now) == "the list of domains was not read yet"
    assert await domains.refresh()
    # a domain that the daemon does not know yet must not be refused for good
    assert domains.doubt(house.now) == "a new list of domains is being taken into use"
    domains.joined(house.config)
    assert domains.doubt(house.now) is None
    joined = domains.joined(house.config)
    assert sorted(joined.domains) == ["a.example", "xn--bcher-kva.example"]
    assert joined.domains["a.example"].recipients == ("learn",)
    assert joined.domains["xn--bcher-kva.example"].primary == (("10.0.0.1", 25),)
    (event,) = house.told(DomainListLoaded)
    assert (event.domains, event.added, event.removed) == (2, 2, 0)


@on_a_loop
async def test_an_unchanged_list_is_not_sent_again_and_not_told(house, site):
    (house.path.parent / "token").write_text("secret\n")
    house.configure("", 'password_file = "token"')
    site.rows(["a.example"])
    domains = house.list()
    assert await domains.refresh()
    assert not await domains.refresh()
    assert site.asked == [(200, "Bearer secret"), (304, "Bearer secret")]
    assert len(house.events) == 1


@on_a_loop
async def test_the_last_good_list_stays_while_the_source_is_down_also_after_a_restart(house, site):
    site.rows(["a.example"])
    assert await house.list().refresh()
    site.text = None
    domains = house.list()
    await domains.restore()
    assert list(domains.domains) == ["a.example"]
    assert domains.doubt(house.now) is None
    assert not await domains.refresh()
    assert not await domains.refresh()
    assert list(domains.domains) == ["a.example"]
    (trouble,) = house.told(DomainListTrouble)
    assert "503" in trouble.reason
    assert trouble.reason in domains.doubt(house.now)
    assert (house.path.parent / "d" / NAME).stat().st_mode & 0o777 == 0o600


@on_a_loop
async def test_silence_is_believed_for_as_long_as_the_operator_says(house, site):
    house.configure("", 'expire = "1h"')
    site.rows(["a.example"])
    domains = house.list()
    await domains.refresh()
    domains.joined(house.config)
    site.text = None
    await domains.refresh()
    assert domains.doubt(house.now + 3599) is None
    assert "503" in domains.doubt(house.now + 3600)


@on_a_loop
async def test_a_copy_of_another_source_or_a_damaged_one_is_not_used(house, site):
    site.rows(["a.example"])
    await house.list().refresh()
    copy = house.path.parent / "d" / NAME
    for bad in (copy.read_bytes()[:-5], copy.read_bytes().replace(b"/domains", b"/others"), b""):
        copy.write_bytes(bad)
        domains = house.list()
        await domains.restore()
        assert domains.domains == {}
        assert domains.doubt(house.now)


@pytest.mark.parametrize(
    ("left", "reason"),
    [
        (0, "it names no domain, and named 10"),
        (7, "3 of 10 domains are gone from it, more than 20"),
    ],
)
@on_a_loop
async def test_a_list_that_lost_too_much_is_not_used_until_an_operator_says_so(
    house, site, left, reason
):
    site.rows([f"d{n}.example" for n in range(10)])
    domains = house.list()
    await domains.refresh()
    site.rows([f"d{n}.example" for n in range(left)])
    assert not await domains.refresh()
    assert len(domains.domains) == 10
    assert reason in domains.trouble
    assert reason in domains.doubt(house.now)
    assert await domains.refresh(confirmed=True) == bool(left)
    assert len(domains.domains) == (left or 10)


@on_a_loop
async def test_a_small_loss_is_taken(house, site):
    site.rows([f"d{n}.example" for n in range(10)])
    domains = house.list()
    await domains.refresh()
    site.rows([f"d{n}.example" for n in range(8)])
    assert await domains.refresh()
    assert house.events[-1].removed == 2


@on_a_loop
async def test_C2_a_bad_row_spoils_only_its_own_domain(house, site):
    names = [f"d{n}.example" for n in range(200)]
    site.rows(names)
    domains = house.list()
    await domains.refresh()
    rows = dict.fromkeys(names, ROW)
    rows["d0.example"] = {"primary": "mxx", "recipients": ["file:/x"]}
    rows["new.example"] = {"primary": "mx", "recipients": ["command:rm -rf /"]}
    site.text = json.dumps(rows)
    assert await domains.refresh()
    assert domains.domains["d0.example"].primary == (("10.0.0.1", 25),)
    assert domains.domains["new.example"] is UNREADABLE
    event = house.events[-1]
    assert event.bad == 2
    assert any('add [sources."command:rm -rf /"]' in text for text in event.mistakes)


@on_a_loop
async def test_too_many_bad_rows_spoil_the_list(house, site):
    site.rows([f"d{n}.example" for n in range(10)])
    domains = house.list()
    await domains.refresh()
    site.rows([f"d{n}.example" for n in range(10)], {"primary": 3, "recipients": ["file:/x"]})
    assert not await domains.refresh()
    assert "10 domains that can't be used: d0.example: primary: found 3" in domains.trouble


@on_a_loop
async def test_a_program_runs_only_when_the_main_file_knows_it(house, site):
    site.rows(["a.example"], {"primary": "mx", "recipients": ["command:list x"]})
    house.configure('[sources."command:list x"]\n')
    domains = house.list()
    assert await domains.refresh()
    assert domains.domains["a.example"].recipients == ("command:list x",)


@pytest.mark.parametrize("text", ["<html>", '{"a.example": ', "[]", '"x"', "{", "[" * 5000])
@on_a_loop
async def test_what_is_no_list_is_not_used(house, site, text):
    site.text = text
    domains = house.list()
    assert not await domains.refresh()
    assert domains.trouble
    assert "\n" not in domains.trouble


@on_a_loop
async def test_watching_tells_of_changes_and_obeys_a_reload(house, site):
    house.configure("", 'refresh = "20ms"')
    site.rows(["a.example"])
    domains, seen = house.list(), asyncio.Queue()

    async def changed():
        await seen.put(sorted(domains.domains))

    task = asyncio.create_task(domains.watch(changed))
    try:
        assert await asyncio.wait_for(seen.get(), 5) == ["a.example"]
        site.rows(["a.example", "b.example"])
        assert await asyncio.wait_for(seen.get(), 5) == ["a.example", "b.example"]
        domains.reconfigure(replace(house.config, domains_from=None))
        assert domains.domains == {}
        assert domains.joined(house.config) is house.config
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def database(tmp_path):
    """A configuration whose domains are in SQLite; returns a function that changes the query."""
    path = tmp_path / "t.toml"
    (tmp_path / "d").mkdir()
    with closing(sqlite3.connect(tmp_path / "h.db")) as connection:
        connection.execute("CREATE TABLE h (name TEXT, hops TEXT, lists TEXT)")
        rows = [("a.example", "mx", "file:/x, learn"), ("b.example", "10.0.0.1:26,h", "learn")]
        connection.executemany("INSERT INTO h VALUES (?, ?, ?)", rows)
        connection.commit()

    def use(query):
        path.write_text(
            'hostname = "mx2.example.org"\ndata_dir = "d"\ndomains_from = "sql:hosted"\n'
            f'[sources."sql:hosted"]\nurl = "sqlite:h.db"\nquery = """{query}"""\n'
        )
        return DomainList(load(path), tmp_path, lambda _: None, lambda: 1000.0)

    return use


@on_a_loop
async def test_domains_of_a_database(database):
    domains = database("SELECT name AS domain, hops AS primary, lists AS recipients FROM h")
    assert not await domains.refresh()
    assert domains.trouble  # "primary" is a word of SQL
    domains = database('SELECT name AS domain, hops AS "primary", lists AS recipients FROM h')
    assert await domains.refresh()
    assert not await domains.refresh()
    assert domains.domains["a.example"].recipients == ("file:/x", "learn")
    assert domains.domains["b.example"].primary == (("10.0.0.1", 26), ("h", 25))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT name FROM h", "no column named domain, primary, recipients; there are name"),
        ("SELECT * FROM absent", "no such table"),
        ("SELECT name AS domain FROM h WHERE name = :domain", '":domain" is not known'),
        ("DELETE FROM h", "readonly database"),
    ],
)
@on_a_loop
async def test_queries_that_yield_no_domains(database, query, said):
    domains = database(query)
    assert not await domains.refresh()
    assert said in domains.trouble


def test_csv_with_and_without_a_header():
    plain = b'a.example,mx,"file:/x, learn"\n\n# x,,\nb.example,"10.0.0.1,h:26",learn\n'
    expected = {
        "a.example": {"primary": "mx", "recipients": ["file:/x", "learn"]},
        "b.example": {"primary": ["10.0.0.1", "h:26"], "recipients": ["learn"]},
    }
    assert from_csv(plain) == expected
    header = b"\xef\xbb\xbfRecipients,honeypots,Domain,primary\r\nlearn,,a.example,mx\r\n"
    assert from_csv(header) == {"a.example": {"primary": "mx", "recipients": ["learn"]}}
    header = b"domain,primary,recipients,honeypots\na.example,mx,learn,swallow\n"
    assert from_csv(header)["a.example"]["honeypots"] == "swallow"


@pytest.mark.parametrize("bad", [b"\xff", b'"x', b"domain,x\n", b'a,mx,"b"c\n'])
def test_bad_csv(bad):
    with pytest.raises(SourceError):
        from_csv(bad)


def test_rows_of_a_database():
    rows = [("a.example", "mx", "learn", None), (None, "mx", "learn", "x")]
    found = from_rows(["domain", "primary", "recipients", "honeypots"], rows)
    assert found == {"a.example": {"primary": "mx", "recipients": ["learn"]}}
    with pytest.raises(SourceError, match="no column named primary"):
        from_rows(["domain", "recipients"], [])


def test_json_keeps_what_is_there():
    assert from_json(b'{"a.example": {"primary": "mx"}, "b.example": 3}') == {
        "a.example": {"primary": "mx"},
        "b.example": {"primary": 3},
    }


@on_a_loop
async def test_a_list_that_comes_again_makes_no_domain_anew(house, site):
    site.rows(["a.example", "b.example"])
    domains = house.list()
    await domains.refresh()
    before = dict(domains.domains)
    site.text = json.dumps({"a.example": ROW, "b.example": {**ROW, "primary": ["10.0.0.2"]}})
    assert await domains.refresh()
    assert domains.domains["a.example"] is before["a.example"]
    assert domains.domains["b.example"] is not before["b.example"]
    site.text += " "
    assert not await domains.refresh()


@on_a_loop
async def test_an_operator_sees_how_the_list_stands(house, site):
    domains = house.list()
    assert domains.status(house.now).state == "loading"
    site.rows([f"d{n}.example" for n in range(10)])
    await domains.refresh()
    domains.joined(house.config)
    stands = domains.status(house.now)
    assert (stands.state, stands.entries, stands.trouble) == ("fresh", 10, None)
    site.rows(["d1.example"])
    await domains.refresh()
    stands = domains.status(house.now)
    assert (stands.state, stands.entries, stands.confirm) == ("stale", 10, True)
    assert "refresh --domains --confirm" in stands.trouble
    await domains.refresh(confirmed=True)
    assert domains.status(house.now).confirm is False
