"""A daemon without listeners and deliveries, for tests of what the control socket does to it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec import Struct

from tideover.config.directory import DomainFiles
from tideover.config.model import Config
from tideover.control.protocol import MxChangeInfo, MxInfo
from tideover.control.server import ControlServer
from tideover.control.service import Service
from tideover.events.event import Event
from tideover.message.envelope import Client, Envelope, NewMessage, QueueId, Recipient, SessionId
from tideover.primary.handover_watch import Handover
from tideover.primary.interface import PrimaryState
from tideover.recipients.interface import Confidence, Finding, Verdict
from tideover.recipients.report import Explanation, Refreshed, SourceSays, SourceStatus
from tideover.spool.interface import DomainHold, Filter, State
from tideover.spool.memory import MemorySpool


class FakeDestination(Struct, frozen=True, kw_only=True):
    """A destination that stands as it is told."""

    state: PrimaryState = PrimaryState.DOWN
    since: float = 0.0
    reason: str = "connection refused"
    in_flight: int = 0
    hops: tuple[str, ...] = ("127.0.0.1:2526",)
    capabilities: tuple[str, ...] = ()


_NO_WAY = FakeDestination(state=PrimaryState.UNKNOWN, reason="no route yet", hops=())


class FakeDispatcher:
    """Notes what it is told in `calls`; flushes in the spool and delivers nothing."""

    def __init__(self, spool: MemorySpool) -> None:
        self.destinations: dict[str, FakeDestination] = {}
        self.calls: list[tuple[object, ...]] = []
        self._spool = spool

    def way(self, domain: str) -> FakeDestination:
        """What the test has put into `destinations`."""
        return self.destinations.get(domain, _NO_WAY)

    async def flush(self, domains: Collection[str] | None) -> int:
        """Release what is deferred."""
        self.calls.append(("flush", None if domains is None else sorted(domains)))
        released = 0
        for domain in domains if domains is not None else (None,):
            wanted = Filter(domain=domain, states=(State.DEFERRED,))
            released += await self._spool.release(wanted, now=0.0)
        return released

    def notify(self, domain: str) -> None:
        """Note it."""
        self.calls.append(("notify", domain))

    def set_hold(self, domain: str, hold: DomainHold | None) -> None:
        """Note it."""
        self.calls.append(("hold" if hold else "unhold", domain))


class FakeRecipients:
    """A directory with the local parts that the test puts into `names`, by domain.

    Other sources, what a refresh does and what was seeded are the test's: `statuses`, `refreshed`,
    `seeded`. A local part "asked" can be known only while the primary is up.
    """

    def __init__(self, names: dict[str, list[str]]) -> None:
        self.names = names
        self.statuses: list[SourceStatus] = []
        self.refreshed: list[Refreshed] = []
        self.refresh_lasts = 0.0
        self.seeded: list[str] = []
        self.calls: list[tuple[object, ...]] = []

    def lookup(self, local: str, domain: str) -> Finding | Awaitable[Finding]:
        """ACCEPT, REJECT, FOREIGN; for "asked" an awaitable."""
        if domain not in self.names:
            return Finding(verdict=Verdict.FOREIGN, reason="not a domain of ours")
        if local == "asked":
            return self._asked(domain)
        if local not in self.names[domain]:
            return Finding(verdict=Verdict.REJECT, domain=domain, reason="no source names it")
        return Finding(
            verdict=Verdict.ACCEPT, confidence=Confidence.LISTED, domain=domain, source="test"
        )

    def trap(self, local: str, domain: str) -> Finding | None:
        """There are none."""
        del local, domain
        return None

    async def _asked(self, domain: str) -> Finding:
        return Finding(
            verdict=Verdict.ACCEPT, confidence=Confidence.LEARNED, domain=domain, source="callout"
        )

    async def explain(self, address: str) -> Explanation:
        """The finding, and one source that says it."""
        local, _, domain = address.rpartition("@")
        looked = self.lookup(local, domain)
        found = looked if isinstance(looked, Finding) else await looked
        down = found
        if not isinstance(looked, Finding):
            down = Finding(verdict=Verdict.DEFER, domain=domain, reason="the primary is down")
        says = SourceSays(
            source=found.source or "test",
            confidence=found.confidence,
            matched=local if found.source else None,
            silence=None if found.source else "no-such",
            loaded_at=1_000_000.0,
        )
        return Explanation(
            address=address,
            primary_up=found,
            primary_down=down,
            sources=(says,) if found.domain else (),
        )

    def is_ours(self, domain: str) -> bool:
        """Whether it is in `names`."""
        return domain in self.names

    def sources(self, domain: str | None) -> Sequence[SourceStatus]:
        """Those of `statuses` that belong to the domain."""
        return [status for status in self.statuses if domain in (None, status.domain)]

    def listing(self, domain: str) -> Sequence[str]:
        """All addresses, sorted."""
        return sorted(f"{name}@{domain}" for name in self.names.get(domain, ()))

    async def refresh(
        self, domain: str | None, *, confirm: bool, progress: Callable[[str, int], None]
    ) -> Sequence[Refreshed]:
        """Lasts `refresh_lasts` seconds; then it is `refreshed`."""
        self.calls.append(("refresh", domain, confirm))
        progress("test", 1000)
        await asyncio.sleep(self.refresh_lasts)
        return self.refreshed

    async def seed(self, domain: str, addresses: Sequence[str]) -> int:
        """Put them into `seeded`."""
        fresh = [address for address in addresses if address not in self.seeded]
        self.seeded += fresh
        return len(fresh)


class FakeMxWatch:
    """MX sets and their changes as the test puts them into `states` and `changes`, by domain."""

    def __init__(self) -> None:
        self.states: dict[str, MxInfo] = {}
        self.changes: dict[str, list[MxChangeInfo]] = {}

    def watch_state(self, domain: str) -> MxInfo | None:
        """What is in `states`."""
        return self.states.get(domain)

    async def history(self, domain: str, limit: int) -> Sequence[MxChangeInfo]:
        """The first of `changes`."""
        return self.changes.get(domain, [])[:limit]


class FakeHandovers:
    """What tests put into `troubles`, by domain."""

    def __init__(self) -> None:
        self.troubles: dict[str, Handover] = {}

    def trouble(self, domain: str) -> Handover | None:
        """What is in `troubles`."""
        return self.troubles.get(domain)


class FakeDaemon:
    """All that a control service needs. `events` is what was emitted."""

    def __init__(self, config: Config, *, started: float | None = 1_000_000.0) -> None:
        self.config = config
        self.started = started
        self.spool = MemorySpool()
        self.dispatcher = FakeDispatcher(self.spool)
        self.directory = FakeRecipients({domain: [] for domain in config.domains})
        self.mx = FakeMxWatch()
        self.handover = FakeHandovers()
        self.domain_files: DomainFiles | None = None
        self.listed: SourceStatus | None = None
        self.events: list[Event] = []

    def domain_list(self) -> SourceStatus | None:
        """What the test has put into `listed`."""
        return self.listed

    async def refresh_domains(self, *, confirm: bool) -> Refreshed | None:
        """Refused unless it is confirmed."""
        if self.listed is None:
            return None
        return Refreshed(
            domain="", source=self.listed.source, entries=7, changed=confirm,
            refused=None if confirm else "3 of 10 domains are gone",
        )  # fmt: skip

    def queue(
        self,
        *recipients: str,
        sender: str = "sender@example.net",
        body: bytes = b"Subject: test\r\n\r\nHello\r\n",
        received_at: float = 1_000_000.0,
    ) -> QueueId:
        """Put a message into the spool. Returns its id."""
        queue_id = self.spool.new_id(received_at)
        rcpts = tuple(
            Recipient(address=text, domain=text.rpartition("@")[2]) for text in recipients
        )
        client = Client(
            session=SessionId("s1"), address="192.0.2.1", port=4711, helo="client.example.net",
            protocol="ESMTP",
        )  # fmt: skip
        message = NewMessage(
            queue_id=queue_id,
            received_at=received_at,
            envelope=Envelope(sender=sender, recipients=rcpts),
            client=client,
            trace=b"Received: from client.example.net\r\n",
        )
        self.spool.store(message, body)
        return queue_id


class ServedDaemon:
    """A `FakeDaemon` whose control socket is served from a thread while this is entered."""

    def __init__(self, daemon: FakeDaemon, data_dir: Path) -> None:
        self._daemon = daemon
        self._data_dir = data_dir
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: ControlServer | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        service = Service(self._daemon, self._daemon.events.append)
        self._server = ControlServer(self._data_dir, service)
        asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            asyncio.run_coroutine_threadsafe(self._server.close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
