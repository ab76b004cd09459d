"""A primary that takes everything (unless told whom): an SMTP server in a thread that keeps what
it gets.

It is as plain as a server can be: no TLS, no checks, unbounded memory. It offers what a modern
primary offers, so that nothing that we pass on is lost on the way.
"""

import asyncio
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from types import TracebackType
from typing import Self

OFFERS = ("PIPELINING", "SIZE 104857600", "8BITMIME", "DSN", "SMTPUTF8", "ENHANCEDSTATUSCODES")
_TERMINATOR = b"\r\n.\r\n"
_TURNS = 10


@dataclass(frozen=True, slots=True)
class Got:
    """One message: the arguments of MAIL and RCPT as they came, the body with its dots unstuffed,
    and when it was complete, by the clock of `time.monotonic`.
    """

    mail: bytes
    rcpts: tuple[bytes, ...]
    body: bytes
    time: float


class Sink:
    """Listens on `host` while it is entered. `messages` grows in the order of arrival.

    `users`, local parts, are the only recipients that it takes; None: it takes all.
    """

    def __init__(
        self,
        port: int,
        offers: tuple[str, ...] = OFFERS,
        *,
        users: Collection[str] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.host = host
        self.port = port
        self.users = users
        self.offers = offers
        self.messages: list[Got] = []
        self.connections = 0
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._transports: set[asyncio.Transport] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def wait(self, count: int, timeout: float) -> list[Got]:
        """Wait until there are so many messages.

        Raises:
            TimeoutError: there are not, after `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.messages) >= count, timeout):
                raise TimeoutError(f"{len(self.messages)} of {count} messages after {timeout} s")
            return list(self.messages)

    def now(self) -> float:
        """The clock of `Got.time`."""
        return time.monotonic()

    def take(self, got: Got) -> None:
        """Keep a message."""
        with self._changed:
            self.messages.append(got)
            self._changed.notify_all()

    def takes(self, argument: bytes) -> bool:
        """Whether a recipient exists, by the argument of RCPT."""
        local = argument.partition(b"<")[2].partition(b"@")[0].decode("utf-8", "replace")
        return self.users is None or local.lower() in self.users

    async def _listen(self) -> asyncio.Server:
        return await self._loop.create_server(
            lambda: _Session(self, self._transports), self.host, self.port, backlog=200
        )

    async def _close(self) -> None:
        """Close the port, and every connection, those included that are being accepted now."""
        if self._server is None:
            return
        # accept no more; what was accepted becomes a transport some turns of the loop later, which
        # a closed server would not take
        for listener in self._server.sockets:
            self._loop.remove_reader(listener.fileno())
        for _ in range(_TURNS):
            accepting = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*accepting, return_exceptions=True)
            for transport in list(self._transports):
                transport.abort()
            await asyncio.sleep(0)
        self._server.close()
        await asyncio.sleep(0)


class _Session(asyncio.Protocol):
    """One connection."""

    def __init__(self, sink: Sink, transports: set[asyncio.Transport]) -> None:
        self._sink = sink
        self._transports = transports
        self._buffer = bytearray()
        self._in_body = False
        self._searched = 0
        self._mail = b""
        self._rcpts: list[bytes] = []
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream transport is needed")
        self._transport = transport
        self._transports.add(transport)
        self._sink.connections += 1
        transport.write(b"220 sink ESMTP\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transports.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._take_body() if self._in_body else self._take_command():
            pass

    def _take_body(self) -> bool:
        if self._buffer.startswith(b".\r\n"):
            end, body = 3, b""
        else:
            found = self._buffer.find(_TERMINATOR, self._searched)
            self._searched = max(0, len(self._buffer) - len(_TERMINATOR))
            if found < 0:
                return False
            end, body = found + 5, bytes(self._buffer[: found + 2])
        del self._buffer[:end]
        self._searched = 0
        self._in_body = False
        body = body.replace(b"\r\n.", b"\r\n")
        got = Got(self._mail, tuple(self._rcpts), body.removeprefix(b"."), self._sink.now())
        self._rcpts.clear()
        self._sink.take(got)
        self._transport.write(b"250 2.0.0 taken\r\n")
        return True

    def _take_command(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        verb, argument = line[:4].upper(), line[5:]
        answer = b"250 2.0.0 OK\r\n"
        match verb:
            case b"EHLO":
                lines = ["sink", *self._sink.offers]
                answer = "".join(
                    f"250{' ' if n == len(lines) else '-'}{text}\r\n"
                    for n, text in enumerate(lines, 1)
                ).encode()
            case b"MAIL":
                self._mail = argument
                self._rcpts.clear()
            case b"RCPT":
                if self._sink.takes(argument):
                    self._rcpts.append(argument)
                else:
                    answer = b"550 5.1.1 No such user here\r\n"
            case b"DATA":
                self._in_body = True
                answer = b"354 go on\r\n"
            case b"QUIT":
                self._transport.write(b"221 2.0.0 bye\r\n")
                self._transport.close()
                return False
        self._transport.write(answer)
        return True
