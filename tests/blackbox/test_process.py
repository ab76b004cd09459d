"""The daemon as a process: signals, restarts, and the one line with which it gives up."""

import os
import pwd
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tideover.testing.daemon import Daemon, DaemonFailedError
from tideover.testing.mailgen import mail
from wire import Wire, submit

Make = Callable[..., Daemon]


def gives_up(daemon: Daemon, *words: str) -> None:
    """It does not start: exit code 2 and one line, which has these words."""
    with pytest.raises(DaemonFailedError) as caught:
        daemon.start()
    assert caught.value.code == 2, caught.value
    # the log, which is JSON, may have begun by then
    lines = [line for line in caught.value.text.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, caught.value.text
    assert "Traceback" not in caught.value.text
    for word in words:
        assert word in lines[0]


def wait_for(daemon: Daemon, *names: str) -> dict[str, object]:
    """The newest event of these names, once there is one."""
    for _ in range(200):
        if found := list(daemon.events(*names)):
            return found[-1]
        time.sleep(0.05)
    raise AssertionError(f"no {names}: {daemon.output()}")


def spool_file(daemon: Daemon) -> Path:
    found = daemon.data_dir / "spool.sqlite"
    assert found.exists()
    return found


@pytest.mark.parametrize(
    ("cold", "command"), [(True, b"\0tideover\0serve\0"), (False, b"\0tideover.testing.warm\0")]
)
def test_it_says_that_it_is_ready(make_daemon: Make, cold: bool, command: bytes) -> None:
    daemon = make_daemon(cold=cold)
    daemon.start()
    assert command in Path(f"/proc/{daemon.running.pid}/cmdline").read_bytes()
    ready = [line for line in daemon.output().splitlines() if " ready on " in line]
    assert len(ready) == 1
    assert str(daemon.port) in ready[0]


def test_it_serves_though_nobody_can_be_told(make_daemon: Make) -> None:
    daemon = make_daemon()
    command = [Path(sys.executable).with_name("tideover"), "serve", "--config", daemon.config]
    with Path("/dev/full").open("w") as full:
        process = subprocess.Popen(command, stdout=full, stderr=subprocess.DEVNULL)
    try:
        wait_for(daemon, "daemon-started")
        submit(daemon.port, mail(1))
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_signal_stops_it_cleanly(daemon: Daemon, number: signal.Signals) -> None:
    submit(daemon.port, mail(1))
    with Wire(daemon.port) as idle:
        process = daemon.running
        process.send_signal(number)
        assert idle.reply().startswith(b"421 4.3.2")
        assert idle.reply() == b""
        assert process.wait(10) == 0
    daemon.process = None
    assert [event["event"] for event in daemon.events()][-1] == "daemon-stopped"


def test_an_open_transaction_is_finished_before_the_end(daemon: Daemon) -> None:
    with Wire(daemon.port) as wire:
        wire.hello()
        wire.begin()
        wire.say("DATA")
        wire.send(b"Subject: x\r\n\r\nhalf")
        time.sleep(0.2)
        process = daemon.running
        process.terminate()
        time.sleep(0.3)
        assert process.poll() is None
        answer = wire.say(b"\r\n.")
        assert answer.startswith(b"250 2.0.0 Queued as")
    assert process.wait(10) == 0
    daemon.process = None
    daemon.start()
    assert daemon.ask("status")["domains"]["example.com"]["queued"] == 1


@pytest.mark.slow
def test_an_open_transaction_that_does_not_end_is_deferred(daemon: Daemon) -> None:
    with Wire(daemon.port) as wire:
        wire.hello()
        wire.begin()
        wire.say("DATA")
        wire.send(b"half")
        time.sleep(0.2)
        start = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - start < 12
        assert wire.reply().startswith(b"421 4.3.2")
    daemon.start()
    assert daemon.ask("queue", "list") == []


def test_reload_takes_a_new_configuration(daemon: Daemon) -> None:
    daemon.sections["more"] = (
        f'[domains."example.org"]\nprimary = ["127.0.0.1:{daemon.primary}"]\n'
        'recipients = ["file:recipients"]\n'
    )
    with Wire(daemon.port) as wire:
        wire.hello()
        wire.say("MAIL FROM:<a@example.net>")
        assert wire.say("RCPT TO:<user@example.org>").startswith(b"554 5.7.1")
        daemon.write_config()
        daemon.reload()
        assert wait_for(daemon, "config-reloaded", "config-rejected")["event"] == "config-reloaded"
        assert wire.say("RCPT TO:<user@example.org>").startswith(b"250 ")


def test_a_bad_reload_keeps_the_running_configuration(daemon: Daemon) -> None:
    daemon.sections["smtp"] = "max_conections = 5"
    daemon.write_config()
    daemon.reload()
    event = wait_for(daemon, "config-reloaded", "config-rejected")
    assert event["event"] == "config-rejected"
    assert "max_connections" in str(event["errors"])
    submit(daemon.port, mail(1))


def test_a_changed_list_of_recipients_is_read_again(daemon: Daemon) -> None:
    with Wire(daemon.port) as wire:
        wire.hello()
        wire.say("MAIL FROM:<a@example.net>")
        assert wire.say("RCPT TO:<fresh@example.com>").startswith(b"550 5.1.1")
        daemon.recipients.write_text("user\nfresh@example.com\n")
        for _ in range(60):
            answer = wire.say("RCPT TO:<fresh@example.com>")
            if answer.startswith(b"250 "):
                return
            time.sleep(0.1)
        raise AssertionError(answer)


def test_a_port_in_use(make_daemon: Make) -> None:
    daemon = make_daemon()
    with socket.create_server(("127.0.0.1", daemon.port)):
        gives_up(daemon, str(daemon.port), "in use")


def test_a_data_dir_that_is_in_use(daemon: Daemon, make_daemon: Make) -> None:
    second = make_daemon()
    second.data_dir = daemon.data_dir
    second.write_config()
    gives_up(second, "in use")
    submit(daemon.port, mail(1))


def test_a_foreign_spool(make_daemon: Make) -> None:
    daemon = make_daemon()
    daemon.start()
    daemon.stop()
    path = spool_file(daemon)
    path.unlink()
    with sqlite3.connect(path) as foreign:
        foreign.execute("CREATE TABLE somebody_elses (x)")
    foreign.close()
    before = path.read_bytes()
    gives_up(daemon, str(path))
    assert path.read_bytes() == before


def test_a_spool_that_is_no_database(make_daemon: Make) -> None:
    daemon = make_daemon()
    daemon.start()
    daemon.stop()
    path = spool_file(daemon)
    path.write_text("just text, and longer than a header of a hundred octets would be" * 9)
    gives_up(daemon, str(path))


def test_a_newer_spool(make_daemon: Make) -> None:
    daemon = make_daemon()
    daemon.start()
    daemon.stop()
    with sqlite3.connect(spool_file(daemon)) as newer:
        newer.execute("PRAGMA user_version = 9999")
    newer.close()
    gives_up(daemon, "newer")


def test_a_data_dir_that_can_not_be_made(make_daemon: Make) -> None:
    daemon = make_daemon()
    (daemon.directory / "file").write_text("")
    daemon.data_dir = daemon.directory / "file" / "data"
    daemon.write_config()
    gives_up(daemon, str(daemon.data_dir.parent))


def test_a_mistake_in_the_configuration(make_daemon: Make) -> None:
    daemon = make_daemon(top='message_lifetime = "soon"\nmax_mesage_size = 5')
    with pytest.raises(DaemonFailedError) as caught:
        daemon.start()
    assert caught.value.code == 2
    for words in ("message_lifetime", "soon", "max_mesage_size", "max_message_size"):
        assert words in caught.value.text
    assert not daemon.data_dir.exists()


def test_a_missing_configuration(make_daemon: Make) -> None:
    daemon = make_daemon()
    daemon.config.unlink()
    gives_up(daemon, str(daemon.config))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_started_as_root_it_goes_on_as_the_user(make_daemon: Make, tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    for path in (tmp_path, *tmp_path.parents):
        if path.owner() == "root" and not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o011)
    daemon = make_daemon(top='user = "nobody"')
    daemon.directory.chmod(0o755)
    daemon.start()
    status = Path(f"/proc/{daemon.running.pid}/status").read_text()
    ids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
    assert set(ids) == {str(nobody.pw_uid)}
    submit(daemon.port, mail(1))
    made = [path for path in spool_file(daemon).parent.rglob("*") if path.name != "control.sock"]
    assert {"events", "tls", "spool.sqlite"} <= {path.name for path in made}
    assert {path.stat().st_uid for path in made} == {nobody.pw_uid}
    assert daemon.ask("status")["domains"]["example.com"]["queued"] == 1
    assert daemon.stop() == 0
    daemon.start()  # on what it wrote itself
