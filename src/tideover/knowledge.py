"""What is known of recipients, put together: the second file that knows several packages.

The directory with its sources; the memory of addresses; callouts, which ask the primaries; and
learning, which listens to what deliveries tell.
"""

import asyncio
import ssl
from collections.abc import Callable, Collection, Sequence
from contextlib import AsyncExitStack
from time import time
from typing import Final

from tideover.config.model import Config, Source
from tideover.config.values import source_kind
from tideover.events.event import EventSink
from tideover.events.stream import EventStream
from tideover.outbound.callout import Callouts
from tideover.primary.interface import Router
from tideover.primary.standing import Evidence
from tideover.recipients.directory import DirectoryTable, Primaries
from tideover.recipients.facts import GOOD_FOR, Facts
from tideover.recipients.feed.slow import SlowHash
from tideover.recipients.sources.callout import SOURCE as CALLOUT
from tideover.recipients.sources.callout import CalloutAsker
from tideover.recipients.sources.callout_keeper import CalloutKeeper
from tideover.recipients.sources.learn import LearnAsker, Learning
from tideover.recipients.sources.opening import Surroundings

ADDRESSES: Final = "addresses.sqlite"
"""The memory's name in the data directory."""


class Knowledge:
    """`open` it, give `run` to a task. The directory answers; the rest serves it."""

    def __init__(
        self,
        config: Config,
        facts: Facts,
        callouts: Callouts,
        *,
        router: Router,
        primaries: Primaries,
        primary_up: Callable[[str], bool | None],
        emit: EventSink,
    ) -> None:
        self._config = config
        self._router = router
        self._facts = facts
        self._callouts = callouts
        self._asker = CalloutAsker(facts, callouts, emit)
        self._keeper = CalloutKeeper(
            facts, self._asker, sources_of=self.sources_of, primary_up=primary_up
        )
        self._slow_hash = SlowHash()
        self.directory = DirectoryTable(
            config,
            Surroundings(
                data_dir=config.data_dir,
                slow_hash=self._slow_hash,
                seed=self._seed,
                callout=lambda: self._asker,
                learn=lambda: LearnAsker(facts),
                remembered=facts,
            ),
            emit,
            primaries=primaries,
        )

    @classmethod
    async def open(
        cls,
        config: Config,
        *,
        router: Router,
        primaries: Primaries,
        primary_up: Callable[[str], bool | None],
        destination_up: Callable[[str], bool | None],
        evidence: Evidence,
        is_primary: Callable[[str, str], bool],
        stream: EventStream,
        tls: ssl.SSLContext | None,
        stack: AsyncExitStack,
    ) -> "Knowledge":
        """Open all parts and read what can be read quickly; `stack` closes them again."""
        emit = stream.emit
        facts = await Facts.open(config.data_dir / ADDRESSES, emit)
        stack.push_async_callback(facts.close)
        callouts = Callouts(
            router,
            hostname=config.hostname,
            outbound=config.outbound,
            source=_callout_settings(config),
            emit=emit,
            tls=tls,
            destination_up=destination_up,
            evidence=evidence,
        )
        stack.push_async_callback(callouts.close)
        knowledge = cls(
            config, facts, callouts,
            router=router, primaries=primaries, primary_up=primary_up, emit=emit,
        )  # fmt: skip
        stack.push_async_callback(knowledge._close)
        stream.add(Learning(facts, knowledge.sources_of, is_primary))
        await knowledge.directory.start()
        return knowledge

    async def run(self) -> None:
        """Keep everything up to date until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.directory.watch())
            group.create_task(self._keeper.run())

    async def reconfigure(self, config: Config) -> None:
        """Use another configuration."""
        self._config = config
        self._callouts.reconfigure(
            router=self._router,
            hostname=config.hostname,
            outbound=config.outbound,
            source=_callout_settings(config),
        )
        await self.directory.reconfigure(config)

    def sources_of(self, domain: str) -> Collection[str]:
        """The kinds of sources of a domain (A-labels); none for one that is not ours."""
        settings = self._config.domains.get(domain)
        return () if settings is None else [source_kind(text) for text in settings.recipients]

    async def _seed(self, domain: str, names: Sequence[str]) -> int:
        return await self._facts.seed(domain, names, CALLOUT, until=time() + GOOD_FOR)

    async def _close(self) -> None:
        await self._asker.close()
        await self.directory.close()
        self._slow_hash.close()


def _callout_settings(config: Config) -> Source:
    return config.sources.get(CALLOUT, Source())
