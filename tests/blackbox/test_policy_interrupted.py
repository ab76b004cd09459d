"""The checks of a message are cut short: its client goes, the daemon stops or reads its
configuration anew, the disk fails. Nothing half done stays, and nobody is refused for good.
"""

import socket
import socketserver
import sqlite3
import struct
import threading
import time
from pathlib import Path

import pytest

from tideover.testing.faulty_disk import FaultyDisk
from tideover.testing.mailgen import mail
from wire import Wire

BIG = mail(1, 3 * 1024 * 1024)
ANSWER = b'{"action": "no action", "score": 0}'
MANY = 300


class Rspamd(socketserver.ThreadingTCPServer):
    """As rspamd, but it answers when it is told to. `shown` is released for each message that came,
    `left` for each of which nobody waits for the answer any more.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Question)
        self.shown, self.left = threading.Semaphore(0), threading.Semaphore(0)
        self.go = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def settings(self):
        return f'[rspamd]\nurl = "http://127.0.0.1:{self.server_address[1]}"\n'


class _Question(socketserver.StreamRequestHandler):
    def handle(self):
        length = 0
        while (line := self.rfile.readline()).strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        self.rfile.read(length)
        self.server.shown.release()
        self.connection.settimeout(0.05)
        while not self.server.go.is_set():
            try:
                if not self.connection.recv(1):
                    self.server.left.release()
                    return
            except TimeoutError:
                continue
            except OSError:
                self.server.left.release()
                return
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
        self.connection.sendall(head + ANSWER)


@pytest.fixture
def rspamd():
    with Rspamd() as made:
        yield made
        made.go.set()
        made.shutdown()


def held_up(daemon, rspamd, *, tls=False):
    """A client whose message is with rspamd."""
    wire = Wire(daemon.port)
    wire.hello()
    if tls:
        wire.start_tls()
        wire.hello()
    offer(wire, BIG)
    assert rspamd.shown.acquire(timeout=20)
    return wire


def offer(wire, message, *, whole=True):
    """Send a message, and do not wait for what is said to it."""
    wire.begin()
    assert wire.say("DATA").startswith(b"354 ")
    stuffed = (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:]
    wire.send(stuffed + (b".\r\n" if whole else b""))


def eventually(wanted, within=10.0):
    deadline = time.monotonic() + within
    while not wanted():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def rows(daemon):
    """How many messages, chunks and bodies under way the spool has."""
    file = daemon.data_dir / "spool.sqlite"
    spool = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        return [spool.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("message", "chunk", "staging")]  # fmt: skip
    finally:
        spool.close()


def copies(daemon):
    """Unnamed files that it holds open: copies of bodies."""
    found = []
    for one in Path(f"/proc/{daemon.running.pid}/fd").iterdir():
        try:
            found.append(str(one.readlink()))
        except OSError:
            continue
    return [name for name in found if name.endswith("(deleted)")]


def status(daemon, name):
    text = Path(f"/proc/{daemon.running.pid}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name}:"))


def reset(wire):
    """Hang up as a client that crashed."""
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()


def quiet(daemon):
    """No bug was told, and nothing of asyncio's own."""
    assert list(daemon.events("check-failed")) == []
    assert "Traceback" not in daemon.output()
    assert "never" not in daemon.output()


@pytest.mark.parametrize("how", ["reset", "tls"])
def test_a_client_that_goes_leaves_nothing(make_daemon, rspamd, how):
    daemon = make_daemon(more=rspamd.settings)
    daemon.start()
    wire = held_up(daemon, rspamd, tls=how == "tls")
    assert rows(daemon)[1] > 0
    assert len(copies(daemon)) == 1
    reset(wire) if how == "reset" else wire.close()
    assert rspamd.left.acquire(timeout=10), "rspamd is not asked on"
    eventually(lambda: rows(daemon) == [0, 0, 0])
    eventually(lambda: copies(daemon) == [])
    assert list(daemon.events("message-accepted")) == []
    with held_up(daemon, rspamd) as again:
        rspamd.go.set()
        assert again.reply().startswith(b"250 2.0.0 ")
    assert daemon.stop() == 0
    quiet(daemon)


def test_a_client_that_closes_its_side_is_served(make_daemon, rspamd):
    """It may wait for the answer all the same (RFC 9293 §3.6)."""
    daemon = make_daemon(more=rspamd.settings)
    daemon.start()
    with held_up(daemon, rspamd) as wire:
        wire.socket.shutdown(socket.SHUT_WR)
        time.sleep(0.2)
        rspamd.go.set()
        assert wire.reply().startswith(b"250 2.0.0 ")
    assert rows(daemon)[0] == 1


@pytest.mark.parametrize("finish", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_it_stops_during_the_checks(make_daemon, rspamd, finish):
    """What is decided in time is answered; the rest is for the client to send again."""
    daemon = make_daemon(more=rspamd.settings)
    daemon.start()
    with held_up(daemon, rspamd) as wire:
        process, begun = daemon.running, time.monotonic()
        process.terminate()
        if finish:
            time.sleep(0.3)
            rspamd.go.set()
        answer = wire.reply()
        assert answer.startswith(b"250 2.0.0 " if finish else b"421 4.3.2 "), answer
        assert process.wait(10) == 0
        assert time.monotonic() - begun < (5 if finish else 10)
    quiet(daemon)
    daemon.process = None
    daemon.start()
    assert len(daemon.ask("queue", "list")) == finish
    assert (rows(daemon)[1] > 0) == finish


def test_a_new_configuration_during_the_checks(make_daemon, rspamd):
    """The message under way is judged by the old one, the next by the new one."""
    daemon = make_daemon(more=rspamd.settings)
    daemon.start()
    with held_up(daemon, rspamd) as wire:
        daemon.sections["more"] = ""
        daemon.write_config()
        daemon.reload()
        eventually(lambda: list(daemon.events("config-reloaded")))
        with Wire(daemon.port) as other:
            other.hello()
            other.message(mail(2))
        rspamd.go.set()
        assert wire.reply().startswith(b"250 2.0.0 ")
    assert not rspamd.shown.acquire(blocking=False)
    assert rows(daemon)[0] == 2
    quiet(daemon)


@pytest.mark.slow
def test_a_filter_slower_than_all_checks_may_be(make_daemon, rspamd):
    """Its `on_failure` holds then too: what nobody looked at is not taken."""
    limit = '[policy]\nmessage_timeout = "1s"\n'
    daemon = make_daemon(more=limit + rspamd.settings)
    daemon.start()
    with held_up(daemon, rspamd) as wire:
        assert wire.reply().startswith(b"451 4.7.0 ")
        daemon.sections["more"] = limit + rspamd.settings + 'on_failure = "accept"\n'
        daemon.write_config()
        daemon.reload()
        eventually(lambda: list(daemon.events("config-reloaded")))
    with held_up(daemon, rspamd) as wire:
        assert wire.reply().startswith(b"250 2.0.0 ")


# The disk


@pytest.fixture
def sick_disk(make_daemon, tmp_path):
    """A daemon, and the disk below its directory."""
    daemon = make_daemon()
    try:
        disk = FaultyDisk(tmp_path / "shim", under=daemon.directory)
    except FileNotFoundError:
        pytest.skip("not installed: gcc")
    daemon.environment = disk.environment
    daemon.start()
    return daemon, disk


@pytest.mark.parametrize(
    ("call", "error", "code"),
    [("write", "ENOSPC", b"452 4.3.1 "), ("write", "EIO", b"451 4.3.0 ")],
)
def test_a_copy_that_cannot_be_written(sick_disk, call, error, code):
    daemon, disk = sick_disk
    disk.fail(call, error, name="(deleted)")
    with Wire(daemon.port) as wire:
        wire.hello()
        offer(wire, BIG)
        assert wire.reply().startswith(code)
        wire.message(mail(2))  # small ones need no file
        disk.recover()
        wire.message(BIG)
    assert rows(daemon)[0] == 2
    assert copies(daemon) == []
    quiet(daemon)


def test_a_copy_that_cannot_be_made(sick_disk):
    daemon, disk = sick_disk
    disk.fail("open", "EROFS")
    with Wire(daemon.port) as wire:
        wire.hello()
        offer(wire, BIG)
        assert wire.reply().startswith(b"451 4.3.0 ")
        disk.recover()
        wire.message(BIG)
    assert rows(daemon)[0] == 1
    quiet(daemon)


def test_clients_that_cannot_be_remembered_on_disk(sick_disk):
    """They are remembered in memory, and written down when the disk is well again."""
    daemon, disk = sick_disk
    disk.fail("write", "ENOSPC", name="clients.sqlite-wal")
    with Wire(daemon.port) as wire:
        wire.hello()
        wire.message(mail(1))
    eventually(lambda: list(daemon.events("clients-trouble")))
    known(daemon)
    disk.recover()
    assert daemon.stop() == 0
    daemon.start()
    known(daemon)
    quiet(daemon)


def known(daemon):
    """It is greeted at once."""
    begun = time.monotonic()
    with Wire(daemon.port) as wire:
        assert time.monotonic() - begun < 0.2
        wire.hello()
        wire.message(mail(3))


# Memory


@pytest.mark.slow
def test_many_long_messages_at_once(make_daemon):
    """Each of them nearly as long as is kept in memory."""
    daemon = make_daemon()
    daemon.start()
    before = status(daemon, "VmRSS")
    message = mail(1, 1_350_000)
    wires = [Wire(daemon.port) for _ in range(MANY)]
    try:
        begun = time.monotonic()
        senders = [threading.Thread(target=send_share, args=(wires[n::20], message))
                   for n in range(20)]  # fmt: skip
        for one in senders:
            one.start()
        for one in senders:
            one.join(45)
        eventually(lambda: rows(daemon)[2] == MANY)
        print(f"{MANY} bodies of {len(message)} octets: {before} KiB before, "
              f"{status(daemon, 'VmHWM')} KiB at most, {len(copies(daemon))} files, "
              f"{time.monotonic() - begun:.1f} s")  # fmt: skip
        assert status(daemon, "VmHWM") < 400 * 1024
        wires[0].send(b".\r\n")
        assert wires[0].reply().startswith(b"250 2.0.0 ")
    finally:
        for wire in wires:
            wire.close()
    eventually(lambda: rows(daemon)[2] == 0, within=30)
    eventually(lambda: copies(daemon) == [])
    quiet(daemon)


def send_share(wires, message):
    for wire in wires:
        wire.hello()
        offer(wire, message, whole=False)
