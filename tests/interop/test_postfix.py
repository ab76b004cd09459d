"""Postfix fills the queue with smtp-source, and takes it home as the primary."""

import hashlib
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from peers import needs, needs_postfix, open_directory

from tideover.testing.daemon import Daemon
from tideover.testing.mailgen import mail
from tideover.testing.ports import free_port
from tideover.testing.postfix import Postfix
from tideover.testing.sink import Sink
from wire import submit, without_trace

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]
Make = Callable[..., Daemon]
USERS = "".join(f"{n}user\n" for n in range(1, 2001))


def source(port: int, count: int, size: int, sessions: int, *options: str) -> None:
    subprocess.run(
        ["smtp-source", *options, "-s", str(sessions), "-m", str(count), "-l", str(size), "-N",
         "-f", "sender@example.net", "-t", "user@example.com", f"127.0.0.1:{port}"],
        check=True, timeout=150,
    )  # fmt: skip


@pytest.mark.slow
@needs("smtp-source")
@pytest.mark.parametrize(
    ("count", "size", "sessions"),
    [(2000, 1024, 100), (500, 4096, 20), (60, 200_000, 10), (4, 20 * 1024 * 1024, 2)],
    ids=["1KiB", "4KiB", "200KB", "20MiB"],
)
@pytest.mark.parametrize("kept", [(), ("-d",)], ids=["new-connections", "kept-connections"])
def test_smtp_source_fills_the_queue(
    make_daemon: Make, count: int, size: int, sessions: int, kept: tuple[str, ...]
) -> None:
    daemon = make_daemon(recipients=USERS)
    daemon.start()
    source(daemon.port, count, size, sessions, *kept)
    assert daemon.ask("status")["domains"]["example.com"]["queued"] == count
    with Sink(daemon.primary) as sink:
        got = sink.wait(count, 60)
    assert Counter(one.rcpts[0].split(b">")[0] for one in got) == {
        b"TO:<%duser@example.com" % n: 1 for n in range(1, count + 1)
    }
    assert all(len(without_trace(one.body)) >= size for one in got)


_HOME = """
mydestination =
virtual_mailbox_domains = example.com
virtual_mailbox_base = @DIR@/mail
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_minimum_uid = 100
message_size_limit = 60000000
virtual_mailbox_limit = 0
mailbox_size_limit = 0
smtpd_relay_restrictions = reject_unauth_destination
smtpd_client_connection_count_limit = 200
strict_8bitmime = no
"""


def own_part(stored: bytes) -> bytes:
    """The message in a mailbox from its own first header on: Postfix keeps lines with LF."""
    return stored[stored.index(b"From: sender") :]


def maildir(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in (directory / "mail" / "all" / "new").glob("*")]


@needs_postfix()
def test_a_real_postfix_gets_each_message_once(make_daemon: Make) -> None:
    bodies = [mail(n, 1000 + 97 * n) for n in range(200)] + [mail(200, 5_000_000)]
    daemon = make_daemon()
    daemon.start()
    submit(daemon.port, *bodies)
    with open_directory() as directory:
        home = Postfix(directory, port=daemon.primary, settings=_HOME, hostname="mx1.example.com")
        (directory / "mail").mkdir(mode=0o777)
        (directory / "mail").chmod(0o777)
        with home:
            for _ in range(600):
                if len(maildir(directory)) >= len(bodies) and not home.queued():
                    break
                time.sleep(0.1)
            time.sleep(0.5)
            stored = [own_part(message) for message in maildir(directory)]
    expected = Counter(hashlib.sha256(b.replace(b"\r\n", b"\n")).hexdigest() for b in bodies)
    assert Counter(hashlib.sha256(m).hexdigest() for m in stored) == expected
    assert daemon.ask("queue", "list") == []


@needs_postfix()
def test_a_real_postfix_that_refuses_makes_dead_letters(make_daemon: Make) -> None:
    daemon = make_daemon(recipients="user\ngone\n")
    daemon.start()
    submit(daemon.port, mail(1), recipients=("user@example.com", "gone@example.com"))
    settings = _HOME.replace("static:all/", "inline:{{user@example.com=all/}}")
    with open_directory() as directory:
        (directory / "mail").mkdir(mode=0o777)
        (directory / "mail").chmod(0o777)
        with Postfix(directory, port=daemon.primary, settings=settings):
            for _ in range(200):
                if daemon.ask("queue", "dead"):
                    break
                time.sleep(0.1)
            (dead,) = daemon.ask("queue", "dead")
            assert [r["address"] for r in dead["recipients"]] == ["gone@example.com"]
            assert "550" in dead["recipients"][0]["last_reply"]
            for _ in range(100):
                if maildir(directory):
                    break
                time.sleep(0.1)
            assert len(maildir(directory)) == 1


@needs_postfix()
def test_postfix_hands_its_mail_to_us(make_daemon: Make) -> None:
    """A sender's Postfix finds the primary down and turns to the backup."""
    daemon = make_daemon(recipients=USERS)
    daemon.start()
    settings = (
        "relay_domains = example.com\nsmtpd_relay_restrictions = reject_unauth_destination\n"
        "transport_maps = hash:@DIR@/transport\nsmtp_tls_security_level = may\n"
    )
    with open_directory() as directory:
        sender = Postfix(directory, port=free_port(), settings=settings)
        sender.table("transport", f"example.com smtp:[127.0.0.1]:{daemon.port}\n")
        with sender:
            source(sender.port, 50, 3000, 5)
            for _ in range(300):
                if daemon.ask("status")["domains"]["example.com"]["queued"] == 50:
                    break
                time.sleep(0.1)
            assert not sender.queued(), sender.log()[-3000:]
    accepted = list(daemon.events("message-accepted"))
    assert len(accepted) == 50
    assert all(event["protocol"] == "ESMTPS" for event in accepted)
