"""Reads a list in a thread, and stops when nobody waits for it any more."""

import asyncio
import threading
from collections.abc import Callable
from typing import IO

from tideover.config.model import Source
from tideover.recipients.formats.reading import read_list
from tideover.recipients.sources.interface import Load, SourceError


async def load_from(
    file: IO[bytes],
    label: str,
    settings: Source,
    *,
    wanted: Callable[[str], bool] | None,
    domain: str | None,
    version: str | None,
    progress: Callable[[int], None],
) -> Load:
    """`formats.reading.read_list` off the event loop; `progress` is called on it. Closes `file`,
    also when cancelled.

    Raises:
        SourceError: it can't be read or used.
    """
    loop = asyncio.get_running_loop()
    stopped = threading.Event()

    def tick(count: int) -> None:
        if stopped.is_set():
            raise SourceError(f"{label}: nobody waits for it any more")
        loop.call_soon_threadsafe(progress, count)

    def read() -> Load:
        with file:
            return read_list(
                file, label, settings, wanted=wanted, domain=domain, version=version, tick=tick
            )

    try:
        return await asyncio.to_thread(read)
    except OSError as error:
        raise SourceError(f"{label}: {error.strerror or error}") from None
    finally:
        stopped.set()
