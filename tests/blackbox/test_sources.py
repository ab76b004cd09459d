"""Each kind of source over SMTP: with the primary up and down, with the source down, over a
restart, and when somebody leaves or comes.
"""

import contextlib
import time

import pytest
import sources
from sources import daemon_of

from tideover.testing import mariadb, postgresql, slapd
from tideover.testing.sink import Sink
from wire import Wire

PATIENCE = 20.0


def needs(missing):
    return [pytest.mark.interop, pytest.mark.skipif(bool(missing), reason=str(missing))]


LDAP = needs(slapd.why_missing())
POSTGRESQL, MARIADB = needs(postgresql.why_missing()), needs(mariadb.why_missing())
KINDS = [
    pytest.param(sources.File, id="file"),
    pytest.param(sources.Aliases, id="aliases"),
    pytest.param(sources.Command, id="command"),
    pytest.param(sources.Https, id="https"),
    pytest.param(sources.Feed, id="feed"),
    pytest.param(sources.FeedOverHttps, id="feed-https"),
    pytest.param(sources.Sqlite, id="sqlite"),
    pytest.param(sources.SqliteLookup, id="sqlite-lookup"),
    pytest.param(sources.PostgresqlFull, id="postgresql", marks=POSTGRESQL),
    pytest.param(sources.PostgresqlLookup, id="postgresql-lookup", marks=POSTGRESQL),
    pytest.param(sources.MariadbFull, id="mariadb", marks=MARIADB),
    pytest.param(sources.MariadbLookup, id="mariadb-lookup", marks=MARIADB),
    pytest.param(sources.Ldap, id="ldap", marks=LDAP),
    pytest.param(sources.LdapLookup, id="ldap-lookup", marks=LDAP),
]


def rcpt(daemon, *locals_):
    """The codes that RCPT gets."""
    with Wire(daemon.port) as wire:
        wire.hello()
        wire.say("MAIL FROM:<sender@example.net>")
        return [wire.say(f"RCPT TO:<{one}@example.com>")[:3].decode() for one in locals_]


def becomes(daemon, local, code):
    """Wait until RCPT for it gets this code. How many seconds that took."""
    began = time.monotonic()
    while rcpt(daemon, local) != [code]:
        assert time.monotonic() - began < PATIENCE, (
            f"{local}: {rcpt(daemon, local)}, not {code}; {daemon.output()[-3000:]}"
        )
        time.sleep(0.1)
    return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", KINDS)
def test_a_source_in_all_weathers(kind, make_daemon, tmp_path):
    with kind(tmp_path / "source") as source:
        source.set("user", "other", "third")
        daemon = daemon_of(make_daemon, source)
        daemon.start()
        becomes(daemon, "user", "250")
        weather = ["user", "User+detail", "postmaster", "nobody", "other"]
        right = ["250", "250", "250", "550", "250"]
        assert rcpt(daemon, *weather) == right, "the primary is down"
        with Sink(daemon.primary):
            assert rcpt(daemon, *weather) == right, "the primary is up"
        assert becomes(daemon, "nobody", "550") < PATIENCE

        # somebody leaves, somebody comes
        source.set("user", "fresh", "third")
        becomes(daemon, "fresh", "250")
        becomes(daemon, "other", "550")

        # the source is down: nobody is forgotten, and nobody refused who may be new
        source.down()
        becomes(daemon, "stranger", source.silence_when_down)
        assert rcpt(daemon, "user", "fresh") == ["250", "250"]
        daemon.stop()
        daemon.start()
        assert rcpt(daemon, "user", "fresh") == ["250", "250"], "over a restart"
        becomes(daemon, "stranger", source.silence_when_down)

        # and it is back
        source.up()
        becomes(daemon, "stranger", "550")
        assert daemon.stop() == 0


def test_callouts_ask_the_primary_while_it_is_up_and_remember(make_daemon):
    daemon = make_daemon(sources=["callout"])
    daemon.start()
    assert rcpt(daemon, "user", "nobody", "postmaster") == ["450", "450", "250"]
    with Sink(daemon.primary, users={"user", "other"}) as primary:
        becomes(daemon, "user", "250")
        assert rcpt(daemon, "nobody", "other") == ["550", "250"]
        assert primary.messages == []
    assert rcpt(daemon, "user", "nobody", "third") == ["250", "550", "450"]
    daemon.stop()
    daemon.start()
    assert rcpt(daemon, "user", "nobody", "third") == ["250", "550", "450"]


def test_a_primary_that_takes_anybody_is_found_out(make_daemon):
    daemon = make_daemon(sources=["callout"], domain='min_confidence = "learned"')
    daemon.start()
    with Sink(daemon.primary):
        becomes(daemon, "user", "450")
        with contextlib.suppress(StopIteration):
            deadline = time.monotonic() + PATIENCE
            while not list(daemon.events("catch-all-found")) and time.monotonic() < deadline:
                rcpt(daemon, "user")
                time.sleep(0.1)
        assert list(daemon.events("catch-all-found"))
        assert rcpt(daemon, "user", "anything") == ["450", "450"]


def test_what_the_primary_takes_and_refuses_is_learned(make_daemon):
    daemon = make_daemon(recipients="user\nold\n", sources=["learn", "file:recipients"])
    daemon.start()

    def send(*locals_):
        with Wire(daemon.port) as wire:
            wire.hello()
            wire.say("MAIL FROM:<sender@example.net>")
            for one in locals_:
                assert wire.say(f"RCPT TO:<{one}@example.com>").startswith(b"250")
            wire.say("DATA")
            assert wire.say("Subject: x\r\n\r\nx\r\n.").startswith(b"250")

    send("user", "old")
    with Sink(daemon.primary, users={"user"}) as primary:
        assert len(primary.wait(1, 20)) == 1
        becomes(daemon, "old", "550")
    daemon.stop()
    daemon.recipients.unlink()
    daemon.start()
    assert rcpt(daemon, "user", "old", "other") == ["250", "550", "450"], "its list is gone"


def test_learning_alone_refuses_nobody(make_daemon):
    daemon = make_daemon(sources=["learn"])
    daemon.start()
    assert rcpt(daemon, "user", "postmaster") == ["450", "250"]


@pytest.mark.slow
def test_an_expired_feed_makes_later_of_no(make_daemon, tmp_path):
    from msgspec.structs import replace

    from feeds import FAST, write

    source = sources.Feed(tmp_path / "source")
    plan = replace(FAST, expire=6, refresh=1, retry=1)
    write(source.path, "user", plan=plan, serial=1, now=time.time())
    daemon = daemon_of(make_daemon, source)
    daemon.start()
    assert rcpt(daemon, "user", "nobody") == ["250", "550"]
    becomes(daemon, "nobody", "450")
    assert rcpt(daemon, "user") == ["250"]
    assert "expired" in daemon.run("status", "--domain", "example.com").stdout


def test_honeypots_over_smtp(make_daemon):
    daemon = make_daemon(recipients="user\ntrap honeypot\n", domain='honeypots = "swallow"\n')
    daemon.start()
    with Wire(daemon.port) as wire:
        wire.hello()
        wire.say("MAIL FROM:<sender@example.net>")
        assert wire.say("RCPT TO:<trap@example.com>").startswith(b"250")
        wire.say("DATA")
        assert wire.say("Subject: spam\r\n\r\nx\r\n.").startswith(b"250 2.0.0 Queued as")
        wire.say("QUIT")
    assert daemon.ask("queue", "list") == []
    assert [e["recipient"] for e in daemon.events("honeypot-hit")] == ["trap@example.com"]
    assert len(list(daemon.events("message-swallowed"))) == 1
