"""The agent's HTTP (RFC 9112): one POST a connection, everything bounded, h11 as the grammar."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import h11

from tideover.agent.desk import Refusal
from tideover.agent.protocol import LARGEST, PATH, SIGNATURE, Sealed

MOST: Final = 128
"""Connections at once."""
REQUEST_TIMEOUT: Final = 10.0
"""Seconds until a request is there, whole; the TLS handshake has as many."""
_ANSWER_TIMEOUT: Final = 60.0
_HEAD: Final = 8192
_PIECE: Final = 4096

Answering = Callable[[Sealed], Awaitable[Sealed | Refusal]]


class HttpServer:
    """Serves `answer` between `start` and `close`."""

    def __init__(self, answer: Answering) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._open = 0

    async def start(self, listener: object, tls: ssl.SSLContext | None) -> None:
        """Accept on a bound socket."""
        self._server = await asyncio.start_server(
            self._serve,
            sock=listener,  # type: ignore[call-overload, arg-type, unused-ignore]
            ssl=tls,
            ssl_handshake_timeout=REQUEST_TIMEOUT if tls is not None else None,
            limit=_HEAD,
        )

    async def close(self) -> None:
        """Accept no more, and end what is under way."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MOST:
                with suppress(OSError, TimeoutError, h11.ProtocolError):
                    await _converse(reader, writer, self._answer)
        finally:
            self._open -= 1
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()


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
