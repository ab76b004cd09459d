"""One question to an engine over a socket of its own, and its whole answer."""

import asyncio
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Any, Final

from tideover.config.policy_values import SocketAddress
from tideover.config.values import Endpoint
from tideover.policy.engines.inquiry import EngineError

LONGEST: Final = 64 * 1024
"""Octets of an answer."""

_Where = tuple[socket.AddressFamily, Any]


async def dialogue(
    address: SocketAddress, question: AsyncIterator[bytes], *, half_close: bool = False
) -> bytes:
    """Send the question, and return what comes until the engine closes the connection.

    `half_close` shows the engine where the question ends. Has no time limit of its own.

    Raises:
        OSError: no connection, or it broke without an answer.
        EngineError: the answer is too long.
    """
    loop = asyncio.get_running_loop()
    with await _connected(address) as sock:
        try:
            async for piece in question:
                await loop.sock_sendall(sock, piece)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass  # an engine that does not want all of it says why before it closes
        return await _answer(sock)


async def _answer(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    answer = b""
    while len(answer) <= LONGEST:
        try:
            piece = await loop.sock_recv(sock, 16 * 1024)
        except ConnectionError:
            if not answer:
                raise
            piece = b""  # it closed while something of ours was still unread
        if not piece:
            return answer
        answer += piece
    raise EngineError("its answer is too long")


async def _connected(address: SocketAddress) -> socket.socket:
    if address.endpoint is None:
        return await _connect((socket.AF_UNIX, address.path))
    trouble = OSError("no address")
    for where in await _places(address.endpoint):
        try:
            return await _connect(where)
        except OSError as error:
            trouble = error
    raise trouble


async def _places(endpoint: Endpoint) -> list[_Where]:
    try:
        version = ip_address(endpoint.host).version
    except ValueError:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(*endpoint, type=socket.SOCK_STREAM)
        return [(family, place) for family, _, _, _, place in found]
    return [(socket.AF_INET if version == 4 else socket.AF_INET6, tuple(endpoint))]


async def _connect(where: _Where) -> socket.socket:
    family, place = where
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, place)
    except BaseException:
        sock.close()
        raise
    return sock
