"""What outlives a configuration (memory, DNS answers), and chains of checks made from it."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from time import monotonic, time
from typing import Final

from tideover.config.model import Config
from tideover.dns.cache import CachedNames
from tideover.dns.resolver import DnsResolver
from tideover.events.event import EventSink
from tideover.policy.body import Copies
from tideover.policy.catalogue import entries
from tideover.policy.chain import Chain
from tideover.policy.memory import NAME, Memory
from tideover.policy.services import Services

_LOOK_UPS: Final = 200
"""DNS look-ups at once. Routing has a resolver of its own, which slow DNS lists can't hold up."""

_PATIENCE: Final = 1.0
"""Seconds that a look-up may wait for its turn; then DNS counts as unavailable."""


class ChainMaker:
    """Made by `open`; called with a configuration it gives the chain for it. `memory` stays."""

    def __init__(
        self, config: Config, memory: Memory, is_ours: Callable[[str], bool], emit: EventSink
    ) -> None:
        self.memory = memory
        self._is_ours = is_ours
        self._emit = emit
        self._resolver = DnsResolver(config.dns, at_once=_LOOK_UPS, patience=_PATIENCE)
        self.names = CachedNames(self._resolver, clock=monotonic)
        self._copies = Copies(config.data_dir)

    @classmethod
    async def open(
        cls, config: Config, is_ours: Callable[[str], bool], emit: EventSink, stack: AsyncExitStack
    ) -> "ChainMaker":
        """Read what is remembered; `stack` closes it again."""
        memory = await Memory.open(config.data_dir / NAME, emit)
        stack.push_async_callback(memory.close)
        maker = cls(config, memory, is_ours, emit)
        stack.push_async_callback(maker.names.close)
        return maker

    def __call__(self, config: Config) -> Chain:
        """The chain of a configuration."""
        self._resolver.reconfigure(config.dns)
        services = Services(
            config=config,
            names=self.names,
            memory=self.memory,
            is_ours=self._is_ours,
            emit=self._emit,
        )
        return Chain(services, entries(services), self._copies, time)
