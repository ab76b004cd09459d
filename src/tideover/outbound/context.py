"""What all destinations of one dispatcher share. Values and callables only, no decisions."""

import asyncio
import random
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
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
    """Shared by destinations. `hostname` and `settings` change on reload.

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
    tls: ssl.SSLContext | None
    probes: asyncio.Semaphore

    async def connect(self, hop: NextHop) -> Connection:
        """A connection to one hop, ready for mail; raises ConnectionFailed."""
        return await connect(hop, hostname=self.hostname, settings=self.settings, context=self.tls)

    def terms(self) -> Terms:
        """The terms of concluding attempts, as of now."""
        return Terms(
            hostname=self.hostname,
            first_backoff=self.settings.first_backoff,
            max_backoff=self.settings.max_backoff,
            new_id=self.spool.new_id,
        )

    def jitter(self, seconds: float) -> float:
        """Up to a fifth more or less."""
        return seconds * self.chance.uniform(0.8, 1.2)
