"""What the control socket needs of the daemon. `app` supplies it; tests supply fakes."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Protocol

from tideover.config.model import Config
from tideover.message.envelope import QueueId
from tideover.primary.interface import PrimaryState
from tideover.recipients.interface import Directory
from tideover.spool.interface import DomainCount, DomainHold, Filter, Spool, StoredMessage


class Destination(Protocol):
    """How a domain's way home stands: `since` is Unix time, `in_flight` messages under way."""

    @property
    def state(self) -> PrimaryState:
        """Up, down and so on."""
        ...

    @property
    def since(self) -> float:
        """Since when."""
        ...

    @property
    def reason(self) -> str:
        """Why, for the operator."""
        ...

    @property
    def in_flight(self) -> int:
        """Messages that are being sent now."""
        ...

    @property
    def hops(self) -> tuple[str, ...]:
        """The hosts, in the order in which they are tried."""
        ...


class Dispatcher(Protocol):
    """The part of outbound that knows the destinations."""

    def status(self) -> Mapping[str, Destination]:
        """By domain. A domain that is not in it is one that had no mail since the start."""

    async def flush(self, domains: Collection[str] | None) -> int:
        """Try deferred mail of these domains (None: all) now, and probe what is down.

        Returns how many recipients were deferred. Raises SpoolError.
        """

    def notify(self, domain: str) -> None:
        """Mail of this domain is queued again."""

    def set_hold(self, domain: str, hold: DomainHold | None) -> None:
        """Stop or resume a domain. The spool has been told already."""


class RecipientTable(Directory, Protocol):
    """The directory, and what stands in it."""

    def listing(self, domain: str) -> Sequence[str]:
        """All addresses listed for a domain of ours (A-labels), sorted; empty for any other."""


class Queue(Protocol):
    """The part of a spool that reading needs; see `tideover.spool.interface.Spool`."""

    async def counts(self) -> Sequence[DomainCount]:
        """What lies here, a row a domain."""
        ...

    async def domain_holds(self) -> Sequence[DomainHold]:
        """All held domains."""
        ...

    async def show(self, queue_id: QueueId) -> StoredMessage | None:
        """One message, or None."""
        ...

    async def select(
        self, wanted: Filter, *, after: QueueId | None = None, limit: int = 1000
    ) -> Sequence[StoredMessage]:
        """Messages in arrival order, a page at a time."""
        ...

    def read(self, queue_id: QueueId) -> AsyncIterator[bytes]:
        """The body. Raises MessageDamaged, KeyError."""
        ...


class House(Protocol):
    """What the reading verbs look at: a running daemon, or the files of one that does not run
    (then `dispatcher` and `started` are None).
    """

    @property
    def config(self) -> Config:
        """The configuration in use."""
        ...

    @property
    def started(self) -> float | None:
        """When the daemon started, Unix time."""
        ...

    @property
    def directory(self) -> RecipientTable:
        """The recipients."""
        ...

    @property
    def dispatcher(self) -> Dispatcher | None:
        """The destinations."""
        ...

    @property
    def spool(self) -> Queue:
        """The queue."""
        ...


class Daemon(House, Protocol):
    """A running daemon, which the acting verbs need."""

    @property
    def dispatcher(self) -> Dispatcher:
        """The destinations."""
        ...

    @property
    def spool(self) -> Spool:
        """The queue."""
        ...
