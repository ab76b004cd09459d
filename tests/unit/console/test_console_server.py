"""The listener: what else is answered, bounds, TLS, and the end."""

import http.client
import socket
import ssl
import time
from contextlib import suppress

import pytest
from served_console import TOKEN, Served

from tideover.config.model import Console as Settings
from tideover.config.values import Endpoint
from tideover.console import server as server_module
from tideover.console.connection import HEAD_TIMEOUT
from tideover.console.server import prepare
from tideover.inbound.listener import ListenError
from tideover.inbound.tls import CertificateError


def test_it_is_alive(served):
    answer = served.request("GET", "/healthz")
    assert (answer.status, answer.body) == (200, b"ok\n")
    assert answer.headers["connection"] == "close"
    assert answer.headers.get("server") is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"), ("GET", "/v1/domains/example.com/feed"), ("PUT", "/healthz"),
        ("POST", "/v1/domains/example.com/feed"), ("PUT", "/v1/domains/example.com/feed/"),
        ("PUT", "/v1/domains/a/b/feed"), ("GET", "/../etc/passwd"), ("OPTIONS", "*"),
    ],
)  # fmt: skip
def test_all_else_is_404(served, method, path):
    answer = served.request(method, path)
    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize(
    "data",
    [b"EHLO x\r\n\r\n", b"\x16\x03\x01\x00\xff" * 10, b"GET / HTTP/1.1\r\n\r\n", b"x" * 100_000],
)
def test_garbage_is_400_and_no_noise(served, data, capfd):
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=10) as client:
        try:
            client.sendall(data)
            answer = client.recv(1000)
        except ConnectionResetError:
            answer = b""
    assert not answer or answer.startswith(b"HTTP/1.1 400")
    assert served.request("GET", "/healthz").status == 200
    assert capfd.readouterr() == ("", "")


def test_who_says_nothing_is_cut_off(served):
    assert HEAD_TIMEOUT <= 10
    served.server._connections._head_timeout = 0.1
    for data in (b"", b"GET / HT"):
        with socket.create_connection(("127.0.0.1", served.server.port), timeout=5) as client:
            client.sendall(data)
            with suppress(ConnectionResetError):
                assert client.recv(10) == b""


def test_no_more_connections_than_the_bound(served, monkeypatch):
    monkeypatch.setattr(server_module, "MOST", 2)
    address = ("127.0.0.1", served.server.port)
    with socket.create_connection(address), socket.create_connection(address):
        wait(lambda: len(served.server._tasks) == 2)
        with socket.create_connection(address, timeout=5) as third:
            assert third.recv(10) == b""
    wait(lambda: not served.server._tasks)
    assert served.request("GET", "/healthz").status == 200
    wait(lambda: served.server._by_network == {})


def wait(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_close_ends_what_is_under_way(tmp_path, monkeypatch):
    monkeypatch.setattr(server_module, "_GRACE", 0.1)
    with Served(tmp_path) as served:
        idle = socket.create_connection(("127.0.0.1", served.server.port), timeout=5)
        served.feeds.lasts = 60
        busy = served.connect()
        busy.request("PUT", "/v1/domains/example.com/feed", b"1",
                     {"Authorization": f"Bearer {TOKEN}"})  # fmt: skip
        wait(lambda: served.feeds.got)
        started = time.monotonic()
        served.run(served.server.close())
        assert time.monotonic() - started < 5
        assert served.server._tasks == set()
        with suppress(http.client.HTTPException, ConnectionError):
            assert busy.getresponse().status != 200
        busy.close()
        idle.close()
        assert list((tmp_path / "pushes").iterdir()) == []


def certificate(authority, path, name="localhost"):
    made = authority.issue_cert(name, "127.0.0.1")
    path.write_bytes(
        made.private_key_pem.bytes() + b"".join(p.bytes() for p in made.cert_chain_pems)
    )


def test_https_and_a_certificate_that_is_renewed(tmp_path, authority, trusting):
    path = tmp_path / "c.pem"
    certificate(authority, path)
    with Served(tmp_path, path) as served:
        first = served.request("GET", "/healthz", context=trusting)
        assert (first.status, first.body) == (200, b"ok\n")
        serials = {serial(served, trusting)}
        certificate(authority, path)
        serials.add(serial(served, trusting))
        assert len(serials) == 2
        path.write_text("broken")
        assert serial(served, trusting) in serials
        assert "certificate-rejected" in [e.__struct_config__.tag for e in served.events]
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            served.request("GET", "/healthz")  # plain HTTP has no answer there


def serial(served, context):
    address = ("localhost", served.server.port)
    with (
        socket.create_connection(("127.0.0.1", address[1])) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        return secured.getpeercert()["serialNumber"]


def test_who_does_not_shake_hands_is_cut_off(tmp_path, authority, monkeypatch):
    monkeypatch.setattr(server_module, "_HANDSHAKE", 0.1)
    path = tmp_path / "c.pem"
    certificate(authority, path)
    with Served(tmp_path, path) as served:
        for data in (b"", b"GET / HTTP/1.1\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", served.server.port), timeout=5) as client:
                client.sendall(data)
                try:
                    while client.recv(100):
                        pass
                except ConnectionResetError:
                    pass
        wait(lambda: not served.server._tasks)


def test_old_tls_is_refused(tmp_path, authority, trusting):
    path = tmp_path / "c.pem"
    certificate(authority, path)
    trusting.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with Served(tmp_path, path) as served:
        assert served.server._tls.minimum_version == ssl.TLSVersion.TLSv1_2


def test_plain_http_is_for_loopback_only(tmp_path):
    assert prepare(Settings(), print) is None
    with pytest.raises(ListenError, match="plain HTTP is for loopback only"):
        prepare(Settings(listen=Endpoint("0.0.0.0", 0)), print)
    with pytest.raises(CertificateError):
        prepare(
            Settings(listen=Endpoint("0.0.0.0", 0), tls_certificate=tmp_path / "none.pem"), print
        )


def test_a_port_in_use_is_one_clear_line(served):
    taken = Settings(listen=Endpoint("127.0.0.1", served.server.port))
    with pytest.raises(ListenError, match="in use"):
        prepare(taken, print)
