"""The unix socket on which the daemon answers its tools.

Only the daemon's own user and root are answered: the socket is 0600, and the peer's uid, which the
kernel vouches for, is checked again. Everything is bounded: request size, connections, waiting for
a request and for a reader that does not read.
"""

import asyncio
import os
import pwd
import socket
import struct
from contextlib import suppress
from pathlib import Path

from tideover.control.protocol import (
    MAX_REQUEST,
    SOCKET,
    AnyRequest,
    End,
    Failure,
    Items,
    Line,
    decode_call,
    encode_line,
)
from tideover.control.service import Service

_MAX_CLIENTS = 32
_IDLE = 60.0
_WRITE = 30.0
_ACCEPT_RETRY = 0.5
_PEER = struct.Struct("3i")


class ControlInUse(Exception):  # noqa: N818 - a fact, and a clear line for the operator
    """Another daemon answers on this data directory's socket, or the socket can't be made."""


class ControlServer:
    """Serves one data directory's socket, between `start` and `close`.

    `idle` bounds the wait for a request, `write` the wait for a reader, both in seconds.
    """

    def __init__(
        self, data_dir: Path, service: Service, *, idle: float = _IDLE, write: float = _WRITE
    ) -> None:
        self._path = data_dir / SOCKET
        self._service = service
        self._idle = idle
        self._write_timeout = write
        self._listener: socket.socket | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._inode = 0

    async def start(self) -> None:
        """Open the socket.

        Raises:
            ControlInUse: another daemon answers there, or the directory refuses.
        """
        try:
            listener = _bind(self._path)
        except OSError as error:
            raise ControlInUse(f"{self._path}: can't be made: {error.strerror}") from None
        self._inode = self._path.stat().st_ino
        listener.setblocking(False)
        listener.listen(_MAX_CLIENTS)
        self._listener = listener
        self._listen()

    async def close(self) -> None:
        """End all connections and remove the socket."""
        if self._listener is None:
            return
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        self._listener = None
        await asyncio.sleep(0)  # each client's task has begun then, and closes what it has
        clients = tuple(self._clients)
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        with suppress(OSError):
            if self._path.stat().st_ino == self._inode:  # not a successor's
                self._path.unlink()

    def _listen(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        """Take one connection.

        Not by asyncio's own server or `sock_accept`: those lose a connection that comes while they
        are closed.
        """
        loop = asyncio.get_running_loop()
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # out of descriptors: others will be closed
            loop.remove_reader(listener)
            loop.call_later(_ACCEPT_RETRY, self._listen)
            return
        task = loop.create_task(self._serve(connection))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _serve(self, connection: socket.socket) -> None:
        try:
            uid = _peer_uid(connection)
            reader, writer = await asyncio.open_unix_connection(sock=connection, limit=MAX_REQUEST)
        except BaseException:
            connection.close()
            raise
        try:
            await self._connection(reader, writer, uid)
        except (OSError, TimeoutError):
            pass  # gone or too slow: nobody is left to tell
        finally:
            writer.close()

    async def _connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, uid: int
    ) -> None:
        if uid not in (0, os.geteuid()):
            await self._send(writer, Failure("not-allowed", "only root and the daemon's own user"))
            return
        if len(self._clients) > _MAX_CLIENTS:
            await self._send(writer, Failure("busy", "too many tools are connected"))
            return
        by = _user_name(uid)
        while True:
            try:
                async with asyncio.timeout(self._idle):
                    line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                text = f"a request has at most {MAX_REQUEST} octets"
                await self._send(writer, Failure("bad-request", text))
                return
            request = decode_call(line)
            if isinstance(request, Failure):
                await self._send(writer, request)
                return
            await self._answer(writer, request, by)

    async def _answer(self, writer: asyncio.StreamWriter, request: AnyRequest, by: str) -> None:
        try:
            async for page in self._service.answer(request, by=by):
                if isinstance(page, Failure):
                    await self._send(writer, page)
                    return
                await self._send(writer, Items(tuple(page)))
                await asyncio.sleep(0)  # the mail comes first
            await self._send(writer, End())
        except (OSError, TimeoutError):
            raise
        except Exception as error:
            kind = type(error).__name__
            await self._send(writer, Failure("internal", f"a bug in the daemon: {kind}: {error}"))
            asyncio.get_running_loop().call_exception_handler(
                {"message": "control request failed", "exception": error}
            )

    async def _send(self, writer: asyncio.StreamWriter, line: Line) -> None:
        writer.write(encode_line(line))
        try:
            async with asyncio.timeout(self._write_timeout):
                await writer.drain()
        except TimeoutError:
            writer.transport.abort()
            raise


def _bind(path: Path) -> socket.socket:
    """A bound socket, mode 0600 before anybody can connect to it; a dead one is replaced."""
    if path.exists() and _answers(path):
        raise ControlInUse(f"{path}: another daemon serves this data directory")
    with suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)  # until listen() is called nobody can connect
    except OSError:
        listener.close()
        raise
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # busy, or no socket at all: not ours to remove
        return True


def _peer_uid(connection: socket.socket) -> int:
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(data)[1])


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
