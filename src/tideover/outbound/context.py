"""What all destinations of one dispatcher share. Values and callables only, no decisions."""

import asyncio
import math
import random
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from tideover.config.model import Outbound
from tideover.dns.client_names import LookUp
from tideover.events.event import EventSink
from tideover.outbound.connection import Connection
from tideover.outbound.ledger import Ledger
from tideover.outbound.settle import Settler, Terms
from tideover.outbound.transport import connect
from tideover.primary.healths import Healths
from tideover.primary.interface import NextHop
from tideover.spool.interface import Spool

PROBES = 512
"""Walks along a route under way at once, in all; more wait for their turn."""

PROBE_RATE = 200.0
"""Probes begun a second, in all; with more destinations to probe than that each has its turn later,
so that an outage of all of them (our own network's, say) does not take up the machine."""

CROWD = 100
"""Destinations being probed, beyond which hosts that don't answer are given up after `HASTE`: else
they would take up all `PROBES`, and mail for a host that is well would wait behind them."""

HASTE = 2.0
"""Seconds for a connection to open while many destinations are probed."""


@dataclass(slots=True, kw_only=True)
class Context:
    """Shared by destinations. `configure` changes hostname, settings and terms.

    `notify` says that a domain has queued mail again, `deferred` that a message waits until a time
    (Unix seconds), `is_ours` tells our domains from those that our reports go to, `spawn` starts a
    task whose failure ends the dispatcher.
    """

    spool: Spool
    healths: Healths
    settler: Settler
    ledger: Ledger
    emit: EventSink
    clock: Callable[[], float]
    chance: random.Random
    is_ours: Callable[[str], bool]
    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
    notify: Callable[[str], None]
    deferred: Callable[[float], None]
    hostname: str
    settings: Outbound
    terms: Terms = field(init=False)
    tls: ssl.SSLContext | None
    probes: asyncio.Semaphore
    look_up: LookUp | None = None  # what DNS calls a client, for hops that want to hear of it
    probing: int = 0  # destinations that are not reached just now

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
        return await connect(
            hop,
            hostname=self.hostname,
            settings=self.settings,
            context=self.tls,
            patience=HASTE if self.probing > CROWD else math.inf,
        )

    def until_next_probe(self) -> float:
        """Seconds until a destination that is not reached is probed again."""
        return self.jitter(max(self.settings.probe_interval, self.probing / PROBE_RATE))

    def until_stranger_is_tried(self, times: int) -> float:
        """Seconds until a host is tried again that only reports wait for, after so many failures.
        Nobody's outage is it that we end: it is given the time that one message would be.
        """
        settings = self.settings
        return self.jitter(
            min(settings.first_backoff * 2.0 ** min(times, 30), settings.max_backoff)
        )

    def jitter(self, seconds: float) -> float:
        """Up to a fifth more or less."""
        return seconds * self.chance.uniform(0.8, 1.2)
