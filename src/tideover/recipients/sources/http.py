"""A list of recipients at an URL."""

import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tideover.config.model import Source
from tideover.recipients.sources.download import download, name_of
from tideover.recipients.sources.interface import Load, SourceError
from tideover.recipients.sources.reading import load_from

__all__ = ["HttpLoader", "download", "read_token"]

_MAX_TOKEN: Final = 4096
_NAME: Final = "list-"
_LEFT: Final = 86400.0


class HttpLoader:
    """Downloads into a temporary file in `scratch` (made when missing), then reads that."""

    __slots__ = ("_domain", "_scratch", "_settings", "_url", "_wanted")

    def __init__(
        self,
        source: str,
        settings: Source,
        *,
        wanted: Callable[[str], bool] | None = None,
        domain: str | None = None,
        scratch: Path,
    ) -> None:
        self._url = source
        self._settings = settings
        self._wanted = wanted
        self._domain = domain
        self._scratch = scratch

    async def load(self, version: str | None, progress: Callable[[int], None]) -> Load | None:
        """As `Loader.load`; `version` are the validators of `download`.

        Raises:
            SourceError: it can't be had, or what came can't be used.
        """
        settings = self._settings
        path = await asyncio.to_thread(_temporary, self._scratch)
        try:
            token = None
            if settings.password_file is not None:
                token = await asyncio.to_thread(read_token, settings.password_file)
            new = await download(
                self._url,
                path,
                validators=version,
                max_size=settings.max_size,
                token=token,
                ca_file=settings.ca_file,
            )
            if new is None:
                return None
            return await load_from(
                path.open("rb"),
                name_of(self._url),
                settings,
                wanted=self._wanted,
                domain=self._domain,
                version=new,
                progress=progress,
            )
        finally:
            path.unlink(missing_ok=True)

    async def close(self) -> None:
        """Nothing is kept open between two loads."""


def read_token(path: Path) -> str:
    """The one line of a file with a bearer token. Blocks.

    Raises:
        SourceError: it can't be read, or holds no token. Never holds its content.
    """
    try:
        with open(path, "rb", opener=_nonblocking) as file:
            data = file.read(_MAX_TOKEN + 1)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from None
    token = data.strip().decode("ascii", "replace")
    if not token or len(data) > _MAX_TOKEN or any(not "!" <= sign <= "~" for sign in token):
        raise SourceError(f"{path}: holds no token, one line of printable ASCII")
    return token


def _nonblocking(path: str, flags: int) -> int:
    # so that a FIFO put in the file's place does not stop us
    return os.open(path, flags | os.O_NONBLOCK)


def _temporary(scratch: Path) -> Path:
    try:
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in scratch.glob(_NAME + "*"):  # by a process that died
            if left.stat().st_mtime < time.time() - _LEFT:
                left.unlink(missing_ok=True)
        handle, name = tempfile.mkstemp(prefix=_NAME, dir=scratch)
    except OSError as error:
        raise SourceError(f"{scratch}: {error.strerror or error}") from None
    os.close(handle)
    return Path(name)
