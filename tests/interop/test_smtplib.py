"""Python's own client, with the few lines that BDAT takes."""

import smtplib
from collections.abc import Callable

import pytest

from tideover.testing.daemon import Daemon
from tideover.testing.mailgen import mail
from tideover.testing.sink import Sink
from wire import unverified, without_trace

Make = Callable[..., Daemon]
CHUNK = 1_000_000


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


def test_sendmail(daemon: Daemon) -> None:
    with smtplib.SMTP("127.0.0.1", daemon.port, local_hostname="client.example.net") as client:
        client.starttls(context=unverified())
        refused = client.sendmail(
            "sender@example.net", ["user@example.com", "nobody@example.com"], mail(1)
        )
    assert refused["nobody@example.com"][0] == 550
    with Sink(daemon.primary) as sink:
        assert without_trace(sink.wait(1, 10)[0].body) == mail(1)


@pytest.mark.parametrize("size", [100, 200_000, 20_000_000])
def test_bdat(daemon: Daemon, size: int) -> None:
    message = mail(2, size)
    with smtplib.SMTP("127.0.0.1", daemon.port, local_hostname="client.example.net") as client:
        client.ehlo()
        assert client.has_extn("chunking")
        bdat(client, message)
        bdat(client, mail(3))
    with Sink(daemon.primary) as sink:
        got = sink.wait(2, 20)
    assert [
        without_trace(one.body) for one in sorted(got, key=lambda one: -len(one.body))
    ] == sorted([message, mail(3)], key=len, reverse=True)
