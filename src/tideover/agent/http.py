"""The agent's HTTP (RFC 9112): one POST a connection, everything bounded, h11 as the grammar."""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

import h11

from tideover.agent.desk import Refusal
from tideover.agent.protocol import LARGEST, PATH, SIGNATURE, Sealed

MOST: Final = 128
"""Connections at once."""
MOST_OF_ONE: Final = 64
"""Connections at once from one address."""
REQUEST_TIMEOUT: Final = 10.0
"""Seconds until a request is there, whole; the TLS handshake has as many."""
_ANSWER_TIMEOUT: Final = 60.0
_HEAD: Final = 8192
_PIECE: Final = 4096
_CLOSING: Final = 2.0
_ACCEPT_RETRY: Final = 0.5

Answering = Callable[[Sealed], Awaitable[Sealed | Refusal]]


class HttpServer:
    """Serves `answer` between `start` and `close`."""

    def __init__(self, answer: Answering) -> None:
        self._answer = answer
        self._tasks: set[asyncio.Task[None]] = set()
        self._by_address: Counter[str] = Counter()
        self._accepting: asyncio.Task[None] | None = None
        self._listener: socket.socket | None = None
        self._tls: ssl.SSLContext | None = None

    def start(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Accept on a bound socket."""
        listener.setblocking(False)
        self._listener, self._tls = listener, tls
        self._accepting = asyncio.create_task(self._accept(listener))

    async def close(self) -> None:
        """Accept no more, and end what is under way."""
        left = [*self._tasks, *([self._accepting] if self._accepting is not None else [])]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(listener)
            except OSError:  # out of descriptors, or it was gone at once
                await asyncio.sleep(_ACCEPT_RETRY)
                continue
            address = str(peer[0])
            if len(self._tasks) >= MOST or self._by_address[address] >= MOST_OF_ONE:
                connection.close()
                continue
            self._by_address[address] += 1
            task = asyncio.create_task(self._serve(connection))
            self._tasks.add(task)
            task.add_done_callback(partial(self._gone, address))

    def _gone(self, address: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]

    async def _serve(self, connection: socket.socket) -> None:
        """Serve one connection to its end, which comes in any case."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(_HEAD)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport: asyncio.Transport | None = None
        try:
            with suppress(OSError, TimeoutError, h11.ProtocolError):  # ssl.SSLError is an OSError
                transport, _ = await loop.connect_accepted_socket(
                    lambda: protocol,
                    connection,
                    ssl=self._tls,
                    ssl_handshake_timeout=None if self._tls is None else REQUEST_TIMEOUT,
                    ssl_shutdown_timeout=None if self._tls is None else _CLOSING,
                )
                writer = asyncio.StreamWriter(transport, protocol, reader, loop)
                await _converse(reader, writer, self._answer)
                writer.close()
                async with asyncio.timeout(_CLOSING):
                    await writer.wait_closed()
        finally:
            if transport is not None:
                transport.abort()
            else:
                connection.close()


async def _converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answering
) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD)
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT):
            request = await _request(connection, reader)
        if isinstance(request, Sealed):
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                reply = await answer(request)
        else:
            reply = request
    except h11.RemoteProtocolError as error:
        if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        reply = Refusal(error.error_status_hint, "no HTTP that is understood here")
    async with asyncio.timeout(REQUEST_TIMEOUT):
        writer.write(_written(connection, reply))
        await writer.drain()


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> Sealed | Refusal:
    """The question, or why it is none.

    Raises:
        h11.RemoteProtocolError: it is not HTTP.
        ConnectionResetError: the client went away.
    """
    body, head = b"", None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:
                return Refusal(417, "just send it")
            connection.receive_data(await reader.read(_PIECE))
        elif isinstance(event, h11.Request):
            head = event
            if event.method != b"POST" or event.target != PATH.encode():
                return Refusal(404, "not here")
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > LARGEST:
                return Refusal(413, "too large")
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            signatures = [v for k, v in head.headers if k == SIGNATURE.lower().encode()]
            if len(signatures) != 1:
                return Refusal(403, "not for you")
            return Sealed(body, signatures[0].decode("latin-1"))
        else:
            raise ConnectionResetError


def _written(connection: h11.Connection, reply: Sealed | Refusal) -> bytes:
    if isinstance(reply, Sealed):
        status, body = 200, reply.body
        headers = [("Content-Type", "application/json"), (SIGNATURE, reply.signature)]
    else:
        status, body = reply.status, f"{reply.text}\n".encode()
        headers = [("Content-Type", "text/plain")]
    headers += [("Content-Length", str(len(body))), ("Connection", "close")]
    head = connection.send(h11.Response(status_code=status, headers=headers))
    data = connection.send(h11.Data(data=body))
    return b"".join(part for part in (head, data) if part)
