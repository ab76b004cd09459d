"""What the control socket needs of the daemon. `app` supplies it; tests supply fakes."""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from typing import Protocol

from tideover.config.directory import DomainFiles
from tideover.config.model import Config
from tideover.message.envelope import QueueId
from tideover.primary.handover_watch import Handover
from tideover.primary.interface import PrimaryState
from tideover.recipients.interface import Directory
from tideover.recipients.report import Explanation, Refreshed, SourceStatus
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

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What they last offered us, as EHLO says it."""
        ...


class Dispatcher(Protocol):
    """The part of outbound that knows the destinations."""

    def way(self, domain: str) -> Destination:
        """How a domain's way home stands, also when it never had mail."""

    async def flush(self, domains: Collection[str] | None) -> int:
        """Try deferred mail of these domains (None: all) now, and probe what is down.

        Returns how many recipients were deferred. Raises SpoolError.
        """

    def notify(self, domain: str) -> None:
        """Mail of this domain is queued again."""

    def set_hold(self, domain: str, hold: DomainHold | None) -> None:
        """Stop or resume a domain. The spool has been told already."""


class RecipientTable(Directory, Protocol):
    """The directory, and what stands in it. Domains are A-labels."""

    def is_ours(self, domain: str) -> bool:
        """Whether we take mail for this domain."""
        ...

    def listing(self, domain: str) -> Iterable[str]:
        """All addresses known in clear for a domain of ours; none for any other."""
        ...

    def sources(self, domain: str | None) -> Sequence[SourceStatus]:
        """How the sources of a domain stand, in its order; None: of all domains."""
        ...

    async def explain(self, address: str) -> Explanation:
        """All that is known of an address. Ends within the sources' timeouts."""
        ...

    async def refresh(
        self, domain: str | None, *, confirm: bool, progress: Callable[[str, int], None]
    ) -> Sequence[Refreshed]:
        """Load the sources of a domain, or all, now. `progress` is told a source and how many
        entries of it were read; `confirm`: a list is taken although it shrank.
        """
        ...

    async def seed(self, domain: str, addresses: Sequence[str]) -> int:
        """Remember addresses to ask the primary of. Returns how many are new."""
        ...


class MxState(Protocol):
    """The MX set of a domain as it was last seen. `hosts` are "10 mail.example.com"; `own` is our
    preference in it, `serial` the zone's, `problem` a word for what is wrong and `alarm` its text.
    Times are Unix seconds.
    """

    @property
    def hosts(self) -> Sequence[str]:
        """All of them, the best first."""
        ...

    @property
    def own(self) -> int | None:
        """Our preference, or None when the set does not name us."""
        ...

    @property
    def serial(self) -> int | None:
        """Of the zone's SOA record."""
        ...

    @property
    def checked_at(self) -> float | None:
        """When DNS was last asked."""
        ...

    @property
    def next_at(self) -> float | None:
        """When it will be asked again."""
        ...

    @property
    def problem(self) -> str | None:
        """A word for what is wrong, or None."""
        ...

    @property
    def alarm(self) -> str | None:
        """What is wrong with the set, or None."""
        ...


class MxChange(Protocol):
    """One change of an MX set; hosts as in `MxState`."""

    @property
    def at(self) -> float:
        """When it was seen, Unix time."""
        ...

    @property
    def before(self) -> Sequence[str]:
        """The hosts until then."""
        ...

    @property
    def after(self) -> Sequence[str]:
        """The hosts since then."""
        ...

    @property
    def serial(self) -> int | None:
        """Of the zone's SOA record."""
        ...


class MxWatch(Protocol):
    """The part of the router that watches MX sets."""

    def watch_state(self, domain: str) -> MxState | None:
        """The set of a domain (A-labels), or None when it is not watched."""
        ...

    async def history(self, domain: str, limit: int) -> Sequence[MxChange]:
        """Its latest changes, newest first."""
        ...


class Handovers(Protocol):
    """What primaries' replies say of how we were handed over to them."""

    def trouble(self, domain: str) -> Handover | None:
        """What is wrong with a domain's (A-labels), or None."""
        ...


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
    def domain_files(self) -> DomainFiles | None:
        """What `domains_dir` held that can't be used; None: there is none."""
        ...

    def domain_list(self) -> SourceStatus | None:
        """How `domains_from` stands; None: it is not set."""
        ...

    @property
    def directory(self) -> RecipientTable | None:
        """The recipients; None where nobody opened them."""
        ...

    @property
    def mx(self) -> MxWatch | None:
        """The MX sets."""
        ...

    @property
    def handover(self) -> Handovers | None:
        """What primaries were not told of us."""
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

    async def refresh_domains(self, *, confirm: bool) -> Refreshed | None:
        """Read `domains_from` now, and use it; None: it is not set. `confirm`: although it lost
        many domains.
        """
        ...

    @property
    def directory(self) -> RecipientTable:
        """The recipients."""
        ...

    @property
    def dispatcher(self) -> Dispatcher:
        """The destinations."""
        ...

    @property
    def spool(self) -> Spool:
        """The queue."""
        ...
