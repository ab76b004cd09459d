"""What the router remembers of one domain, and what a new look-up makes of it (I9)."""

import asyncio
from typing import Final

from msgspec.structs import replace

from tideover.primary.found import RETRY, Found
from tideover.primary.interface import NoRoute, Route, Trouble

KEEP: Final = 86_400.0
"""Seconds for which a good route outlives answers that contradict it in part."""

_SLOWEST_RETRY: Final = 60.0


class Memory:
    """`answer` holds until `until` (Unix time; None: for ever). `good` is the last good route, as
    of `good_at`; `failures` counts the look-ups that failed since DNS last answered in full.
    `restored`: what was known before the start has been read; `written_at`: when `good` was last
    written down.
    """

    __slots__ = (
        "answer", "failures", "good", "good_at", "look_up", "restored", "until", "written_at",
    )  # fmt: skip

    def __init__(self) -> None:
        self.answer: Route | NoRoute | None = None
        self.until: float | None = 0.0
        self.good: Found | None = None
        self.good_at = 0.0
        self.failures = 0
        self.restored = False
        self.written_at = 0.0
        self.look_up: asyncio.Task[Route | NoRoute] | None = None

    def learn(self, found: Found | NoRoute, now: float) -> Route | NoRoute:
        """What the domain's answer is from now on."""
        if isinstance(found, Found) and not self._contradicts(found, now):
            self.answer = self._take(found, now)
        elif isinstance(found, NoRoute) and found.trouble is not Trouble.TEMPORARY:
            self.failures = 0
            self.answer, self.until = found, found.retry_at
        else:
            self.answer = self._keep(found, now)
        return self.answer

    def _take(self, found: Found, now: float) -> Route:
        self.good, self.good_at = found, now
        if found.partial:
            self.until = self._soon(now)
        else:
            self.failures = 0
            self.until = found.route.expires_at
        return replace(found.route, expires_at=self.until)

    def _keep(self, found: Found | NoRoute, now: float) -> Route | NoRoute:
        """DNS failed, or contradicts itself: the last good route, if any. Ask again soon."""
        self.until = self._soon(now)
        if self.good is not None:
            return replace(self.good.route, expires_at=self.until)
        if isinstance(found, NoRoute):
            return replace(found, retry_at=self.until)
        return replace(found.route, expires_at=self.until)

    def _soon(self, now: float) -> float:
        """When to ask again after DNS failed, in all or in part: later each time."""
        self.failures = min(self.failures + 1, 10)
        return now + min(RETRY * 2.0 ** (self.failures - 1), _SLOWEST_RETRY)

    def _contradicts(self, found: Found, now: float) -> bool:
        """Whether a good route that we have is more to be trusted than this one."""
        good = self.good
        if good is None or now - self.good_at > KEEP:
            return False
        return (found.partial and not good.partial) or (found.implicit and not good.implicit)
