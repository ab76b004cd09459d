"""A file as a source of recipients.

Invariants
    A file is not read while it is being written: it must not have been touched for a second, or its
    stat must have been the same at two looks, and in any case before and after reading. Only the
    very first look reads at once.
    A file in trouble is not read again until it changes; until then it is in the same trouble.

There may be 100,000 of these: each holds a few references. `look` blocks, for as long as the file
system does.
"""

import asyncio
import os
import time
from collections.abc import Callable
from stat import S_ISREG
from typing import Final

from tideover.config.model import Source
from tideover.config.values import source_rest, write_size
from tideover.recipients.formats.reading import read_list
from tideover.recipients.sources.interface import Load, SourceError

SETTLED: Final = 1.0
"""Seconds without a change after which nobody is writing any more."""


class FileLoader:
    """One file. `domain`: whose bare local parts are; it stands for "{domain}" in the path, too.
    `only`: no other domain's recipients are wanted.
    """

    __slots__ = (
        "_domain",
        "_only",
        "_seen",
        "_settings",
        "_source",
        "_spoiled",
        "_trouble",
        "_wanted",
    )

    def __init__(
        self,
        source: str,
        settings: Source,
        *,
        wanted: Callable[[str], bool] | None = None,
        domain: str | None = None,
        only: bool = False,
    ) -> None:
        self._source = source
        self._settings = settings
        self._wanted = wanted
        self._domain = domain
        self._only = only
        self._seen: str | None = None  # signature at the last look
        self._spoiled: str | None = None  # signature of the content that was refused
        self._trouble: str | None = None

    async def load(self, version: str | None, progress: Callable[[int], None]) -> Load | None:
        """As `Loader.load`, by `look` in a thread.

        Raises:
            SourceError: it can't be read or used.
        """
        load = await asyncio.to_thread(self.look, version)
        if load is not None:
            progress(sum(map(len, load.lists.values())))
        return load

    async def close(self) -> None:
        """Nothing is kept open."""

    def look(self, version: str | None) -> Load | None:
        """Read it, unless it is what it was at `version` or is being written: then None.

        Raises:
            SourceError: it can't be read or used; also while a file in trouble is being written.
        """
        path = source_rest(self._source.replace("{domain}", self._domain or "{domain}"))
        try:
            return self._look(path, version)
        except SourceError as error:
            self._trouble = str(error)
            raise
        except OSError as error:
            self._seen = self._spoiled = None
            self._trouble = f"{path}: {error.strerror or error}"
            raise SourceError(self._trouble) from None

    def is_unsettled(self, version: str | None) -> bool:
        """Whether the last look found something else than `version`, and left it for the next."""
        return self._seen not in (None, version, self._spoiled)

    def _look(self, path: str, version: str | None) -> Load | None:
        stat = os.stat(path)
        now = _signature(stat)
        if now == version:
            self._seen, self._trouble = version, None
            return None
        is_first = self._seen is None and self._trouble is None
        is_settled = is_first or now == self._seen or stat.st_mtime <= time.time() - SETTLED
        self._seen = now
        if is_settled and (self._trouble is None or now != self._spoiled):
            load = self._read(path)
            self._seen, self._trouble = load.version, None
            return load
        if self._trouble is not None:
            raise SourceError(self._trouble)
        return None

    def _read(self, path: str) -> Load:
        max_size = self._settings.max_size
        self._spoiled = None
        with open(path, "rb", opener=_nonblocking) as file:
            stat = os.fstat(file.fileno())
            before = self._spoiled = _signature(stat)
            if not S_ISREG(stat.st_mode):
                raise SourceError(f"{path}: not a regular file")
            if stat.st_size > max_size:
                raise SourceError(f"{path}: larger than max_size, {write_size(max_size)}")
            load = read_list(
                file,
                path,
                self._settings,
                wanted=self._domain.__eq__ if self._only and self._domain else self._wanted,
                domain=self._domain,
                version=before,
            )
            if _signature(os.fstat(file.fileno())) != before or file.tell() != stat.st_size:
                raise SourceError(f"{path}: changed while it was read")
        return load


def _signature(stat: os.stat_result) -> str:
    """What tells one content of a file from the next without reading it."""
    return f"{stat.st_mtime_ns}-{stat.st_size}-{stat.st_ino}-{stat.st_dev}"


def _nonblocking(path: str, flags: int) -> int:
    # so that a FIFO put in the file's place does not stop us
    return os.open(path, flags | os.O_NONBLOCK)
