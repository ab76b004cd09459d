"""A copy of a message on its way in, for those who look at it when it is complete.

Small ones stay in memory as the pieces that came. When one grows beyond `KEEP`, or all together
beyond `KEEP_ALL`, it goes to an unnamed file on disk, which the system deletes with the process.
Of the files that the process may have open, they take their share at most.
"""

import asyncio
import errno
import os
import resource
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Final

PIECE: Final = 256 * 1024
KEEP: Final = 1024 * 1024
KEEP_ALL: Final = 64 * 1024 * 1024
_MOST_PIECES: Final = 256


def share_of_files(files: int) -> int:
    """How many of so many open files may be copies; the others are for clients and the rest."""
    return max(1, files // 4)


class Copies:
    """What all copies share: where files go, and how much is kept in memory."""

    __slots__ = ("directory", "files", "in_memory", "most_files")

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.in_memory = 0
        self.files = 0
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        unlimited = files == resource.RLIM_INFINITY
        self.most_files = share_of_files(sys.maxsize if unlimited else files)

    def new(self) -> "BodyCopy":
        """A copy of a message that begins."""
        return BodyCopy(self)

    def new_file(self) -> IO[bytes]:
        """An unnamed file for one that has grown large.

        Raises:
            OSError: it can't be made, or there are too many of them.
        """
        if self.files >= self.most_files:
            raise OSError(errno.EMFILE, "too many large messages at once")
        file = tempfile.TemporaryFile(dir=self.directory)  # noqa: SIM115
        self.files += 1
        return file

    def wrote(self, size: int, _: "asyncio.Future[None]") -> None:
        """So much is in a file now, and no longer in memory."""
        self.in_memory -= size


class BodyCopy:
    """One copy; as `message.body.Body`. `close` it when it is of no more use."""

    __slots__ = ("_copies", "_file", "_pieces", "size")

    def __init__(self, copies: Copies) -> None:
        self._copies = copies
        self._pieces: list[bytes] = []
        self._file: IO[bytes] | None = None
        self.size = 0

    @property
    def whole(self) -> Sequence[bytes] | None:
        """As `Body.whole`."""
        return self._pieces if self._file is None else None

    def write(self, piece: bytes) -> "asyncio.Future[None] | None":
        """Add a piece; await what is returned before the next one.

        Raises:
            OSError: from the awaitable; the copy is of no use then.
        """
        self.size += len(piece)
        if self._file is not None:
            return self._to_file(self._file, piece)
        self._pieces.append(piece)
        if len(self._pieces) > _MOST_PIECES:  # a client that sends octet by octet
            self._pieces = [b"".join(self._pieces)]
        self._copies.in_memory += len(piece)
        if self.size <= KEEP and self._copies.in_memory <= KEEP_ALL:
            return None
        return self._spill()

    async def read(self) -> AsyncIterator[bytes]:
        """As `Body.read`. One reader at a time does not disturb another."""
        if self._file is None:
            for piece in list(self._pieces):
                yield piece
            return
        at = 0
        while at < self.size:
            piece = await asyncio.to_thread(_read_at, self._file, at)
            if not piece:
                raise OSError("the copy of a message is shorter than it was")
            at += len(piece)
            yield piece

    def close(self) -> None:
        """Let go of it. May be called more than once."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._copies.files -= 1
            self.size = 0
        else:
            self._copies.in_memory -= sum(map(len, self._pieces))
            self._pieces = []

    def _spill(self) -> "asyncio.Future[None]":
        pieces, self._pieces = self._pieces, []
        # one that can't be made is told as any failed write is
        try:
            self._file = self._copies.new_file()
        except OSError as error:
            self._copies.in_memory -= self.size
            failed = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed
        written = self._to_file(self._file, *pieces)
        # until then it is in memory still: on a slow disk that may be most of it
        written.add_done_callback(partial(self._copies.wrote, self.size))
        return written

    def _to_file(self, file: IO[bytes], *pieces: bytes) -> "asyncio.Future[None]":
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(None, _append, file, pieces)


def _append(file: IO[bytes], pieces: Sequence[bytes]) -> None:
    file.writelines(pieces)
    file.flush()


def _read_at(file: IO[bytes], at: int) -> bytes:
    return os.pread(file.fileno(), PIECE, at)
