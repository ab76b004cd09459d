"""What stands between clients and primaries that are up, put together: the third file that knows
several packages.

The gate of the inbound side with what it asks: how primaries stand, the way through to them, and
who evidently can't reach them. The trap, which marks clients by what is known of primaries.
"""

import asyncio
import ssl
from collections.abc import Iterable
from contextlib import AsyncExitStack
from time import time
from typing import Final

from tideover.agent.asker import Asker
from tideover.agent.protocol import Verdict
from tideover.config.model import Config
from tideover.dns.client_names import LookUp
from tideover.dns.names import Names
from tideover.events.event import EventSink
from tideover.inbound.house import House
from tideover.inbound.posture import Gate
from tideover.message.envelope import Recipient
from tideover.outbound.relay import LiveRelay
from tideover.policy.cut_off import CutOffs
from tideover.policy.memory import Memory
from tideover.primary.healths import Healths
from tideover.primary.router import ConfigRouter
from tideover.smtp.capabilities import Capabilities

FEW: Final = 1000
"""Domains up to which EHLO says no more than what their primaries take; it is one for all."""

_OFFER_EVERY: Final = 1.0


class Doorway:
    """`open` it, give `run` to a task."""

    def __init__(
        self,
        config: Config,
        router: ConfigRouter,
        healths: Healths,
        memory: Memory,
        *,
        names: Names,
        look_up: LookUp,
        tls: ssl.SSLContext | None,
        emit: EventSink,
    ) -> None:
        self._config = config
        self._router = router
        self._healths = healths
        self._cut_offs = CutOffs(memory, config, names)
        self._asker = Asker(config, names, emit)
        self._relay = LiveRelay(
            router,
            healths,
            hostname=config.hostname,
            outbound=config.outbound,
            settings=config.pass_through,
            tls=tls,
            look_up=look_up,
        )
        self.gate = Gate(healths, self._relay, self._cut_off)

    @classmethod
    async def open(
        cls,
        config: Config,
        router: ConfigRouter,
        healths: Healths,
        memory: Memory,
        *,
        names: Names,
        look_up: LookUp,
        tls: ssl.SSLContext | None,
        emit: EventSink,
        stack: AsyncExitStack,
    ) -> "Doorway":
        """Open all parts; `stack` closes them again."""
        doorway = cls(
            config, router, healths, memory, names=names, look_up=look_up, tls=tls, emit=emit
        )
        stack.push_async_callback(doorway._relay.close)
        stack.push_async_callback(doorway._asker.close)
        return doorway

    async def run(self, house: House) -> None:
        """Keep what we announce in line with what primaries take, until cancelled."""
        while True:
            house.offer(self._offers())
            await asyncio.sleep(_OFFER_EVERY)

    def reconfigure(self, config: Config) -> None:
        """Use another configuration, after the router and the healths do."""
        self._config = config
        self._cut_offs.reconfigure(config)
        self._asker.reconfigure(config)
        self._relay.reconfigure(
            router=self._router,
            hostname=config.hostname,
            outbound=config.outbound,
            settings=config.pass_through,
        )

    def _offers(self) -> Iterable[Capabilities | None]:
        """What the primary of each domain takes. Of very many nobody asks it at EHLO."""
        if len(self._config.domains) > FEW:
            return ()
        return [self._healths.standing(name).capabilities for name in self._config.domains]

    async def _cut_off(self, client: str, sender: str, recipient: Recipient) -> str | None:
        """As `posture.CutOff`: by the time rule, which seldom asks anybody, then by the primary's
        agent.
        """
        now = time()
        reason = self._cut_offs.deferred(client, sender, recipient, now)
        if reason is None:
            reason = await self._cut_offs.of_a_pool(client, sender, recipient, now)
        if reason is not None:
            return reason
        answer = await self._asker.reach(recipient.domain, client)
        if answer is None or answer.verdict is not Verdict.UNREACHABLE:
            return None
        return f"the primary's agent can't reach it: {answer.reason}"
