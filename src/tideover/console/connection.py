"""One HTTP connection: uvicorn's, with a bound on how long it may say nothing.

One request, one answer, then it is closed: nobody who pushes a feed each quarter of an hour gains
from keeping it, and nobody can hold it idle.
"""

import asyncio
import logging
from typing import Final

import h11
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

HEAD_TIMEOUT: Final = 10.0
"""Seconds until the request's head is there."""
_LARGEST_HEAD: Final = 16 * 1024
_HEADERS: Final = [(b"connection", b"close"), (b"cache-control", b"no-store")]


class Connections:
    """Makes the connections of one application."""

    def __init__(self, app: ASGIApp, head_timeout: float = HEAD_TIMEOUT) -> None:
        _silence()
        self._head_timeout = head_timeout
        self._config = Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=_LARGEST_HEAD,
        )
        self._config.load()
        self._state = ServerState()
        self._state.default_headers = _HEADERS

    def make(self) -> "HttpConnection":
        """A protocol for a socket that was accepted."""
        return HttpConnection(self._config, self._state, self._head_timeout)

    async def close(self) -> None:
        """End what is under way."""
        tasks = tuple(self._state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class HttpConnection(H11Protocol):
    """`closed` is done when the connection is gone."""

    def __init__(self, config: Config, state: ServerState, head_timeout: float) -> None:
        super().__init__(config, state, {})
        self.closed: asyncio.Future[None] = self.loop.create_future()
        self._head_timeout = head_timeout
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As asyncio's."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self._head_timeout, self._head_is_due)

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio's."""
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()
        if not self.closed.done():
            self.closed.set_result(None)

    def _head_is_due(self) -> None:
        if self.conn.their_state is h11.IDLE:
            self.transport.abort()


def _silence() -> None:
    """What strangers send is nothing for our log; what we do wrong is reported by ourselves."""
    log = logging.getLogger("uvicorn.error")
    log.propagate = False
    if not log.handlers:
        log.addHandler(logging.NullHandler())
