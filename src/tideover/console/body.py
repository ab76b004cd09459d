"""The body of a request, piece by piece."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from starlette.requests import Request

_DRAINED: Final = 64 * 1024
_DRAIN_TIMEOUT: Final = 1.0


class GoneError(Exception):
    """The client went away before the end of the body."""


class Body:
    """Reads it once. Waits as long as the client does: bound it."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._ended = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """What is left of it.

        Raises:
            GoneError: the client went away.
        """
        while not self._ended:
            message = await self._request.receive()
            if message["type"] != "http.request":
                self._ended = True
                raise GoneError
            self._ended = not message.get("more_body", False)
            yield message.get("body", b"")

    async def drain(self) -> None:
        """Read a little of what is left: a client that still sends would miss the answer else.

        One that waits for our word (RFC 9110 §10.1.1) has sent nothing.
        """
        if "expect" in self._request.headers:
            return
        left = _DRAINED
        with suppress(GoneError, TimeoutError):
            async with asyncio.timeout(_DRAIN_TIMEOUT):
                async for piece in self.pieces():
                    left -= len(piece)
                    if left <= 0:
                        return
