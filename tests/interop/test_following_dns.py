"""A whole daemon that follows a real NSD: what its clients and its primaries see, over SMTP.

MX records have no port, so the primaries of these tests listen on port 25 of loopback addresses.
DNS is believed for 30 s at least, so that many domains go through the same day together.
"""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tideover.testing import nsd as nsd_server
from tideover.testing.daemon import Daemon
from tideover.testing.nsd import Nsd
from tideover.testing.sink import Sink
from wire import Wire

US = "mx2.example.org"
A, B, C = "127.25.3.1", "127.25.3.2", "127.25.3.3"
HOSTS = f"a A {A}\nb A {B}\nc A {C}\n"
TTL = 5
PATIENCE = 50.0
OURS = f"@ MX 20 {US}.\n"
HOME = f"@ MX 10 a.hosts.example.\n{OURS}"


def why_not() -> str | None:
    """Why these tests can't run here, or None."""
    missing = nsd_server.why_missing()
    if missing is not None:
        return missing
    for address in (A, B, C):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, 25))
            except OSError as error:
                return f"port 25 of {address} can't be used ({error.strerror}), and MX needs it"
    return None


pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(why_not() is not None, reason=why_not() or ""),
]


@pytest.fixture
def nsd(tmp_path: Path) -> Iterator[Nsd]:
    server = Nsd(tmp_path)
    server.zone("hosts.example", HOSTS, ttl=TTL)
    with server:
        yield server


@pytest.fixture
def homes() -> Iterator[Callable[[str], Sink]]:
    """Begins primaries that know `user` only."""
    with ExitStack() as stack:
        yield lambda address: stack.enter_context(Sink(25, users={"user"}, host=address))


def serve(nsd: Nsd, zones: dict[str, str]) -> None:
    """Write these zones, and put them into use."""
    for origin, text in zones.items():
        nsd.zone(origin, text, ttl=TTL)
    nsd.reload()


def followed(names: Any, nsd: Nsd, more: str = "") -> str:
    """The configuration of domains that follow this server."""
    return (
        f'[dns]\nservers = ["{nsd.endpoint}"]\ntimeout = "1s"\n'
        + more
        + "".join(
            f'[domains."{name}"]\nprimary = "mx"\nrecipients = ["file:recipients"]\n'
            'when_primary_up = "accept"\n'
            for name in names
        )
    )


def ask(daemon: Daemon, *addresses: str) -> list[str]:
    """What RCPT gets, the code and the rest of the reply."""
    with Wire(daemon.port) as wire:
        wire.say("EHLO client.example.net")
        wire.say("MAIL FROM:<sender@example.net>")
        return [wire.say(f"RCPT TO:<{one}>").decode().strip() for one in addresses]


def codes(daemon: Daemon, *addresses: str) -> list[str]:
    return [reply[:3] for reply in ask(daemon, *addresses)]


def send(daemon: Daemon, *names: str, subject: str) -> None:
    """A message to `user` of each domain."""
    for name in names:
        with Wire(daemon.port) as wire:
            wire.say("EHLO client.example.net")
            wire.say("MAIL FROM:<sender@example.net>")
            reply = wire.say(f"RCPT TO:<user@{name}>")
            assert reply.startswith(b"250"), (name, reply)
            wire.say("DATA")
            assert wire.say(f"Subject: {subject}\r\n\r\nx\r\n.").startswith(b"250")


def until(holds: Callable[[], object], daemon: Daemon, what: str = "") -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"{what}: {daemon.output()[-6000:]}"
        time.sleep(0.1)


def got(sink: Sink, subject: str) -> set[str]:
    """The domains whose message of this subject came here."""
    head = f"Subject: {subject}\r\n".encode()
    return {
        message.rcpts[0].partition(b"@")[2].partition(b">")[0].decode()
        for message in list(sink.messages)
        if head in message.body
    }


def status(daemon: Daemon, name: str) -> dict[str, Any]:
    """What `status` tells of a domain."""
    return daemon.ask("status", "--domain", name)["domains"][name]


def set_of(daemon: Daemon, name: str) -> dict[str, Any]:
    """The MX set of a domain, as `status` tells it."""
    return status(daemon, name)["mx"]


AFTER = {
    "added.example": f"@ MX 5 b.hosts.example.\n{HOME}",
    "removed.example": f"@ MX 15 b.hosts.example.\n{OURS}",
    "swapped.example": f"@ MX 15 a.hosts.example.\n@ MX 10 b.hosts.example.\n{OURS}",
    "missing.example": "@ MX 10 b.hosts.example.\n",
    "best.example": f"@ MX 10 a.hosts.example.\n@ MX 5 {US}.\n",
    "alone.example": f"@ MX 5 {US}.\n",
    "vanished.example": "",
    "null.example": "@ MX 0 .\n",
    "never.example": "@ MX 0 .\n",
}
BEFORE = dict.fromkeys(AFTER, HOME) | {
    "removed.example": f"{HOME}@ MX 15 b.hosts.example.\n",
    "swapped.example": f"{HOME}@ MX 15 b.hosts.example.\n",
    "null.example": f"@ MX 10 c.hosts.example.\n{OURS}",
    "never.example": f"@ MX 10 c.hosts.example.\n{OURS}",
}
MOVED = {"added.example", "removed.example", "swapped.example", "missing.example"}
HELD = {"best.example", "alone.example", "vanished.example"}
NULL = {"null.example", "never.example"}
BACK = dict.fromkeys((*HELD, "null.example"), HOME)


def test_i9_a_day_of_many_domains(
    make_daemon: Callable[..., Daemon], nsd: Nsd, homes: Callable[[str], Sink]
) -> None:
    serve(nsd, BEFORE)
    a, b = homes(A), homes(B)
    daemon = make_daemon(more=followed(BEFORE, nsd))
    daemon.start()
    send(daemon, *BEFORE, subject="first")
    until(lambda: got(a, "first") == MOVED | HELD, daemon, "the first host")
    assert not b.messages

    serve(nsd, AFTER)
    until(
        lambda: {e["domain"] for e in daemon.events("mx-changed")} == set(AFTER), daemon, "changes"
    )
    for event in daemon.events("mx-changed"):
        assert event["serial"] == nsd.serials[event["domain"]]
    alarms = {e["domain"]: e["problem"] for e in daemon.events("mx-alarm")}
    assert alarms == {
        "missing.example": "missing",
        "best.example": "best",
        "alone.example": "alone",
        "vanished.example": "vanished",
        "null.example": "null-mx",
        "never.example": "null-mx",
    }
    send(daemon, *MOVED, *HELD, subject="second")
    until(lambda: got(b, "second") == MOVED, daemon, "the second host")
    for name in NULL:
        (reply,) = ask(daemon, f"user@{name}")
        assert reply.startswith("556 5.1.10"), reply
    assert got(a, "second") == set()
    for name in HELD:
        assert status(daemon, name)["queued"] == 1

    serve(nsd, BACK)
    until(lambda: got(a, "second") == HELD, daemon, "what was held goes home")
    until(lambda: got(a, "first") == MOVED | HELD | {"null.example"}, daemon, "after the null MX")
    assert codes(daemon, "user@null.example", "user@never.example") == ["250", "556"]
    cleared = {e["domain"] for e in daemon.events("mx-alarm-cleared")}
    assert cleared == set(BACK)

    state = set_of(daemon, "best.example")
    assert state["problem"] is None
    assert [c["after"] for c in state["history"]] == [
        ["10 a.hosts.example", f"20 {US}"],
        [f"5 {US}", "10 a.hosts.example"],
        ["10 a.hosts.example", f"20 {US}"],
    ]
    assert [c["serial"] for c in state["history"]] == [3, 2, 1]
    text = daemon.run("status", "--domain", "best.example").stdout
    assert "MX set, zone serial 3" in text
    assert text.count(f"5 {US}") == 2, text  # it came, and it went

    nsd.stop()
    assert daemon.stop() == 0
    daemon.start()
    send(daemon, "added.example", "best.example", subject="third")
    until(lambda: got(b, "third") == {"added.example"}, daemon, "the last good hop")
    until(lambda: got(a, "third") == {"best.example"}, daemon, "the last good hop")
    assert codes(daemon, "user@never.example") == ["556"]
    assert len(set_of(daemon, "best.example")["history"]) == 3


DISCOVER = """
[discover]
when_primary_up = "accept"
primary_hosts = ["a.hosts.example", "c.hosts.example"]
recipients = ["file:recipients", "callout"]
"""


def test_a_listed_owner_s_domain_is_taken_in_and_a_stranger_s_never(
    make_daemon: Callable[..., Daemon], nsd: Nsd, homes: Callable[[str], Sink]
) -> None:
    stranger = "@ MX 10 b.hosts.example.\n"
    zones = {
        "customer.example": HOME,
        "moving.example": f"@ MX 10 c.hosts.example.\n{OURS}",
        "stranger.example": stranger + OURS,
        "mixed.example": stranger + HOME,  # a listed host beside his own
        "later.example": f"@ MX 15 b.hosts.example.\n{HOME}",
        "worse.example": f"@ MX 30 b.hosts.example.\n{HOME}",  # behind us it is nobody's business
        "not-us.example": "@ MX 10 a.hosts.example.\n",
        "only-us.example": OURS,
        "null.example": "@ MX 0 .\n",
        "wild.example": f"* MX 10 a.hosts.example.\n* MX 20 {US}.\n",
    }
    serve(nsd, zones)
    a, b = homes(A), homes(B)
    daemon = make_daemon(more=followed((), nsd, DISCOVER))
    daemon.start()
    strangers = (
        "stranger.example", "mixed.example", "later.example", "not-us.example", "only-us.example",
        "null.example", "one.wild.example", "wild.example", "nothing.hosts.example",
    )  # fmt: skip
    for name in strangers:
        (reply,) = ask(daemon, f"user@{name}")
        assert reply.startswith("554 5.7.1"), (name, reply)
    assert codes(daemon, "user@example.net") == ["450"], "NSD refuses to say"
    assert codes(daemon, "user@customer.example", "user@worse.example") == ["250", "250"]
    assert codes(daemon, "nobody@customer.example") == ["550"], "its primary says so"
    send(daemon, "customer.example", "moving.example", subject="first")
    until(lambda: got(a, "first") == {"customer.example"}, daemon, "it is brought home")
    found = {e["domain"] for e in daemon.events("domain-discovered")}
    assert found == {"customer.example", "moving.example", "worse.example"}

    # kill -9: what was taken in stays, also while DNS is down
    nsd.stop()
    daemon.kill()
    daemon.start()
    assert codes(daemon, "user@moving.example", "user@stranger.example") == ["250", "450"]
    nsd.start()

    # its owner takes it to somebody who is not listed: no more mail, but what is here goes there
    serve(nsd, {"moving.example": stranger + OURS})
    daemon.reload()  # looks at all of them now
    until(lambda: codes(daemon, "user@moving.example") == ["554"], daemon, "it is lost")
    until(lambda: got(b, "first") == {"moving.example"}, daemon, "it is brought where DNS says")
    assert [e["domain"] for e in daemon.events("domain-lost")] == ["moving.example"]
    assert codes(daemon, "user@customer.example") == ["250"]
