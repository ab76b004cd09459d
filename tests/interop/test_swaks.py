"""swaks holds dialogues as other clients would."""

import subprocess
from collections.abc import Callable, Iterator

import pytest
from peers import needs

from tideover.testing.daemon import Daemon
from tideover.testing.sink import Sink

pytestmark = [pytest.mark.interop, needs("swaks")]
_SSL = subprocess.run(["perl", "-MNet::SSLeay", "-e", "1"], capture_output=True, check=False)
needs_perl_tls = pytest.mark.skipif(_SSL.returncode != 0, reason="Perl has no Net::SSLeay")
Make = Callable[..., Daemon]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Sink]]:
    """A daemon, and its primary, which is up."""
    daemon = Daemon(tmp_path_factory.mktemp("swaks"), recipients="user\nother\n")
    with Sink(daemon.primary) as sink, daemon:
        yield daemon, sink


def swaks(daemon: Daemon, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["swaks", "--server", f"127.0.0.1:{daemon.port}", "--helo", "client.example.net",
         "--from", "sender@example.net", "--to", "user@example.com", "--timeout", "10", *options],
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--protocol", "SMTP"),
        pytest.param(("--tls",), marks=needs_perl_tls),
        ("--pipeline",),
        pytest.param(("--tls", "--pipeline"), marks=needs_perl_tls),
        ("--body", ".\n..\n.a"),
        ("--from", "<>"),
        ("--header", "Subject: long " + "x" * 900),
        ("--to", "user@example.com,other@example.com"),
    ],
    ids=lambda options: " ".join(options)[:30],
)
def test_swaks_is_served(home: tuple[Daemon, Sink], options: tuple[str, ...]) -> None:
    daemon, sink = home
    before = len(sink.messages)
    done = swaks(daemon, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    sink.wait(before + 1, 10)


def test_swaks_through_a_proxy(make_daemon: Make) -> None:
    daemon = make_daemon(smtp='proxy_protocol_from = ["127.0.0.0/8"]')
    daemon.start()
    for version in ("1", "2"):
        done = swaks(
            daemon, "--proxy-version", version, "--proxy-family", "TCP4" if version == "1" else
            "AF_INET", "--proxy-source", "198.51.100.9", "--proxy-source-port", "4711",
            "--proxy-dest", "192.0.2.25", "--proxy-dest-port", "25",
            *(() if version == "1" else ("--proxy-protocol", "STREAM", "--proxy-command", "PROXY")),
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    assert {m["recipients"][0]["address"] for m in daemon.ask("queue", "list")} == {
        "user@example.com"
    }


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (("--to", "nobody@example.com"), "550 5.1.1"),
        (("--to", "user@example.org"), "554 5.7.1"),
        (("--auth", "PLAIN", "--auth-user", "u", "--auth-password", "p"), "250-PIPELINING"),
    ],
    ids=["unknown", "foreign", "auth"],
)
def test_swaks_is_refused(home: tuple[Daemon, Sink], options: tuple[str, ...], answer: str) -> None:
    done = swaks(home[0], *options)
    assert done.returncode != 0
    assert answer in done.stdout
