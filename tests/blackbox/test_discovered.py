"""Domains that were discovered, beside those of the files and of a list that changes."""

import sqlite3
import time

import pytest

from tideover.testing.dns import DnsServer
from wire import Wire

CUSTOMER = "customer.example"
ZONES = {
    CUSTOMER: "@ MX 10 home\n@ MX 20 mx2.example.org.\nhome A 127.0.0.1\nns A 127.0.0.1\n",
    "other.example": "@ MX 10 home\n@ MX 20 mx2.example.org.\nns A 127.0.0.1\n",
}


@pytest.fixture
def dns():
    with DnsServer(ZONES) as server:
        yield server


def rcpt(daemon, domain):
    with Wire(daemon.port) as wire:
        wire.say("EHLO client.example.net")
        wire.say("MAIL FROM:<sender@example.net>")
        return wire.say(f"RCPT TO:<user@{domain}>")[:3].decode()


def becomes(daemon, domain, code):
    deadline = time.monotonic() + 20
    while (got := rcpt(daemon, domain)) != code:
        assert time.monotonic() < deadline, f"{domain}: {got}: {daemon.output()[-3000:]}"
        time.sleep(0.1)


def settings(dns, more=""):
    return (
        f'[dns]\nservers = ["{dns.endpoint}"]\ntimeout = "1s"\n'
        f'[discover]\nprimary_hosts = ["home.{CUSTOMER}"]\nrecipients = ["file:recipients"]\n{more}'
    )


def fill(path, *domains):
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    base = sqlite3.connect(new)
    with base:
        base.execute("CREATE TABLE d (domain TEXT, p TEXT, r TEXT)")
        base.executemany(
            "INSERT INTO d VALUES (?, '127.0.0.1:1', 'file:recipients')", [(d,) for d in domains]
        )
    base.close()
    new.replace(path)


def test_a_list_of_domains_that_comes_later_leaves_them_discovered(make_daemon, dns, tmp_path):
    path = tmp_path / "domains.sqlite"
    query = 'SELECT domain, p AS \\"primary\\", r AS recipients FROM d'
    more = (
        '[sources."sql:domains"]\nrefresh = "500ms"\nretry = "500ms"\n'
        f'url = "sqlite:{path}"\nquery = "{query}"\n'
    )
    daemon = make_daemon(top='domains_from = "sql:domains"', more=settings(dns, more))
    daemon.start()
    assert rcpt(daemon, CUSTOMER) == "250"
    fill(path, "listed.example")
    becomes(daemon, "listed.example", "250")
    assert rcpt(daemon, CUSTOMER) == "250"

    daemon.stop()
    dns.__exit__(None, None, None)
    daemon.start()
    assert rcpt(daemon, CUSTOMER) == "250", "it is remembered as discovered"
    assert rcpt(daemon, "other.example") == "450"
