"""Plays each golden dialogue four ways: three on the core alone, one on the daemon's socket."""

import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tideover.smtp.events import (
    BodyChunk,
    BodyEnd,
    BodyStart,
    Closing,
    Hello,
    MailFrom,
    RcptTo,
    Signal,
    StartTls,
)
from tideover.smtp.offer import ServerOptions
from tideover.smtp.receipt import Receipt
from tideover.smtp.replies import Reply, reply
from tideover.smtp.server import ServerSession
from tideover.testing.daemon import Daemon
from tideover.testing.transcript import MismatchError, Mode, Transcript, parse, play, unescape

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.smtp"))
SIZE = 65536
USERS = {"user", "other", "postmaster", "grün"}

UNKNOWN = reply(550, "5.1.1", "No such user here")
FOREIGN = reply(554, "5.7.1", "Relaying denied")


def verdict(event: RcptTo) -> Reply | None:
    """What the daemon's directory says to the addresses that the dialogues use."""
    recipient = event.recipient
    if recipient.domain.lower() not in ("example.com", ""):
        return FOREIGN
    return None if recipient.local.lower().partition("+")[0] in USERS else UNKNOWN


class CorePeer:
    """The sans-I/O core with a policy as small as can be."""

    def __init__(self) -> None:
        self.session = ServerSession(
            ServerOptions(hostname="mx2.example.org", max_size=SIZE, tls=True)
        )
        self.session.greet()
        self.out = bytearray(self.session.data_to_send())
        self.body = bytearray()
        self.accepted: list[bytes] = []
        self.is_closed = False

    def send(self, data: bytes) -> None:
        assert not self.is_closed, "the file goes on after the server has closed"
        self.session.receive_data(data)
        while not self.is_closed and not isinstance(event := self.session.next_event(), Signal):
            match event:
                case Hello() | MailFrom() | StartTls():
                    self.session.accept()
                case RcptTo():
                    refusal = verdict(event)
                    self.session.accept() if refusal is None else self.session.reply(refusal)
                case BodyStart():
                    self.body.clear()
                    self.session.accept()
                case BodyChunk(data=piece):
                    self.body += piece
                case BodyEnd(size=size):
                    assert size == len(self.body)
                    self.accepted.append(bytes(self.body))
                    self.session.accept_message(Receipt(f"Q{len(self.accepted)}"))
                case Closing():
                    self.is_closed = True
        self.out += self.session.data_to_send()

    def read_line(self) -> bytes:
        line, crlf, rest = bytes(self.out).partition(b"\r\n")
        self.out = bytearray(rest)
        assert crlf or not line
        return line

    def start_tls(self) -> None:
        assert not self.out, "more was said than the answer to STARTTLS"
        self.session.tls_established()

    def closed(self) -> bool:
        return self.is_closed and not self.out

    def bodies(self) -> list[bytes] | None:
        return self.accepted


class SocketPeer:
    """A server at the other end of a TCP connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read_line(self) -> bytes:
        return self.file.readline().removesuffix(b"\r\n")

    def start_tls(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.file.close()
        self.socket = context.wrap_socket(self.socket)
        self.file = self.socket.makefile("rb")

    def closed(self) -> bool:
        try:
            return self.file.readline() == b""
        except ConnectionResetError:
            return True

    def bodies(self) -> list[bytes] | None:
        return None

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    recipients = "".join(f"{user}\n" for user in sorted(USERS - {"postmaster"}))
    directory = tmp_path_factory.mktemp("transcripts")
    with Daemon(directory, recipients=recipients, top=f"max_message_size = {SIZE}") as running:
        yield running


def of_files(files: list[Path] = FILES) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", files, ids=lambda path: path.stem)


def in_a_block(path: Path) -> bool:
    return "no-pipeline" not in parse(path).headers


@of_files()
@pytest.mark.parametrize("mode", [Mode.LINES, Mode.OCTETS], ids=lambda mode: mode.name.lower())
def test_core(path: Path, mode: Mode) -> None:
    finish(parse(path), CorePeer(), mode)


@of_files([path for path in FILES if in_a_block(path)])
def test_core_pipelined(path: Path) -> None:
    finish(parse(path), CorePeer(), Mode.BLOCK)


def finish(transcript: Transcript, peer: CorePeer, mode: Mode) -> None:
    play(transcript, peer, mode)
    assert not peer.out, f"{transcript.path.name}: more was said: {bytes(peer.out)!r}"


@of_files()
def test_daemon(path: Path, daemon: Daemon) -> None:
    transcript = parse(path)
    peer = SocketPeer(daemon.port)
    try:
        play(transcript, peer, Mode.LINES)
        if transcript.steps[-1].kind != "X":
            # whatever was said too much would come before the answer to this
            peer.send(b"QUIT\r\n")
            assert peer.read_line().startswith(b"221 "), f"{transcript.path.name}: one too many"
            assert peer.closed()
    finally:
        peer.close()


def test_every_dialogue_names_its_rfc() -> None:
    assert len(FILES) > 40
    assert [p.name for p in FILES if not re.match(r"\d{4}", parse(p).headers.get("rfc", ""))] == []


def test_a_wrong_answer_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "wrong.smtp"
    path.write_text("# title: x\nS: 220 .*\nC: NOOP\nS: 251 .*\n")
    with pytest.raises(MismatchError, match=r"wrong.smtp:4 .*251.*250 2.0.0 OK"):
        play(parse(path), CorePeer(), Mode.LINES)


def test_escapes() -> None:
    assert unescape(r"a\r\n\x00\xff\\\{3y}ü") == b"a\r\n\x00\xff\\yyy" + "ü".encode()
