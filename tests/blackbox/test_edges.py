"""The edges of a connection: TLS, PROXY protocol, limits, slow clients, refusals by the primary."""

import socket
import ssl
import struct
import time
from collections.abc import Callable

import pytest
import trustme

from tideover.testing.daemon import Daemon
from tideover.testing.mailgen import mail
from tideover.testing.sink import Sink
from wire import Wire, submit

Make = Callable[..., Daemon]


def certificate_of(wire: Wire) -> bytes:
    assert isinstance(wire.socket, ssl.SSLSocket)
    return wire.socket.getpeercert(binary_form=True) or b""


def accepted(daemon: Daemon) -> dict[str, object]:
    """The event of the message accepted last, once it is in the log."""
    for _ in range(100):
        if found := list(daemon.events("message-accepted")):
            return found[-1]
        time.sleep(0.05)
    raise AssertionError("nothing was accepted")


def test_starttls_with_the_self_made_certificate(daemon: Daemon) -> None:
    with Wire(daemon.port) as wire:
        assert b"STARTTLS" in wire.hello()
        wire.start_tls()
        assert b"STARTTLS" not in wire.hello()
        wire.message(mail(1))
        first = certificate_of(wire)
    assert str(accepted(daemon)["tls"]).startswith("TLSv1.")
    assert accepted(daemon)["protocol"] == "ESMTPS"
    daemon.stop()
    daemon.start()
    with Wire(daemon.port) as wire:
        wire.hello()
        wire.start_tls()
        assert certificate_of(wire) == first, "it is made once"


def test_a_replaced_certificate_is_picked_up(make_daemon: Make) -> None:
    daemon = make_daemon()
    pem = daemon.directory / "cert.pem"
    authority = trustme.CA()
    authority.issue_cert("mx2.example.org").private_key_and_cert_chain_pem.write_to_path(pem)
    daemon.sections["smtp"] = f'tls_certificate = "{pem}"'
    daemon.write_config()
    daemon.start()

    def now() -> bytes:
        with Wire(daemon.port) as wire:
            wire.hello()
            wire.start_tls()
            return certificate_of(wire)

    first = now()
    assert now() == first
    fresh = daemon.directory / "fresh.pem"
    authority.issue_cert("mx2.example.org").private_key_and_cert_chain_pem.write_to_path(fresh)
    fresh.replace(pem)
    for _ in range(100):
        if (second := now()) != first:
            break
        time.sleep(0.1)
    assert second != first
    pem.write_text("no certificate at all")
    time.sleep(1.5)
    assert now() == second, "a bad file never takes TLS away"


def test_a_certificate_that_is_missing_at_start(make_daemon: Make) -> None:
    from tideover.testing.daemon import DaemonFailedError

    daemon = make_daemon(smtp='tls_certificate = "/nonexistent/cert.pem"')
    with pytest.raises(DaemonFailedError, match=r"/nonexistent/cert\.pem") as caught:
        daemon.start()
    assert caught.value.code == 2


def proxy_2(address: str, port: int) -> bytes:
    source, target = socket.inet_aton(address), socket.inet_aton("192.0.2.25")
    signature = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11"
    return signature + struct.pack("!H", 12) + source + target + struct.pack("!HH", port, 25)


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (b"PROXY TCP4 198.51.100.7 192.0.2.25 4711 25\r\n", "198.51.100.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::25 4711 25\r\n", "2001:db8::7"),
        (proxy_2("203.0.113.9", 4711), "203.0.113.9"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ],
    ids=["v1-ipv4", "v1-ipv6", "v2", "unknown"],
)
def test_proxy_protocol_names_the_client(make_daemon: Make, header: bytes, client: str) -> None:
    daemon = make_daemon(smtp='proxy_protocol_from = ["127.0.0.0/8"]')
    with Sink(daemon.primary) as sink:
        daemon.start()
        with Wire(daemon.port, preamble=header) as wire:
            assert wire.greeting.startswith(b"220 ")
            wire.hello()
            wire.message(mail(1))
        assert accepted(daemon)["client"] == client
        (got,) = sink.wait(1, 10)
    assert client.encode() in got.body[: got.body.index(b"From:")]


@pytest.mark.parametrize(
    "header", [b"EHLO client.example.net\r\n", b"PROXY TCP4 nonsense\r\n", b"PROXY \r\n"]
)
def test_without_its_proxy_header_a_connection_is_dropped(make_daemon: Make, header: bytes) -> None:
    daemon = make_daemon(smtp='proxy_protocol_from = ["127.0.0.0/8"]')
    daemon.start()
    with Wire(daemon.port, greeting=False) as wire:
        wire.send(header)
        with pytest.raises((ConnectionResetError, AssertionError)):
            assert wire.reply() != b""


def test_proxy_headers_of_strangers_are_no_commands(daemon: Daemon) -> None:
    with Wire(daemon.port) as wire:
        assert wire.say("PROXY TCP4 198.51.100.7 192.0.2.25 4711 25").startswith(b"5")


def test_connections_are_limited_for_each_client(make_daemon: Make) -> None:
    daemon = make_daemon(smtp="max_connections_per_client = 3\nunlimited_clients = []")
    daemon.start()
    open_ones = [Wire(daemon.port) for _ in range(3)]
    assert all(wire.greeting.startswith(b"220 ") for wire in open_ones)
    with Wire(daemon.port) as refused:
        assert refused.greeting.startswith(b"421 4.7.0 ")
        assert refused.reply() == b""
    open_ones.pop().close()
    for _ in range(100):
        with Wire(daemon.port) as wire:
            if wire.greeting.startswith(b"220 "):
                break
        time.sleep(0.05)
    assert wire.greeting.startswith(b"220 ")
    for wire in open_ones:
        wire.close()


def test_connections_are_limited_in_all(make_daemon: Make) -> None:
    daemon = make_daemon(smtp="max_connections = 2")
    daemon.start()
    with Wire(daemon.port), Wire(daemon.port), Wire(daemon.port) as third:
        assert third.greeting.startswith(b"421 ")


def test_a_silent_client_is_cut_off(make_daemon: Make) -> None:
    daemon = make_daemon(smtp='command_timeout = "500ms"')
    daemon.start()
    with Wire(daemon.port) as wire:
        wire.hello()
        assert wire.reply().startswith(b"421 4.4.2 ")
        assert wire.reply() == b""


def test_a_client_that_trickles_a_command_is_cut_off(make_daemon: Make) -> None:
    daemon = make_daemon(smtp='command_timeout = "500ms"')
    daemon.start()
    start = time.monotonic()
    with Wire(daemon.port) as wire:
        try:
            while time.monotonic() - start < 5:
                wire.send(b"N")
                time.sleep(0.1)
        except OSError:
            pass
    assert time.monotonic() - start < 3


def test_a_body_that_stops_is_cut_off(make_daemon: Make) -> None:
    daemon = make_daemon(smtp='data_timeout = "500ms"')
    daemon.start()
    with Wire(daemon.port) as wire:
        wire.hello()
        wire.begin()
        wire.say("DATA")
        wire.send(b"Subject: half\r\n")
        assert wire.reply().startswith(b"421 4.4.2 ")
        assert wire.reply() == b""
    assert daemon.ask("queue", "list") == []


def test_a_client_that_reads_nothing_stops_nobody_else(daemon: Daemon) -> None:
    with Wire(daemon.port) as deaf:
        deaf.hello()
        deaf.socket.settimeout(0.5)
        try:
            for _ in range(200):
                deaf.send(b"VRFY somebody\r\n" * 10)
        except OSError:
            pass
        submit(daemon.port, mail(1))


def test_a_client_that_vanishes_leaves_nothing(daemon: Daemon) -> None:
    with Wire(daemon.port) as wire:
        wire.hello()
        wire.begin()
        wire.say("DATA")
        wire.send(b"Subject: x\r\n" * 20000)
    submit(daemon.port, mail(1))
    assert len(daemon.ask("queue", "list")) == 1


def test_a_full_disk_defers_and_recovers(make_daemon: Make) -> None:
    daemon = make_daemon()
    daemon.config.write_text(
        daemon.config.read_text().replace('min_free_space = "1MiB"', 'min_free_space = "900TiB"')
    )
    daemon.start()
    with Wire(daemon.port) as wire:
        wire.hello()
        answers = [wire.say("MAIL FROM:<a@example.net>"), wire.say("RCPT TO:<user@example.com>")]
        assert any(answer.startswith(b"452 4.3.1 ") for answer in answers)
        daemon.write_config()
        daemon.reload()
        for _ in range(100):
            wire.say("RSET")
            if wire.say("MAIL FROM:<a@example.net>").startswith(b"250 "):
                return
            time.sleep(0.1)
    raise AssertionError("it does not recover")
