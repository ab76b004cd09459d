"""What the control socket needs of the daemon. `app` supplies it; tests supply fakes."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from tideover.config.model import Config
from tideover.primary.interface import PrimaryState
from tideover.recipients.interface import Directory
from tideover.spool.interface import Spool


class DestinationStatus(Struct, frozen=True, kw_only=True):
    """How a domain's destination stands: `since` is Unix time, `in_flight` messages under way."""

    state: PrimaryState
    since: float | None = None
    reason: str = ""
    in_flight: int = 0
    hops: tuple[str, ...] = ()


class Dispatcher(Protocol):
    """The part of outbound that knows the destinations."""

    def status(self) -> Mapping[str, DestinationStatus]:
        """By domain. A domain that is not in it is one whose state nobody asked for yet."""

    def flush(self, domains: Collection[str] | None) -> None:
        """Try these destinations (None: all) now instead of at their next turn."""

    async def holds_changed(self) -> None:
        """The holds on domains were changed in the spool: read them again."""


class RecipientTable(Directory, Protocol):
    """The directory, and what stands in it."""

    def listing(self, domain: str) -> Sequence[str]:
        """All addresses listed for a domain of ours (A-labels), sorted; empty for any other."""


class Daemon(Protocol):
    """All that the verbs work on. Offline, `dispatcher` and `started` are None and the spool is
    open for reading only.
    """

    @property
    def spool(self) -> Spool:
        """The queue."""
        ...

    @property
    def directory(self) -> RecipientTable:
        """The recipients."""
        ...

    @property
    def dispatcher(self) -> Dispatcher | None:
        """The destinations; None offline."""
        ...

    @property
    def config(self) -> Config:
        """The configuration in use."""
        ...

    @property
    def started(self) -> float | None:
        """When the daemon started, Unix time; None offline."""
        ...
