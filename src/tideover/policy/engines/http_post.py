"""One HTTP request to an engine, and its whole answer (RFC 9112).

rspamd ends the connection with its answer, so there is none to keep; what is asked for is an answer
of HTTP/1.0, which can't be chunked. A general library takes five times the processor time.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import Final
from urllib.parse import urlsplit

from tideover.policy.engines.inquiry import EngineError

LONGEST: Final = 1024 * 1024
"""Octets of an answer's content."""

_HEAD: Final = 64 * 1024
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: [^\r\n]*)?")
_LENGTH: Final = re.compile(rb"[0-9]{1,9}")
_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")

Headers = Sequence[tuple[str, str]]


class HttpPlace:
    """Where requests go: an http or https URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if secure else 80)
        self._context = ssl.create_default_context() if secure else None
        self._path = parts.path or "/"
        self._netloc = parts.netloc.rpartition("@")[2]

    async def post(self, headers: Headers, content: AsyncIterator[bytes]) -> bytes:
        """The content of the answer to a POST. Has no time limit of its own.

        `headers` must tell the Content-Length. Whatever a client chose can't end a line in them.

        Raises:
            OSError: no connection, or it broke.
            EngineError: the answer is none, is not 200, or is too long.
        """
        reader, writer = await asyncio.open_connection(
            self._host, self._port, ssl=self._context, limit=_HEAD
        )
        try:
            writer.write(self._head(headers))
            async for piece in content:
                writer.write(piece)
                await writer.drain()
            return await _answer(reader)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            raise EngineError("its answer is not whole") from None
        finally:
            writer.transport.abort()

    def _head(self, headers: Headers) -> bytes:
        lines = [f"POST {self._path} HTTP/1.0".encode(), f"Host: {self._netloc}".encode()]
        lines += [name.encode() + b": " + _value(value) for name, value in headers]
        return b"\r\n".join(lines) + b"\r\n\r\n"


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    status, *lines = head[:-4].split(b"\r\n")
    said = _STATUS.fullmatch(status)
    if said is None:
        raise EngineError("its answer is not HTTP")
    if said[1] != b"200":
        raise EngineError(f"answers HTTP {int(said[1])}")
    fields = {name.lower(): value.strip()
              for name, _, value in (line.partition(b":") for line in lines)}  # fmt: skip
    length = fields.get(b"content-length", b"")
    if b"transfer-encoding" in fields or not _LENGTH.fullmatch(length):
        raise EngineError("its answer has no length")
    if int(length) > LONGEST:
        raise EngineError("its answer is too long")
    return await reader.readexactly(int(length))


def _value(text: str) -> bytes:
    return _CONTROL.sub(b"?", text.encode("utf-8", "replace")).strip()
