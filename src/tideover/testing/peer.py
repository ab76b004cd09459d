"""A scripted SMTP server for tests: a primary that behaves, or misbehaves, as the test says.

By default it is a friendly ESMTP server that takes everything and keeps it byte for byte. A test
changes that with `behave`, a function that is asked at each step and may answer with a `Reaction`::

    def behave(step):
        if step.verb == "RCPT" and "nobody" in step.argument:
            return Reaction("550 5.1.1 no such user")
        if step.verb == "BODY" and step.connection == 1:
            return Reaction(close=True)

Steps are CONNECT, each command's verb, BDAT: a chunk before the last, and BODY: the end of data. It
listens on loopback only.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, cast


@dataclass(frozen=True, slots=True)
class Step:
    """What the client did. `connection` and `message` (of that connection) count from 1."""

    verb: str
    argument: str
    connection: int
    message: int


@dataclass(frozen=True, slots=True)
class Reaction:
    """What the server does: wait `delay` seconds, send `reply`, then perhaps hang up.

    `reply` is text (CRLF is added; lines are separated by LF), raw bytes, or None for silence.
    `close` ends the connection in order, `reset` with a TCP reset. `stop_reading` leaves all that
    follows unread.
    """

    reply: str | bytes | None = None
    delay: float = 0.0
    close: bool = False
    reset: bool = False
    stop_reading: bool = False


@dataclass(slots=True)
class Captured:
    """One message as it came. `body` is without dot-stuffing; commands are without CRLF."""

    mail: str
    rcpts: list[str]
    body: bytes
    connection: int
    bdat: bool = False


Behave = Callable[[Step], Reaction | None]


@dataclass(slots=True)
class Peer:
    """The server. Use as `async with Peer(...) as peer`; then `peer.port`."""

    capabilities: Sequence[str] = ("PIPELINING", "SIZE 10240000", "8BITMIME", "DSN", "SMTPUTF8")
    behave: Behave = lambda _step: None
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    port: int = 0
    messages: list[Captured] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0
    most_open: int = 0
    _server: asyncio.Server | None = None
    _sessions: "set[_Session]" = field(default_factory=set)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        """Start to listen."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop and drop all connections."""
        await self.stop()

    async def start(self) -> None:
        """Listen; on the same port as before when it was started before."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Session(self), self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Go away like a server that is killed."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for session in list(self._sessions):
            session.drop()
            await session.gone.wait()

    async def received(self, count: int, within: float = 10.0) -> None:
        """Wait until `count` messages have been taken. Raises TimeoutError."""
        async with asyncio.timeout(within):
            while len(self.messages) < count:
                self._arrived.clear()
                await self._arrived.wait()


class _Session(asyncio.Protocol):
    """One connection of the peer."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._steps: asyncio.Queue[None] = asyncio.Queue()
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self.gone = asyncio.Event()
        self._more = asyncio.Event()
        self._number = 0
        self._message = 1
        self._mail: str | None = None
        self._rcpts: list[str] = []
        self._chunks = bytearray()  # of a message that has not ended
        self._whole = True  # none of them was refused

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not by isinstance: uvloop's transports are of no common class.
        self._transport = cast("asyncio.Transport", transport)
        peer = self._peer
        peer.connections += 1
        peer.open_connections += 1
        peer.most_open = max(peer.most_open, peer.open_connections)
        peer._sessions.add(self)  # noqa: SLF001
        self._number = peer.connections
        self._task = self._loop.create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        self._peer.pieces.append(data)
        self._buffer += data
        self._more.set()

    def connection_lost(self, exc: Exception | None) -> None:
        peer = self._peer
        peer.open_connections -= 1
        peer._sessions.discard(self)  # noqa: SLF001
        self.gone.set()
        self._more.set()
        if self._task is not None:
            self._task.cancel()

    def drop(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()

    # The dialogue

    async def _serve(self) -> None:
        if not await self._react("CONNECT", "", "220 peer.example ESMTP"):
            return
        while (line := await self._line()) is not None:
            self._peer.commands.append(line)
            verb, _, argument = line.partition(" ")
            verb = verb.upper()
            if not await self._command(verb, argument):
                return

    async def _command(self, verb: str, argument: str) -> bool:
        """Answer one command; False when the connection is over."""
        if verb in ("EHLO", "HELO"):
            lines = ["250-peer.example", *(f"250-{name}" for name in self._peer.capabilities)]
            lines[-1] = "250 " + lines[-1][4:]
            usual = "\n".join(lines) if verb == "EHLO" else "250 peer.example"
            return await self._react(verb, argument, usual)
        if verb == "MAIL":
            return await self._react(verb, argument, "250 2.1.0 ok", lambda: self._begin(argument))
        if verb == "RCPT":
            return await self._react(
                verb, argument, "250 2.1.5 ok", lambda: self._rcpts.append(argument)
            )
        if verb == "DATA":
            if not self._rcpts:
                return await self._react(verb, argument, "554 5.5.1 no valid recipients")
            if not await self._react(verb, argument, "354 go ahead"):
                return False
            return not self._went_ahead or await self._data()
        if verb == "BDAT":
            size, _, last = argument.partition(" ")
            return await self._bdat(int(size), last=last.upper() == "LAST")
        if verb == "STARTTLS":
            if not await self._react(verb, argument, "220 2.0.0 go ahead"):
                return False
            return not self._went_ahead or await self._tls()
        if verb == "RSET":
            return await self._react(verb, argument, "250 2.0.0 ok", self._forget)
        if verb == "QUIT":
            await self._react(verb, argument, "221 2.0.0 bye")
            self._close()
            return False
        return await self._react(verb, argument, "500 5.5.2 what?")

    def _begin(self, argument: str) -> None:
        self._mail = argument
        self._rcpts = []

    def _forget(self) -> None:
        self._mail = None
        self._rcpts = []
        self._chunks.clear()
        self._whole = True

    async def _data(self) -> bool:
        self._buffer[:0] = b"\r\n"  # so that a dot on the first line is no special case
        seen = 0
        while (end := self._buffer.find(b"\r\n.\r\n", seen)) < 0:
            seen = max(0, len(self._buffer) - 4)
            if not await self._wait():
                return False
        stuffed = bytes(self._buffer[: end + 2])
        del self._buffer[: end + 5]
        return await self._take(stuffed.replace(b"\r\n.", b"\r\n")[2:], bdat=False)

    async def _bdat(self, size: int, *, last: bool) -> bool:
        while len(self._buffer) < size:
            if not await self._wait():
                return False
        self._chunks += self._buffer[:size]
        del self._buffer[:size]
        if not self._whole or not self._rcpts:  # RFC 3030 §2
            return await self._react("BDAT", str(size), "503 5.5.1 RSET first")
        if not last:
            self._whole = False
            return await self._react("BDAT", str(size), "250 2.0.0 ok", self._chunk_taken)
        body = bytes(self._chunks)
        self._chunks.clear()
        return await self._take(body, bdat=True)

    def _chunk_taken(self) -> None:
        self._whole = True

    async def _take(self, body: bytes, *, bdat: bool) -> bool:
        captured = Captured(self._mail or "", self._rcpts, body, self._number, bdat)

        def keep() -> None:
            self._peer.messages.append(captured)
            self._peer._arrived.set()  # noqa: SLF001

        self._forget()
        goes_on = await self._react("BODY", "", "250 2.0.0 taken", keep)
        self._message += 1
        return goes_on

    async def _tls(self) -> bool:
        if self._transport is None or self._peer.tls is None:
            self.drop()
            return False
        try:
            secured = await self._loop.start_tls(
                self._transport, self, self._peer.tls, server_side=True
            )
        except OSError:
            return False
        if secured is None:
            return False
        self._transport = secured
        return True

    _went_ahead = True

    async def _react(
        self, verb: str, argument: str, usual: str, when_good: Callable[[], None] | None = None
    ) -> bool:
        step = Step(verb, argument, self._number, self._message)
        reaction = self._peer.behave(step) or Reaction(usual)
        if reaction.delay:
            await asyncio.sleep(reaction.delay)
        if self.gone.is_set() or self._transport is None:
            return False
        reply = reaction.reply
        wire = reply.replace("\n", "\r\n").encode() + b"\r\n" if isinstance(reply, str) else reply
        self._went_ahead = bool(wire and wire.startswith((b"354", b"220")))
        if when_good is not None and (wire is None or wire[:1] == b"2"):
            when_good()
        if wire:
            self._transport.write(wire)
        if reaction.stop_reading:
            self._transport.pause_reading()
        if reaction.reset:
            self.drop()
        elif reaction.close:
            self._close()
        return not (reaction.reset or reaction.close)

    async def _line(self) -> str | None:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if not await self._wait():
                return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line.decode("utf-8", "replace")

    async def _wait(self) -> bool:
        self._more.clear()
        await self._more.wait()
        return not self.gone.is_set()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()
