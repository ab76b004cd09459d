"""The trap from outside: a real daemon, its primary, and who comes to the last MX."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tideover.testing.crowd import crowd
from tideover.testing.daemon import Daemon, DaemonFailedError
from tideover.testing.ports import free_port
from tideover.testing.sink import Sink

QUICK = '[health]\ncheck_interval = "300ms"\n'
OUTAGE = 15.0
MIB = 1024 * 1024


@pytest.fixture
def trapping(make_daemon: Callable[..., Daemon]) -> Callable[..., tuple[Daemon, int, int]]:
    """Makes a daemon with a trap: it, the trap's port, and the port of its primary."""

    def make(trap: str = "", more: str = QUICK, **settings: Any) -> tuple[Daemon, int, int]:
        port, home = free_port(), free_port()
        lines = f'[trap]\nlisten = ["127.0.0.1:{port}"]\ndelay = "50ms"\nsettle = "0s"\n{trap}\n'
        return make_daemon(primary=home, more=lines + more, **settings), port, home

    return make


def wait(fact: Callable[[], Any], seconds: float) -> float:
    """Returns how long it took."""
    began = time.monotonic()
    while not fact():
        assert time.monotonic() - began < seconds, "it takes too long"
        time.sleep(0.05)
    return time.monotonic() - began


def opened(daemon: Daemon) -> bool:
    return daemon.ask("trap", "status")["state"] == "open"


def is_open(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def client(port: int, source: str = "127.0.0.1") -> Iterator[Callable[[bytes], bytes]]:
    with socket.socket() as sock:
        sock.settimeout(10)
        sock.bind((source, 0))
        sock.connect(("127.0.0.1", port))
        with sock.makefile("rb") as lines:

            def say(line: bytes) -> bytes:
                if line:
                    sock.sendall(line + b"\r\n")
                return lines.readline()

            yield say


def bot(port: int, source: str) -> None:
    """Tries, and hangs up without QUIT."""
    with client(port, source) as say:
        say(b"")
        say(b"EHLO a.example.net")
        say(b"MAIL FROM:<a@example.net>")
        assert say(b"RCPT TO:<user@example.com>").startswith(b"451 4.3.2")


def test_bots_are_caught_told_exported_and_forgotten(trapping, tmp_path):
    daemon, port, home = trapping()
    with Sink(home), daemon:
        wait(lambda: opened(daemon), 10)
        bot(port, "127.0.5.5")
        wait(lambda: daemon.ask("trap", "list"), 10)
        (caught,) = (one for one in daemon.ask("trap", "list") if one["host"] == "127.0.5.5")
        assert caught["found"] == "trapped"
        assert "127.0.5.5" in daemon.run("trap", "export").stdout.splitlines()
        (event,) = (e for e in daemon.events("client-trapped") if e["client"] == "127.0.5.5")
        assert event["why"] == ["last-mx-first", "no-quit"]
        daemon.stop()
        assert [one["host"] for one in daemon.ask("trap", "list") if one["found"] == "trapped"] == [
            "127.0.5.5"
        ]
        with pytest.raises(DaemonFailedError):
            daemon.ask("trap", "forget", "127.0.5.5")
        daemon.start()
        assert daemon.ask("trap", "forget", "127.0.5.5") == {"forgotten": 1}
        assert daemon.run("trap", "forget", "127.0.5.5").returncode == 1
        assert "127.0.5.5" not in daemon.run("trap", "list").stdout


def test_what_it_knows_counts_where_mail_is_taken(trapping):
    daemon, port, home = trapping(
        more=QUICK + '[profiles.default]\nactions = { trapped = "reject" }\n'
    )
    with Sink(home), daemon:
        wait(lambda: opened(daemon), 10)
        bot(port, "127.0.5.5")
        wait(lambda: list(daemon.events("client-trapped")), 10)
        for source, code in (("127.0.5.5", b"554 5.7.1"), ("127.0.6.6", b"250 ")):
            with client(daemon.port, source) as say:
                say(b"")
                say(b"HELO a.example.net")
                say(b"MAIL FROM:<a@example.net>")
                assert say(b"RCPT TO:<user@example.com>").startswith(code)


def test_it_is_silent_within_15_s_of_an_outage_and_the_outage_marks_nobody(trapping):
    daemon, port, home = trapping(more="")  # the defaults of [health]
    with daemon:
        with Sink(home):
            assert not is_open(port)
            wait(lambda: opened(daemon), 15)
            bot(port, "127.0.5.5")
        took = wait(lambda: not is_open(port), OUTAGE)
        assert took <= OUTAGE
        assert daemon.ask("trap", "status")["state"] == "silent"
        assert daemon.ask("trap", "list") == []
        (event,) = daemon.events("trap-silent")
        assert event["dropped"] >= 1
        with Sink(home):
            wait(lambda: opened(daemon), 10)


def test_nolisting_refuses_and_keeps_the_port(make_daemon):
    port = free_port()
    with make_daemon(more=f'[trap]\nnolisting = ["127.0.0.1:{port}"]\n'):
        assert not is_open(port)
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", port))


def test_honeypots_mark_without_a_trap(make_daemon):
    daemon = make_daemon(recipients="user\nbait honeypot\n")
    with daemon:
        with client(daemon.port, "127.0.5.5") as say:
            say(b"")
            say(b"HELO a.example.net")
            say(b"MAIL FROM:<a@example.net>")
            say(b"RCPT TO:<bait@example.com>")
        wait(lambda: daemon.ask("trap", "list"), 5)
        assert [one["host"] for one in daemon.ask("trap", "list")] == ["127.0.5.5"]
        told = daemon.ask("trap", "status")
        assert (told["state"], told["reason"]) == ("off", "")


def rss(daemon: Daemon) -> int:
    pages = Path(f"/proc/{daemon.running.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


def sessions(port: int, seconds: float) -> float:
    """Refused recipients a second, each on a connection of its own."""
    count, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        with client(port) as say:
            say(b"")
            say(b"HELO a.example.net")
            say(b"MAIL FROM:<a@example.net>")
            assert say(b"RCPT TO:<nobody@example.com>").startswith(b"5")
            assert say(b"QUIT").startswith(b"221")
            assert say(b"") == b""
        count += 1
    return count / seconds


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_thousand_are_held_in_little_memory_and_nobody_is_slowed(trapping):
    limit = int(subprocess.check_output(["bash", "-c", "ulimit -Hn"]).decode())
    count = min(10_000, limit - 1000)
    if count < 10_000:
        pytest.skip(f"only {limit} files may be open")
    daemon, port, home = trapping()
    with Sink(home), daemon:
        wait(lambda: opened(daemon), 10)
        sessions(daemon.port, 1.0)
        alone, before = sessions(daemon.port, 4.0), rss(daemon)
        with crowd(port, count):
            assert rss(daemon) - before <= 100 * MIB
            assert daemon.ask("trap", "status")["connections"] >= count
            assert sessions(daemon.port, 4.0) > 0.6 * alone
