"""A hashed feed between two machines' worth of directories: made by one command line, read by the
daemon of another, which holds no name of it in clear; rollback, loss, expiry, push and kill -9.
"""

import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import pytest

import tideover
from tideover.testing.daemon import Daemon
from tideover.testing.ports import free_port
from wire import Wire

PEOPLE = [f"zq{word}person" for word in ("anna", "bert", "carl", "dora", "emil", "fritz")]
TRAP = "zqgeheimtrap"
TOKEN = "zq-token-of-the-primary"
PATIENCE = 20.0


class Primary:
    """The primary's side: a directory with its list, its keys and the feed that it makes."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()
        self.feed = place / "out.feed"
        self.key_file = place / "hash.key"
        self.set(*PEOPLE, f"{TRAP} honeypot")
        self.signer = self.export()["public_key"]

    def set(self, *lines: str) -> None:
        (self.place / "valid").write_text("".join(f"{line}\n" for line in lines))

    def export(self, *options: str) -> dict[str, object]:
        done = subprocess.run(
            [sys.executable, "-m", "tideover", "recipients", "export", "--from", "file:valid",
             "--domain", "example.com", "--signing-key", "sign.pem", "--out", "out.feed",
             "--key-file", "hash.key", "--refresh", "1s", "--retry", "1s", "--json", *options],
            cwd=self.place, capture_output=True, text=True, check=True, timeout=60,
            env={"PYTHONPATH": str(Path(tideover.__file__).parents[1]), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.fixture
def primary(tmp_path: Path) -> Primary:
    return Primary(tmp_path / "primary")


def backup(make_daemon, primary: Primary, source: str, domain: str = "", **settings) -> Daemon:
    """The backup's side. The hash key came by another way; of the list it has nothing."""
    daemon = make_daemon(
        sources=[source],
        recipients="",
        domain=f'feed_signer = "{primary.signer}"\nfeed_key_file = "hash.key"\n{domain}',
        **settings,
    )
    shutil.copy(primary.key_file, daemon.directory / "hash.key")
    daemon.recipients.unlink()
    return daemon


def rcpt(daemon: Daemon, *locals_: str) -> list[str]:
    with Wire(daemon.port) as wire:
        wire.hello()
        wire.say("MAIL FROM:<sender@example.net>")
        return [wire.say(f"RCPT TO:<{one}@example.com>")[:3].decode() for one in locals_]


def becomes(daemon: Daemon, local: str, code: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while rcpt(daemon, local) != [code]:
        assert time.monotonic() < deadline, (local, code, daemon.output()[-2000:])
        time.sleep(0.1)


def holds(data: bytes, word: bytes) -> bool:
    """Whether a word is in there, in clear or compressed."""
    if word in data.lower():
        return True
    for start in (n for n in range(len(data) - 1) if data[n] == 0x78):
        try:
            if word in zlib.decompressobj().decompress(data[start:], 1 << 20).lower():
                return True
        except zlib.error:
            continue
    return False


def everything_it_says(daemon: Daemon, *ways: tuple[str, ...]) -> bytes:
    """The output of each verb that there is, in these ways."""
    session = next(daemon.events("session-opened"))["session"]
    verbs = [
        ("status",),
        ("status", "--domain", "example.com"),
        ("explain", session),
        ("config", "show"),
        ("config", "check"),
        ("queue", "list"),
        ("queue", "dead"),
        ("recipients", "list", "example.com"),
        ("recipients", "lookup", "nobody@example.com"),
    ]
    said = [daemon.run(*verb, *way) for verb in verbs for way in ways]
    assert [done.args for done in said if done.returncode > 1] == []
    said += [daemon.run("recipients", "refresh", *way) for way in ways]  # needs a daemon
    return "".join(done.stdout + done.stderr for done in said).encode()


@pytest.mark.slow
def test_no_name_of_a_feed_is_in_clear_anywhere_before_its_mail_came(make_daemon, primary) -> None:
    daemon = backup(make_daemon, primary, f"feed:{primary.feed}")
    daemon.start()
    assert rcpt(daemon, "nobody", "other+zz") == ["550", "550"]
    primary.set(*PEOPLE[1:], f"{TRAP} honeypot")
    primary.export()
    time.sleep(1.5)
    said = everything_it_says(daemon, (), ("--json",))
    daemon.kill()
    said += everything_it_says(daemon, ("--json",))
    files = {p: p.read_bytes() for p in daemon.directory.rglob("*") if p.is_file()}
    assert any(path.suffix == ".feed" for path in files)
    for word in [*PEOPLE, TRAP, "person"]:
        found = [path for path, data in files.items() if holds(data, word.encode())]
        assert found == []
        assert word.encode() not in said.lower()
    # the test could see it
    daemon.start()
    assert rcpt(daemon, PEOPLE[1], TRAP) == ["250", "550"]
    daemon.stop()
    assert holds(b"".join(p.read_bytes() for p in daemon.data_dir.rglob("*.jsonl")), b"zqgeheim")


def test_the_key_is_not_in_the_feed_and_without_it_nothing_is_believed(
    make_daemon, primary
) -> None:
    assert primary.key_file.read_text().strip() not in primary.feed.read_text("latin-1")
    daemon = backup(make_daemon, primary, f"feed:{primary.feed}")
    (daemon.directory / "hash.key").write_text("A" * 43 + "=\n")
    daemon.start()
    assert rcpt(daemon, PEOPLE[0], "nobody") == ["450", "450"]
    done = daemon.run("recipients", "refresh")
    assert done.returncode == 1
    assert "hash key" in done.stdout + done.stderr


def test_leaving_coming_rollback_and_loss_also_over_a_kill(make_daemon, primary) -> None:
    daemon = backup(make_daemon, primary, f"feed:{primary.feed}")
    daemon.start()
    assert rcpt(daemon, *PEOPLE, TRAP, "nobody") == ["250"] * 6 + ["550", "550"]
    old = primary.feed.read_bytes()

    # within its refresh interval, which the feed says itself
    primary.set(*PEOPLE[1:], "zqfresh")
    primary.export()
    becomes(daemon, "zqfresh", "250")
    becomes(daemon, PEOPLE[0], "550")

    # an old one is no way back, today or after a power cut
    primary.feed.write_bytes(old)
    done = daemon.run("recipients", "refresh")
    assert done.returncode == 1
    assert "is older than" in done.stdout + done.stderr
    daemon.kill()
    daemon.start()
    assert daemon.run("recipients", "refresh").returncode == 1
    assert rcpt(daemon, "zqfresh", PEOPLE[0]) == ["250", "550"]

    # most of them are gone: an operator has to say so, and is asked but once
    primary.set("zqfresh")
    primary.feed.unlink()
    primary.export("--serial", str(int(time.time()) + 100))
    done = daemon.run("recipients", "refresh")
    assert done.returncode == 1
    assert "shrank from 6 to 1" in done.stdout + done.stderr
    assert rcpt(daemon, "zqfresh", PEOPLE[1], "nobody") == ["250", "250", "450"]
    daemon.kill()
    daemon.start()
    becomes(daemon, "nobody", "450")
    assert rcpt(daemon, PEOPLE[1]) == ["250"]
    assert daemon.run("recipients", "refresh", "--confirm").returncode == 0
    assert rcpt(daemon, "zqfresh", PEOPLE[1], "nobody") == ["250", "550", "550"]
    daemon.kill()
    daemon.start()
    becomes(daemon, "nobody", "550")
    assert rcpt(daemon, "zqfresh", PEOPLE[1]) == ["250", "550"]


def put(port: int, feed: bytes, token: str = TOKEN) -> tuple[int, bytes]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/domains/example.com/feed",
        feed,
        {"Authorization": f"Bearer {token}"},
        method="PUT",
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.slow
def test_a_pushed_feed_serves_from_the_answer_on_also_over_a_kill(make_daemon, primary) -> None:
    port = free_port()
    daemon = backup(
        make_daemon,
        primary,
        "feed:push",
        domain='feed_push_token_file = "token"\n',
        more=f'[console]\nlisten = "127.0.0.1:{port}"\n',
    )
    (daemon.directory / "token").write_text(TOKEN + "\n")
    (daemon.directory / "token").chmod(0o600)
    daemon.start()
    assert rcpt(daemon, PEOPLE[0], "nobody") == ["450", "450"]
    first = primary.feed.read_bytes()
    assert put(port, first, "wrong")[0] == 401
    assert put(port, first[:-1])[0] == 422
    assert put(port, first)[0] == 200
    daemon.kill()
    daemon.start()
    assert rcpt(daemon, PEOPLE[0], "nobody") == ["250", "550"]
    primary.set(*PEOPLE[1:], f"{TRAP} honeypot", "zqfresh")
    primary.export()
    assert put(port, primary.feed.read_bytes())[0] == 200
    assert rcpt(daemon, "zqfresh", PEOPLE[0]) == ["250", "550"]
    daemon.kill()
    daemon.start()
    assert put(port, first)[0] == 409
    assert rcpt(daemon, "zqfresh", PEOPLE[0]) == ["250", "550"]
    primary.set("zqfresh")
    primary.export()
    status, body = put(port, primary.feed.read_bytes())
    assert status == 422
    assert b"shrank" in body
    daemon.kill()
    daemon.start()
    assert daemon.run("recipients", "refresh", "--confirm").returncode == 0
    assert rcpt(daemon, "zqfresh", PEOPLE[1]) == ["250", "550"]
