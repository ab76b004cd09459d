"""A small SMTP client for tests: says exactly what it is told, shows exactly what came back."""

import socket
import ssl
from collections.abc import Sequence
from types import TracebackType
from typing import Self


def unverified() -> ssl.SSLContext:
    """TLS without a look at the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Wire:
    """One connection, from `source` ("": as the system chooses). `preamble` is sent before anything
    is read, as a PROXY header is.
    """

    def __init__(
        self, port: int, *, preamble: bytes = b"", greeting: bool = True, source: str = ""
    ) -> None:
        self.socket: socket.socket = socket.create_connection(
            ("127.0.0.1", port), timeout=20, source_address=(source, 0) if source else None
        )
        self.file = self.socket.makefile("rb")
        try:
            if preamble:
                self.send(preamble)
            self.greeting = self.reply() if greeting else b""
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reply(self) -> bytes:
        """One whole reply; empty when the connection has ended."""
        lines = [self.file.readline()]
        while lines[-1][3:4] == b"-":
            lines.append(self.file.readline())
        return b"".join(lines)

    def say(self, line: str | bytes) -> bytes:
        """Send a line, return the reply."""
        self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return self.reply()

    def hello(self) -> bytes:
        return self.say("EHLO client.example.net")

    def start_tls(self) -> None:
        assert self.say("STARTTLS").startswith(b"220 ")
        self.file.close()
        self.socket = unverified().wrap_socket(self.socket)
        self.file = self.socket.makefile("rb")

    def begin(self, recipients: Sequence[str] = ("user@example.com",)) -> None:
        """MAIL and RCPTs, all accepted."""
        assert self.say("MAIL FROM:<sender@example.net>").startswith(b"250 ")
        for recipient in recipients:
            answer = self.say(f"RCPT TO:<{recipient}>")
            assert answer.startswith(b"250 "), answer

    def message(self, body: bytes, recipients: Sequence[str] = ("user@example.com",)) -> str:
        """One whole transaction by DATA; returns the queue id."""
        self.begin(recipients)
        assert self.say("DATA").startswith(b"354 ")
        stuffed = (b"\r\n" + body).replace(b"\r\n.", b"\r\n..")[2:]
        answer = self.say(stuffed + b".")
        assert answer.startswith(b"250 2.0.0 Queued as "), answer
        return answer.split()[-1].decode()


def submit(
    port: int, *bodies: bytes, recipients: Sequence[str] = ("user@example.com",)
) -> list[str]:
    """Messages on one connection; returns their queue ids."""
    with Wire(port) as wire:
        wire.hello()
        return [wire.message(body, recipients) for body in bodies]


def without_trace(body: bytes) -> bytes:
    """A body as it arrived, less what we prepend: one Received, and what we found out."""
    assert body.startswith(b"Received: from "), body[:80]
    body = _without_first(body)
    if body.startswith(b"Authentication-Results: mx2.example.org;"):
        body = _without_first(body)
    return body


def _without_first(body: bytes) -> bytes:
    """Less its first field, folded lines included."""
    end = 0
    while True:
        end = body.index(b"\r\n", end) + 2
        if body[end : end + 1] not in (b" ", b"\t"):
            return body[end:]
