"""What a source is to the rest: something to load whole, or something to ask for one address.

Neither knows of intervals, retries, last-good copies or safety rules: `recipients.refresh` and
`recipients.asking` add those to every kind alike. Timeouts are added there too, but a source must
be cancellable, and must itself bound what it does in threads.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from msgspec import Struct

from tideover.recipients.interface import Match
from tideover.recipients.listing import Listing


class SourceError(Exception):
    """The source can't be used as it is now. The text is for the operator: one line, and no
    password in it.
    """


class Load(Struct, frozen=True, kw_only=True):
    """What one load brought.

    `lists` by domain (A-labels), `listing.ANY_DOMAIN` for bare local parts. `version` goes to the
    next `load` (an ETag, a serial, a file's signature; opaque). `mistakes` are malformed lines
    that spoiled only themselves: the first few in words, `bad` counts all. `skipped`: entries of
    domains that nobody wanted. `refresh` and `retry` (seconds) stand in for the settings, as a
    feed's header may say; `expires_at` (Unix time) is until when its owner's word holds (a feed:
    created + expire). `copy` is the file that becomes the last good copy, when the source keeps
    its own.
    """

    lists: Mapping[str, Listing]
    version: str | None = None
    mistakes: tuple[str, ...] = ()
    bad: int = 0
    skipped: int = 0
    refresh: float | None = None
    retry: float | None = None
    expires_at: float | None = None
    copy: Path | None = None


class Loader(Protocol):
    """A source that is loaded whole."""

    async def load(self, version: str | None, progress: Callable[[int], None]) -> Load | None:
        """Read it all; None: nothing has changed since `version`. `progress` is told the number of
        entries read so far, now and then. Must not block the event loop.

        Raises:
            SourceError: it can't be read, or what was read can't be used.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@runtime_checkable
class KeepsOwnCopy(Protocol):
    """A loader that keeps its last good copy itself: a feed, which is one file and signed."""

    async def restore(self) -> Load | None:
        """The last good copy, checked as if it came now.

        Raises:
            SourceError: it is damaged.
        """
        ...

    async def keep(self, load: Load) -> None:
        """What was loaded is taken into use: make it the last good copy, durably.

        Raises:
            SourceError: it can't be written.
        """
        ...


class Asker(Protocol):
    """A source that is asked for one address at a time."""

    async def ask(self, domain: str, names: Sequence[str]) -> Match | None:
        """What it knows of an address: `names` are the local part (`names.local_key`) as it
        stands, then without its detail. The first that is known counts. None: neither exists.

        Raises:
            SourceError: it can't say now.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
