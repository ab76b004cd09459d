"""What all destinations of one dispatcher share. Values and callables only, no decisions."""

import asyncio
import random
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from tideover.config.model import Outbound
from tideover.events.records import EventSink
from tideover.outbound.connection import Connection
from tideover.outbound.ledger import Ledger
from tideover.outbound.settle import Settler, Terms
from tideover.outbound.transport import connect
from tideover.primary.interface import NextHop
from tideover.spool.interface import Spool

PROBES = 256
"""Walks along a route under way at once, in all; more wait for their turn."""


@dataclass(slots=True, kw_only=True)
class Context:
    """Shared by destinations. `configure` changes hostname, settings and terms.

    `notify` says that a domain has queued mail again, `deferred` that a message waits until a time
    (Unix seconds), `spawn` starts a task whose failure ends the dispatcher.
    """

    spool: Spool
    settler: Settler
    ledger: Ledger
    emit: EventSink
    clock: Callable[[], float]
    chance: random.Random
    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
    notify: Callable[[str], None]
    deferred: Callable[[float], None]
    hostname: str
    settings: Outbound
    terms: Terms = field(init=False)
    tls: ssl.SSLContext | None
    probes: asyncio.Semaphore

    def __post_init__(self) -> None:
        self.configure(self.hostname, self.settings)

    def configure(self, hostname: str, settings: Outbound) -> None:
        """Take over new settings."""
        self.hostname = hostname
        self.settings = settings
        self.terms = Terms(
            hostname=hostname,
            first_backoff=settings.first_backoff,
            max_backoff=settings.max_backoff,
            new_id=self.spool.new_id,
        )

    async def connect(self, hop: NextHop) -> Connection:
        """A connection to one hop, ready for mail; raises ConnectionFailed."""
        return await connect(hop, hostname=self.hostname, settings=self.settings, context=self.tls)

    def jitter(self, seconds: float) -> float:
        """Up to a fifth more or less."""
        return seconds * self.chance.uniform(0.8, 1.2)
