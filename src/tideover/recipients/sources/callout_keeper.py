"""Verifies addresses ahead of an outage: seeds, and what was good but is getting old.

While the primary is up, at most at the rate that is allowed for what nobody waits for. An address
that can't be verified now is tried later; one that is refused is remembered as that and forgotten.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from tideover.events.clock import now as wall_clock
from tideover.recipients.facts import Facts
from tideover.recipients.interface import Confidence
from tideover.recipients.sources.callout import SOURCE, CalloutAsker, Unavailable
from tideover.recipients.sources.interface import SourceError

AT_ONCE: Final = 8
"""Domains that are looked after at once."""

_DOMAINS: Final = 1000
_ADDRESSES: Final = 25  # of one domain in one pass, so that each has its turn
_LATER: Final = 3600.0
_CATCH_ALL_LATER: Final = 86400.0
_PAUSE: Final = 30.0
_SHORT_PAUSE: Final = 2.0


class CalloutKeeper:
    """Give `run` to a task. `sources_of` gives the sources of a domain, () for one not ours;
    `primary_up` whether its primary is up, None when that is not known.
    """

    def __init__(
        self,
        facts: Facts,
        asker: CalloutAsker,
        *,
        sources_of: Callable[[str], Collection[str]],
        primary_up: Callable[[str], bool | None],
        clock: Callable[[], float] = wall_clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._facts = facts
        self._asker = asker
        self._sources_of = sources_of
        self._primary_up = primary_up
        self._clock = clock
        self._sleep = sleep
        self._after = ""  # the domain at which the last pass ended; all were seen when it is ""

    async def run(self) -> None:
        """Make passes until cancelled."""
        while True:
            verified = await self.make_pass()
            await self._sleep(_SHORT_PAUSE if verified or self._after else _PAUSE)

    async def make_pass(self) -> int:
        """Verify what is due, some of each of the next domains, so that those that can't be asked
        now keep no other waiting. Returns how many addresses were answered.
        """
        due = await self._facts.due_domains(SOURCE, _DOMAINS, after=self._after)
        self._after = due[-1] if len(due) == _DOMAINS else ""
        domains = [
            domain
            for domain in due
            if SOURCE in self._sources_of(domain) and self._primary_up(domain) is not False
        ]
        done = 0
        waiting = iter(domains)

        async def work() -> None:
            nonlocal done
            for domain in waiting:
                done += await self._verify_some(domain)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(domains))):
                group.create_task(work())
        return done

    async def _verify_some(self, domain: str) -> int:
        done = 0
        for name in await self._facts.due(domain, SOURCE, _ADDRESSES):
            try:
                match = await self._asker.verify(domain, name)
            except Unavailable:
                break
            except SourceError:
                await self._later(domain, name, _LATER)
                continue
            done += 1
            if match.confidence is Confidence.CATCH_ALL:
                await self._later(domain, name, _CATCH_ALL_LATER)
        return done

    async def _later(self, domain: str, name: str, seconds: float) -> None:
        await self._facts.postpone(domain, name, SOURCE, self._clock() + seconds)
