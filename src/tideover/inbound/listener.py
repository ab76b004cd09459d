"""Sockets that listen, and the connections that come from them."""

import asyncio
import errno
import socket
from collections.abc import Sequence
from typing import Final

from tideover.config.values import Endpoint
from tideover.inbound.connection import Connection
from tideover.inbound.house import House

# Connections that the kernel holds for us while we are busy; it cuts this to its own limit.
BACKLOG: Final = 4096


class ListenError(Exception):
    """A port can't be bound. The text names it and the reason."""


def bind(
    endpoints: Sequence[Endpoint], *, listening: bool = True, alone: bool = False
) -> list[socket.socket]:
    """Bind all, or none. What is bound and does not listen refuses connections (RST); `alone`: and
    no other program can make it listen.

    Raises:
        ListenError: port in use, no right, no such address.
    """
    sockets: list[socket.socket] = []
    try:
        for endpoint in endpoints:
            sockets.append(_bind_one(endpoint, listening=listening, alone=alone))
    except OSError as error:
        for bound in sockets:
            bound.close()
        raise ListenError(f"cannot listen on {endpoint}: {_reason(error)}") from None
    return sockets


def _bind_one(endpoint: Endpoint, *, listening: bool, alone: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(not alone))
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((endpoint.host, endpoint.port))
        if listening:
            sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _reason(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is in use by another program"
        case errno.EACCES | errno.EPERM:
            return (
                "no right to bind this port; start as root with `user` set, or take one above 1023"
            )
        case errno.EADDRNOTAVAIL:
            return "no interface has this address"
        case _:
            return error.strerror or str(error)


class Listeners:
    """Serves connections from bound sockets until stopped."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Begin to accept."""
        loop = asyncio.get_running_loop()
        for sock in sockets:
            host, port = sock.getsockname()[:2]
            name = str(Endpoint(host, port))
            server = await loop.create_server(
                lambda name=name: Connection(self._house, name, self._connections),  # type: ignore[misc]
                sock=sock,
                backlog=BACKLOG,
            )
            self._servers.append(server)

    async def stop(self, grace: float) -> None:
        """Close the listeners, let bodies under way finish for `grace` seconds, then 421."""
        self._house.draining = True
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.drain(now=False)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        while self._connections and loop.time() < deadline:  # noqa: ASYNC110  10 s at most, once
            await asyncio.sleep(0.05)
        for connection in list(self._connections):
            connection.drain(now=True)
        await asyncio.sleep(0)

    @property
    def open(self) -> int:
        """Connections open now."""
        return len(self._connections)
