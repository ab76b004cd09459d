import asyncio
import os
import pwd
import socket

import msgspec
import pytest
import uvloop

from tideover.config.model import Config, Domain
from tideover.control import server as server_module
from tideover.control.client import ControlClient, RefusedError, UnreachableError
from tideover.control.protocol import (
    MAX_REQUEST,
    DomainInfo,
    End,
    Failure,
    Flush,
    Hold,
    Items,
    List,
    MessageInfo,
    Release,
    Remove,
    Status,
    decode_call,
    decode_line,
    encode_call,
    encode_line,
)
from tideover.control.server import ControlInUse, ControlServer
from tideover.control.service import Service
from tideover.spool.interface import Filter, SpoolUnavailable
from tideover.testing.control import FakeDaemon, ServedDaemon


@pytest.fixture
def fake(tmp_path):
    domain = Domain(primary=None, recipients=("file:x",))
    return FakeDaemon(
        Config(hostname="mx2.example.org", data_dir=tmp_path, domains={"example.com": domain})
    )


def serving(fake, directory, **bounds):
    return ControlServer(directory, Service(fake, fake.events.append), **bounds)


def run(fake, directory, talk, loop_factory=None, **bounds):
    """Serve while `talk(reader, writer)` runs; returns what it returns."""

    async def main():
        server = serving(fake, directory, **bounds)
        await server.start()
        try:
            reader, writer = await asyncio.open_unix_connection(str(directory / "control.sock"))
            try:
                async with asyncio.timeout(10):
                    return await talk(reader, writer)
            finally:
                writer.close()
        finally:
            await server.close()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(main())


async def answer(reader):
    lines = []
    while not lines or isinstance(lines[-1], Items):
        lines.append(decode_line(await reader.readline()))
    return lines


@pytest.mark.parametrize("loop_factory", [None, uvloop.new_event_loop])
def test_requests_one_after_the_other(fake, tmp_path, loop_factory):
    fake.queue("a@example.com")

    async def talk(reader, writer):
        found = []
        for request in (Status(), List()):
            writer.write(encode_call(request))
            found.append(await answer(reader))
        return found

    status, listing = run(fake, tmp_path, talk, loop_factory)
    assert isinstance(status[1].items[0], DomainInfo)
    assert isinstance(listing[0].items[0], MessageInfo)
    assert isinstance(status[-1], End)


def test_the_socket_is_its_owners_and_goes_with_the_daemon(fake, tmp_path):
    async def talk(reader, writer):
        return (tmp_path / "control.sock").stat().st_mode & 0o777

    assert run(fake, tmp_path, talk) == 0o600
    assert not (tmp_path / "control.sock").exists()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\n",
        b"EHLO client\r\n",
        b"\x00\xff\xfe\n",
        b'{"version": 1}\n',
        b'{"version": 1, "request": {"verb": "explode"}}\n',
        b'{"version": 1, "request": {"verb": "show"}}\n',
        b'{"version": 1, "request": {"verb": "list", "limit": "many"}}\n',
        b'{"version": "1"}\n',
        b"[" * 60_000 + b"\n",
        b"x" * (MAX_REQUEST + 10) + b"\n",
        b"x" * (MAX_REQUEST * 2),
    ],
)
def test_garbage_is_answered_and_the_connection_ended(fake, tmp_path, garbage):
    async def talk(reader, writer):
        writer.write(garbage)
        line = decode_line(await reader.readline())
        try:
            rest = await reader.read()
        except ConnectionResetError:  # what it had not read yet was thrown away
            rest = b""
        return line, rest

    line, rest = run(fake, tmp_path, talk)
    assert isinstance(line, Failure)
    assert line.code == "bad-request"
    assert rest == b""


def test_another_version_is_told_so(fake, tmp_path):
    async def talk(reader, writer):
        writer.write(b'{"version": 9, "request": {"verb": "unheard-of"}}\n')
        return decode_line(await reader.readline())

    line = run(fake, tmp_path, talk)
    assert line.code == "version"
    assert "version 1" in line.text


def test_who_says_nothing_is_cut_off(fake, tmp_path):
    async def talk(reader, writer):
        writer.write(b'{"version"')
        return await reader.read()

    assert run(fake, tmp_path, talk, idle=0.05) == b""


def test_who_does_not_read_is_cut_off(fake, tmp_path):
    for _ in range(300):
        fake.queue("a" * 60 + "@example.com", body=b"x")

    async def main():
        server = serving(fake, tmp_path, write=0.05)
        await server.start()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "control.sock"))
            client.sendall(encode_call(List()) * 100)
            async with asyncio.timeout(10):
                while not server._clients:
                    await asyncio.sleep(0.001)
                while server._clients:
                    await asyncio.sleep(0.001)
            await server.close()
            got = 0
            try:
                while data := client.recv(1 << 20):
                    got += len(data)
            except ConnectionResetError:
                pass
        return got

    assert 0 < asyncio.run(main()) < 3_000_000  # all would be 8 MB


def test_no_more_clients_than_the_bound(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(server_module, "_MAX_CLIENTS", 1)

    async def talk(reader, writer):
        writer.write(encode_call(Status()))
        await answer(reader)
        other, second = await asyncio.open_unix_connection(str(tmp_path / "control.sock"))
        line = decode_line(await other.readline())
        second.close()
        writer.write(encode_call(Status()))
        return line, await answer(reader)

    line, still = run(fake, tmp_path, talk)
    assert line.code == "busy"
    assert isinstance(still[-1], End)


def test_a_stranger_is_refused(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(server_module, "_peer_uid", lambda writer: 4711)

    async def talk(reader, writer):
        writer.write(encode_call(Status()))
        return decode_line(await reader.readline())

    assert run(fake, tmp_path, talk).code == "not-allowed"


def test_a_bug_ends_the_answer_not_the_daemon(fake, tmp_path):
    async def explode():
        raise ZeroDivisionError("oops")

    fake.spool.counts = explode

    async def talk(reader, writer):
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        writer.write(encode_call(Status()))
        first = decode_line(await reader.readline())
        writer.write(encode_call(List()))
        return first, await answer(reader)

    failure, after = run(fake, tmp_path, talk)
    assert failure.code == "internal"
    assert isinstance(after[-1], End)


def test_trouble_with_the_spool_is_a_value(fake, tmp_path):
    async def explode():
        raise SpoolUnavailable("disk I/O error")

    fake.spool.counts = explode
    with ServedDaemon(fake, tmp_path), ControlClient(tmp_path) as client:
        with pytest.raises(RefusedError, match="disk I/O error") as caught:
            list(client.ask(Status()))
        assert caught.value.code == "spool"


def test_a_dead_socket_is_replaced_and_a_living_one_is_not(fake, tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "control.sock"))
    with ServedDaemon(fake, tmp_path):
        inode = (tmp_path / "control.sock").stat().st_ino
        with pytest.raises(ControlInUse, match="another daemon"):
            asyncio.run(serving(fake, tmp_path).start())
        assert (tmp_path / "control.sock").stat().st_ino == inode
        with ControlClient(tmp_path) as client:
            assert len(list(client.ask(Status()))) == 2


def test_a_directory_that_refuses_is_one_clear_line(fake, tmp_path):
    with pytest.raises(ControlInUse, match=r"control\.sock: can't be made: No such file"):
        asyncio.run(serving(fake, tmp_path / "none").start())


def test_the_client_says_when_nobody_answers(tmp_path):
    with pytest.raises(UnreachableError, match="does not run") as caught:
        ControlClient(tmp_path)
    assert caught.value.stopped
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "control.sock"))
    with pytest.raises(UnreachableError) as caught:
        ControlClient(tmp_path)
    assert caught.value.stopped


@pytest.mark.parametrize("said", [b"", b"nonsense\n", b'{"line":"items"', b'{"line":"what"}\n'])
def test_the_client_trusts_no_answer(tmp_path, said):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "control.sock"))
    listener.listen()
    with listener, ControlClient(tmp_path) as client:
        peer, _ = listener.accept()
        peer.sendall(said)
        peer.shutdown(socket.SHUT_WR)
        with pytest.raises(UnreachableError) as caught:
            list(client.ask(Status()))
        assert not caught.value.stopped
        peer.close()


def test_the_client_does_not_wait_for_ever(tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "control.sock"))
    listener.listen()
    with (
        listener,
        ControlClient(tmp_path, answer_timeout=0.05) as client,
        pytest.raises(UnreachableError, match="takes too long"),
    ):
        list(client.ask(Status()))


def test_who_was_refused_before_it_spoke_hears_why(tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "control.sock"))
    listener.listen()
    with listener, ControlClient(tmp_path) as client:
        connection, _ = listener.accept()
        connection.sendall(encode_line(Failure("busy", "too many tools are connected")))
        connection.close()
        with pytest.raises(RefusedError, match="too many tools"):
            list(client.ask(Status()))


def test_too_many_ids_are_refused_before_they_are_sent(fake, tmp_path):
    ids = tuple(f"{n:020}" for n in range(5000))
    with (
        ServedDaemon(fake, tmp_path),
        ControlClient(tmp_path) as client,
        pytest.raises(RefusedError, match="too many ids"),
    ):
        list(client.ask(List(wanted=Filter(ids=ids))))


def test_lines_survive_the_wire():
    request = List(wanted=Filter(domain="example.com"), limit=3)
    assert decode_call(encode_call(request)) == request
    with pytest.raises(msgspec.DecodeError):
        decode_line(b"{}")
    assert decode_line(encode_line(End())) == End()


@pytest.mark.parametrize("verb", [Flush, Hold, Release, Remove])
def test_an_act_on_everything_must_be_meant(fake, tmp_path, verb):
    fake.queue("a@example.com")
    with ServedDaemon(fake, tmp_path), ControlClient(tmp_path) as client:
        with pytest.raises(RefusedError) as caught:
            list(client.ask(verb()))
        assert caught.value.code == "selection"
        assert fake.events == []
        assert list(client.ask(verb(everything=True)))


def test_a_hold_on_a_domain_that_is_not_ours(fake, tmp_path):
    with (
        ServedDaemon(fake, tmp_path),
        ControlClient(tmp_path) as client,
        pytest.raises(RefusedError, match="not a domain of ours"),
    ):
        list(client.ask(Hold(wanted=Filter(domain="example.net"))))
    assert fake.dispatcher.calls == []


def test_who_acts_is_named_by_the_kernels_word(fake, tmp_path):
    fake.queue("a@example.com")
    with ServedDaemon(fake, tmp_path), ControlClient(tmp_path) as client:
        list(client.ask(Hold(everything=True)))
    assert fake.events[0].by == pwd.getpwuid(os.geteuid()).pw_name
