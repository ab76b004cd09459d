"""A daemon without listeners and deliveries, for tests of what the control socket does to it."""

import asyncio
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec import Struct

from tideover.config.model import Config
from tideover.control.server import ControlServer
from tideover.control.service import Service
from tideover.events.records import Event
from tideover.message.envelope import Client, Envelope, NewMessage, QueueId, Recipient, SessionId
from tideover.primary.interface import PrimaryState
from tideover.recipients.interface import Finding, Standing
from tideover.spool.interface import DomainHold, Filter, State
from tideover.spool.memory import MemorySpool


class FakeDestination(Struct, frozen=True, kw_only=True):
    """A destination that stands as it is told."""

    state: PrimaryState = PrimaryState.DOWN
    since: float = 0.0
    reason: str = "connection refused"
    in_flight: int = 0
    hops: tuple[str, ...] = ("127.0.0.1:2526",)


class FakeDispatcher:
    """Notes what it is told in `calls`; flushes in the spool and delivers nothing."""

    def __init__(self, spool: MemorySpool) -> None:
        self.destinations: dict[str, FakeDestination] = {}
        self.calls: list[tuple[object, ...]] = []
        self._spool = spool

    def status(self) -> Mapping[str, FakeDestination]:
        """What the test has put into `destinations`."""
        return self.destinations

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
    """A directory with the local parts that the test puts into `names`, by domain."""

    def __init__(self, names: dict[str, list[str]]) -> None:
        self.names = names

    def lookup(self, local: str, domain: str) -> Finding:
        """LISTED, UNKNOWN or FOREIGN."""
        if domain not in self.names:
            return Finding(standing=Standing.FOREIGN, reason="not a domain of ours")
        listed = local in self.names[domain]
        standing = Standing.LISTED if listed else Standing.UNKNOWN
        return Finding(standing=standing, domain=domain, source="test" if listed else None)

    def listing(self, domain: str) -> Sequence[str]:
        """All addresses, sorted."""
        return sorted(f"{name}@{domain}" for name in self.names.get(domain, ()))


class FakeDaemon:
    """All that a control service needs. `events` is what was emitted."""

    def __init__(self, config: Config, *, started: float | None = 1_000_000.0) -> None:
        self.config = config
        self.started = started
        self.spool = MemorySpool()
        self.dispatcher = FakeDispatcher(self.spool)
        self.directory = FakeRecipients({domain: [] for domain in config.domains})
        self.events: list[Event] = []

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
