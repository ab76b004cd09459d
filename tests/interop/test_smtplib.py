"""Python's own client, with the few lines that BDAT takes."""

import smtplib
from collections.abc import Iterator

import pytest

from tideover.testing.daemon import Daemon
from tideover.testing.mailgen import mail
from tideover.testing.sink import Sink
from wire import unverified, without_trace

CHUNK = 1_000_000


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Sink]]:
    """A daemon, and its primary, which is up."""
    daemon = Daemon(tmp_path_factory.mktemp("smtplib"))
    with Sink(daemon.primary) as sink, daemon:
        yield daemon, sink


def bdat(client: smtplib.SMTP, message: bytes) -> None:
    """RFC 3030: chunks, the last one marked."""
    assert client.mail("sender@example.net", [f"size={len(message)}"])[0] == 250
    assert client.rcpt("user@example.com")[0] == 250
    for start in range(0, len(message), CHUNK):
        chunk = message[start : start + CHUNK]
        last = " LAST" if start + CHUNK >= len(message) else ""
        client.send(b"BDAT %d%s\r\n" % (len(chunk), last.encode()) + chunk)
        code, text = client.getreply()
        assert code == 250, text


def test_sendmail(home: tuple[Daemon, Sink]) -> None:
    daemon, sink = home
    before = len(sink.messages)
    with smtplib.SMTP("127.0.0.1", daemon.port, local_hostname="client.example.net") as client:
        client.starttls(context=unverified())
        refused = client.sendmail(
            "sender@example.net", ["user@example.com", "nobody@example.com"], mail(1)
        )
    assert refused["nobody@example.com"][0] == 550
    assert without_trace(sink.wait(before + 1, 10)[before].body) == mail(1)


@pytest.mark.parametrize("size", [100, 200_000, 20_000_000])
def test_bdat(home: tuple[Daemon, Sink], size: int) -> None:
    daemon, sink = home
    before = len(sink.messages)
    message = mail(2, size)
    with smtplib.SMTP("127.0.0.1", daemon.port, local_hostname="client.example.net") as client:
        client.ehlo()
        assert client.has_extn("chunking")
        bdat(client, message)
        bdat(client, mail(3))
    got = sink.wait(before + 2, 20)[before:]
    assert [
        without_trace(one.body) for one in sorted(got, key=lambda one: -len(one.body))
    ] == sorted([message, mail(3)], key=len, reverse=True)
