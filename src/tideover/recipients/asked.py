"""One source that is asked for each address: bounds, timeouts and what was answered lately.

Invariants
    Never more questions at once than the source's bound, and no longer line than `LINE`.
    A source that fails says "unsure", unless it said yes before: good answers are remembered on
    disk and outlive it. Only a plain yes is one: a honeypot, a refused or an expired entry must not
    come back as a recipient.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable
from typing import Final, Protocol

from tideover.config.model import Source
from tideover.recipients.interface import Confidence, Match, Says, Silence
from tideover.recipients.report import SourceStatus
from tideover.recipients.sources.interface import Asker, SourceError

LINE: Final = 1000
"""Questions that wait for one source; more are answered "unsure" at once."""
REMEMBERED: Final = 10_000
"""Answers of one source that are remembered in memory."""
NO_FOR: Final = 60.0
"""Seconds that a "no" is remembered at most."""
DEFAULT_REFRESH: Final = 300.0


class Remembered(Protocol):
    """Good answers on disk; `facts.Facts` is one."""

    async def good_at(self, domain: str, names: tuple[str, ...], source: str) -> float | None:
        """When the source last said yes to one of the names (Unix time)."""
        ...

    def said_yes(self, domain: str, name: str, source: str, now: float) -> None:
        """The source said yes. Returns at once."""
        ...

    async def said_no(self, domain: str, names: tuple[str, ...], source: str, now: float) -> None:
        """The source said no: an earlier yes counts no more."""
        ...


class AskedSource:
    """State of one source. `remembered` None: the source has its own memory (callout, learn).

    `silence` is what it means when the source knows nothing of an address.
    """

    def __init__(
        self,
        name: str,
        asker: Asker,
        settings: Source,
        *,
        silence: Silence,
        remembered: Remembered | None,
    ) -> None:
        self.name = name
        self.domain: str | None = None
        self.asker = asker
        self.settings = settings
        self._troubles: dict[str, str] = {}  # by domain: of a callout, each has a primary
        self._tried_at: dict[str, float] = {}
        self._silence = silence
        self._remembered = remembered
        # what has a memory of its own bounds its questions itself, behind that memory
        self._slots = asyncio.Semaphore(LINE if remembered is None else settings.max_lookups)
        self._line = 0
        self._answers: OrderedDict[tuple[str, str], tuple[float, float, Says]] = OrderedDict()

    def says(self, domain: str, key: str, base: str | None, now: float) -> Says | Awaitable[Says]:
        """What is known of a local part of a domain."""
        if (known := self._answers.get((domain, key))) is not None:
            at, until, says = known
            if at <= now < until:  # not when the clock was set back: the end may be years away
                return says
        if self._line >= LINE:
            return Says(self.name, None, Silence.UNSURE, "too many questions at once")
        names = (key,) if base is None else (key, base)
        return self._ask(domain, names, now)

    async def _ask(self, domain: str, names: tuple[str, ...], now: float) -> Says:
        self._line += 1
        try:
            async with asyncio.timeout(self.settings.lookup_timeout):
                async with self._slots:
                    match = await self._find(domain, names, now)
        except TimeoutError:
            return await self._failed(
                domain, names, now, f"no answer within {self.settings.lookup_timeout:g} s"
            )
        except SourceError as error:
            return await self._failed(domain, names, now, str(error))
        finally:
            self._line -= 1
        self._troubles.pop(domain, None)
        self._tried_at[domain] = now
        if self._remembered is not None and match is not None and _is_plain_yes(match):
            name = match.entry if match.entry in names else names[0]
            self._remembered.said_yes(domain, name, self.name, now)
        elif self._remembered is not None:
            await self._remembered.said_no(domain, names, self.name, now)
        return self._remember(domain, names[0], match, now)

    async def _find(self, domain: str, names: tuple[str, ...], now: float) -> Match | None:
        """What the source has. An entry that has expired is as if it were not there."""
        match = await self.asker.ask(domain, names)
        if match is None or match.terms.count_at(now):
            return match
        behind = names[1:] if match.entry == names[0] else ()
        return await self._find(domain, behind, now) if behind else None

    def _remember(self, domain: str, key: str, match: Match | None, now: float) -> Says:
        silence = self._silence if match is None else Silence.NOTHING
        says = Says(self.name, match, silence)
        if self._remembered is not None:  # else its own memory knows better
            lasts = self.settings.refresh or DEFAULT_REFRESH
            until = now + (lasts if match is not None else min(lasts, NO_FOR))
            if match is not None and match.terms.expires is not None:
                until = min(until, match.terms.expires)
            self._answers[domain, key] = now, until, says
            self._answers.move_to_end((domain, key))
            if len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)
        return says

    async def _failed(self, domain: str, names: tuple[str, ...], now: float, text: str) -> Says:
        self._troubles[domain] = text
        self._tried_at[domain] = now
        if self._remembered is not None:
            at = await self._remembered.good_at(domain, names, self.name)
            if at is not None:
                match = Match(Confidence.LISTED, names[0], at=at)
                return Says(self.name, match, Silence.NOTHING, text)
        return Says(self.name, None, Silence.UNSURE, text)

    def forget(self, domain: str) -> None:
        """A domain does not ask any more."""
        self._troubles.pop(domain, None)
        self._tried_at.pop(domain, None)

    def status(self, domain: str, now: float) -> SourceStatus:
        """How it stands for one domain."""
        trouble = self._troubles.get(domain)
        return SourceStatus(
            domain=domain,
            source=self.name,
            state="stale" if trouble else "asked",
            tried_at=self._tried_at.get(domain),
            trouble=trouble,
        )


def _is_plain_yes(match: Match) -> bool:
    """Whether all that the source said of an address is that it exists, and for good."""
    terms = match.terms
    return not terms.honeypot and terms.reject is None and terms.expires is None
