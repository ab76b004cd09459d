"""A body on its way to the disk: bounded in size and time, and never filling the disk.

The files lie in a directory of their own in data_dir; those of a process that died are removed at
the next start.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, Final

DIRECTORY: Final = "pushes"
PIECE_TIMEOUT: Final = 20.0
"""Seconds to wait for the next piece of a body."""
BODY_TIMEOUT: Final = 1800.0
"""Seconds for a whole body."""
_BUFFER: Final = 1 << 20


class TooLargeError(Exception):
    """The body is larger than allowed."""


class NoSpaceError(Exception):
    """The disk is too full to take it."""


class Uploads:
    """Takes bodies in. `data_dir` must exist."""

    def __init__(self, data_dir: Path) -> None:
        self._directory = data_dir / DIRECTORY

    def clean(self) -> None:
        """Make the directory, and remove what a process that died has left in it. Blocks.

        Raises:
            OSError: it can't be made.
        """
        self._directory.mkdir(mode=0o700, exist_ok=True)
        for left in self._directory.glob("*.part"):
            with suppress(OSError):
                left.unlink()

    @asynccontextmanager
    async def take(
        self, pieces: AsyncIterator[bytes], *, max_size: int, keep_free: int
    ) -> AsyncIterator[Path]:
        """The body as a file, which is gone afterwards. Sizes in octets.

        Raises:
            TooLargeError: it is larger than `max_size`.
            NoSpaceError: less than `keep_free` would be left on the disk.
            TimeoutError: it came too slowly.
            OSError: it can't be written.
        """
        path = self._directory / f"{token_hex(12)}.part"
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                await self._write(path, pieces, max_size, keep_free)
            yield path
        finally:
            path.unlink(missing_ok=True)

    async def _write(
        self, path: Path, pieces: AsyncIterator[bytes], max_size: int, keep_free: int
    ) -> None:
        size = 0
        buffer = bytearray()
        with await asyncio.to_thread(_open, path) as file:
            while (piece := await _next(pieces)) is not None:
                size += len(piece)
                if size > max_size:
                    raise TooLargeError
                buffer += piece
                if len(buffer) >= _BUFFER:
                    await asyncio.to_thread(_append, file, bytes(buffer), keep_free)
                    buffer.clear()
            await asyncio.to_thread(_append, file, bytes(buffer), keep_free)


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    async with asyncio.timeout(PIECE_TIMEOUT):
        return await anext(pieces, None)


def _open(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return open(descriptor, "wb", buffering=0)


def _append(file: BinaryIO, data: bytes, keep_free: int) -> None:
    found = os.fstatvfs(file.fileno())
    if found.f_bavail * found.f_frsize < keep_free + len(data):
        raise NoSpaceError
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
