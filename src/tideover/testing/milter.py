"""A filter that speaks the milter protocol as a script says, well or badly.

It runs in the event loop of the test. Its script names answers by the letter of the command that
they answer; for all others it says "continue".
"""

import asyncio
import struct
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from tideover.config.policy_values import SocketAddress
from tideover.config.values import Endpoint

CLOSE: Final = b"<close>"
"""Instead of an answer: close the connection."""

SILENCE: Final = b"<silence>"
"""Instead of an answer: none."""

DEAF: Final = b"<deaf>"
"""Instead of an answer: read no more, and keep the connection."""

CONTINUE: Final = b"\0\0\0\1c"
_VERSION: Final = 6
_COMMANDS: Final = b"CHMRTLNBE"
_NO_REPLY: Final = {
    b"C": 0x1000, b"H": 0x2000, b"M": 0x4000, b"R": 0x8000, b"T": 0x10000, b"L": 0x80,
    b"N": 0x40000, b"B": 0x80000,
}  # fmt: skip

Answer = bytes | Sequence[bytes]


def packet(name: bytes, data: bytes = b"") -> bytes:
    """One packet."""
    return struct.pack(">I", len(data) + 1) + name + data


def agreement(
    version: int = _VERSION, actions: int = 0x131, protocol: int = 0, macros: bytes = b""
) -> bytes:
    """The answer to the MTA's offer. `macros` as on the wire."""
    return packet(b"O", struct.pack(">III", version, actions, protocol) + macros)


def header(name: bytes, field: bytes, value: bytes, index: int | None = None) -> bytes:
    """A wish for a header change: `name` is h, i or m."""
    place = b"" if index is None else struct.pack(">I", index)
    return packet(name, place + field + b"\0" + value + b"\0")


class FakeMilter:
    """Listens on `address` while it is entered (async with).

    `answers` maps command letters ("O": negotiation) to bytes that are sent as they are, or to a
    list of such, for the first command of that letter, the second, and so on (the last stays).
    `protocol` are its flags; it answers no command that it said it would not. `commands` are
    the packets that came, macros included, of all connections; `closed` counts connections that
    the other side ended.
    """

    def __init__(
        self, answers: Mapping[str, Answer] | None = None, *, protocol: int = 0,
        negotiation: bytes | None = None,
    ) -> None:  # fmt: skip
        self.answers = dict(answers or {})
        self.protocol = protocol
        self.negotiation = negotiation or agreement(protocol=protocol)
        self.commands: list[tuple[str, bytes]] = []
        self.connections = 0
        self.closed = asyncio.Event()
        self.address = SocketAddress(Endpoint("127.0.0.1", 0), "")
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.address = SocketAddress(Endpoint("127.0.0.1", port), "")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def letters(self) -> str:
        """The commands that came, without macros."""
        return "".join(letter for letter, _ in self.commands if letter != "D")

    def data(self, letter: str) -> list[bytes]:
        """What came with all commands of a letter."""
        return [data for name, data in self.commands if name == letter]

    def macros(self, letter: str) -> dict[str, str]:
        """The macros that came last before commands of a letter."""
        found: dict[str, str] = {}
        for data in self.data("D"):
            if data[:1] == letter.encode():
                parts = data[1:].decode().split("\0")[:-1]
                found = dict(zip(parts[::2], parts[1::2], strict=True))
        return found

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self.connections += 1
        try:
            await self._talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            return  # a task of a server that ends as cancelled is told as an error
        finally:
            self.closed.set()
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            (length,) = struct.unpack(">I", await reader.readexactly(4))
            body = await reader.readexactly(length)
            name, data = body[:1], body[1:]
            self.commands.append((name.decode("latin-1"), data))
            answer = self._answer(name)
            if answer == CLOSE:
                return
            if answer == DEAF:
                await asyncio.Event().wait()
            if answer != SILENCE:
                writer.write(answer)
                await writer.drain()

    def _answer(self, name: bytes) -> bytes:
        script = self.answers.get(name.decode("latin-1"))
        if isinstance(script, bytes):
            return script
        if script:
            seen = sum(1 for letter, _ in self.commands if letter == name.decode("latin-1"))
            return script[min(seen, len(script)) - 1]
        if name == b"O":
            return self.negotiation
        if name not in _COMMANDS or self.protocol & _NO_REPLY.get(name, 0):
            return SILENCE
        return CONTINUE
