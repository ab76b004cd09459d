"""What is known of the hosts behind one route: a state, and how evidence moves it. Pure.

    unknown ──service──► up ◄──`successes` in a row, or all brought home── recovering
       │                 │                                                 ▲       │
       └──`failures`─────┴──in a row, or mail in hand finds none──► down ──┘ ◄─────┘
          in a row                                         first service

Evidence is what any connection met: a check, a delivery, a pass-through, a callout. What comes at
nearly the same time counts once, so that ten connections which break in one moment are one failure.
The first failure only raises a doubt; mail in hand that finds no host says "down" at once.

Flapping is damped. Who goes down again within `STEADY` seconds of a return has relapsed; after
`RELAPSES` of these in a row a return is believed only when nothing has failed for a while, each
time twice as long, up to `LONGEST_DAMPING`. Until then the state stays "down", so that neither
events nor what clients meet follow each flap; mail goes home by each connection all the same.
"""

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from tideover.primary.health_offers import Offers
from tideover.primary.interface import PrimaryState

STEADY: Final = 10.0
"""Seconds after a return within which another outage is a relapse."""

RELAPSES: Final = 3
"""Relapses in a row that are put up with."""

LONGEST_DAMPING: Final = 60.0

AILING: Final = 30.0
"""Seconds that a host which failed is passed over while there are others."""

_HOSTS: Final = 64  # of which a failure is noted; a route has fewer


class Terms(Struct, frozen=True, kw_only=True):
    """`failures` and `successes` in a row that count; those less than `apart` seconds from the one
    before don't. What is older than `stale` seconds is in doubt.
    """

    failures: int
    successes: int
    apart: float
    stale: float


class Health:
    """Of the route `key`. Times are Unix seconds; `changed` is told the state before, after each
    change.

    `heard_at`: when there was evidence of any kind; `checked_at`: when what last found it up began;
    0.0: never. `returns` counts how often it came back.
    `backlog`: mail waits for it, so that it is up only when that has gone home, and it is that mail
    which finds out when it is back. `barren`: it gives connections but takes no mail, so that no
    connection is a sign of its return. `hosts`: the names of all that there are, () when that is
    not known. `trouble`: the last failure.
    """

    __slots__ = (
        "_ailing", "_back_at", "_changed", "_counted_at", "_damped_until", "_failures",
        "_relapses", "_successes", "backlog", "barren", "checked_at", "heard_at", "hosts", "key",
        "offers", "reason", "returns", "since", "state", "terms", "trouble",
    )  # fmt: skip

    def __init__(
        self, key: str, terms: Terms, now: float, changed: "Callable[[Health, PrimaryState], None]"
    ) -> None:
        self.key = key
        self.terms = terms
        self.state = PrimaryState.UNKNOWN
        self.since = now
        self.reason = "not tried yet"
        self.trouble = ""
        self.hosts: tuple[str, ...] = ()
        self.offers = Offers()
        self.heard_at = 0.0
        self.checked_at = 0.0
        self.returns = 0
        self.backlog = False
        self.barren = False
        self._changed = changed
        self._failures = 0
        self._successes = 0
        self._counted_at = 0.0
        self._back_at = 0.0
        self._relapses = 0
        self._damped_until = 0.0
        self._ailing: dict[str, float] = {}

    # What is asked

    def doubt(self, now: float) -> bool:
        """Whether who has to know must try."""
        if self.state is PrimaryState.UNKNOWN or self._failures:
            return self.state is not PrimaryState.DOWN
        return not self.fresh(self.terms.stale, now)

    def fresh(self, seconds: float, now: float) -> bool:
        """Whether there was evidence in so many seconds, as far as the clock can be trusted."""
        return 0.0 <= now - self.heard_at < seconds

    @property
    def failing(self) -> bool:
        """Whether the last evidence was a failure."""
        return self._failures > 0

    def ailing(self, host: str, now: float) -> bool:
        """Whether this host failed lately, so that others are to be preferred."""
        return 0.0 <= now - self._ailing.get(host, -AILING) < AILING

    def all_ail(self, now: float) -> bool:
        """Whether no host is left that did not fail lately."""
        return all(self.ailing(host, now) for host in self.hosts)

    # Evidence

    def reached(self, host: str, now: float, began: float | None = None) -> None:
        """A host gave service, on a connection that was begun at that time, as far as is known."""
        self.heard_at = now
        self.checked_at = now if began is None else began
        if self._ailing:
            self._ailing.pop(host, None)
        self._served(f"{host} answers", now)

    def host_failed(self, host: str, now: float) -> None:
        """This host gave no service; another may."""
        if len(self._ailing) >= _HOSTS:
            self._ailing.pop(next(iter(self._ailing)))
        self._ailing[host] = now

    def failed(self, reason: str, now: float) -> None:
        """No host gave service."""
        self.heard_at = now
        self.trouble = reason
        self._successes = 0
        if not self._failures or self._is_apart(now):
            self._failures += 1
            self._counted_at = now
        if self.state is PrimaryState.DOWN or self._failures >= self.terms.failures:
            self.down(reason, now)
        elif self.state is PrimaryState.UNKNOWN:
            self.reason = reason

    def down(self, reason: str, now: float, *, barren: bool = False) -> None:
        """Mail in hand finds no host that takes it."""
        self.heard_at = now
        self.trouble = reason
        self._successes = 0
        self._failures = max(self._failures, 1)
        self.barren = self.barren or barren
        if self.state is not PrimaryState.DOWN:
            relapsed = self.returns > 0 and 0.0 <= now - self._back_at < STEADY
            self._relapses = self._relapses + 1 if relapsed else 0
        self._damped_until = now + self._damping()
        self._become(PrimaryState.DOWN, reason, now)

    def took_mail(self, now: float) -> None:
        """A message got its answer."""
        self.barren = False
        self.heard_at = self.checked_at = now
        self._served("it takes mail", now)

    def brought_home(self, reason: str, now: float) -> None:
        """All that waited has gone home, or it bears all that we may give."""
        self.barren = False
        if self.state is not PrimaryState.DOWN or not self._is_damped(now):
            self._become(PrimaryState.UP, reason, now)

    def nobody_waits(self) -> None:
        """Mail that waited is gone."""
        self.backlog = False
        self.barren = False

    def forgive(self) -> None:
        """An operator wants to know: it has never failed before."""
        self._relapses = 0
        self._damped_until = 0.0
        self._ailing.clear()

    # Parts of the above

    def _served(self, how: str, now: float) -> None:
        self._failures = 0
        if self.state is PrimaryState.UP:
            return
        if not self._successes or self._is_apart(now):
            self._successes += 1
            self._counted_at = now
        if self.state is PrimaryState.UNKNOWN:
            self._become(PrimaryState.UP, how, now)
        elif self.state is PrimaryState.DOWN and (self.barren or self._is_damped(now)):
            pass
        elif self._successes >= self.terms.successes and not self.backlog:
            self._become(PrimaryState.UP, f"{how} again", now)
        elif self.state is PrimaryState.DOWN:
            self._become(PrimaryState.RECOVERING, f"{how} again", now)

    def _is_apart(self, now: float) -> bool:
        return not 0.0 <= now - self._counted_at < self.terms.apart

    def _is_damped(self, now: float) -> bool:
        # a clock that was set back must not keep it down
        return 0.0 < self._damped_until - now <= LONGEST_DAMPING

    def _damping(self) -> float:
        more = min(self._relapses - RELAPSES, 10)
        return min(2.0**more, LONGEST_DAMPING) if more > 0 else 0.0

    def _become(self, state: PrimaryState, reason: str, now: float) -> None:
        before, self.state = self.state, state
        if before is state:
            self.reason = reason if state is not PrimaryState.UP else self.reason
            return
        self.reason = reason
        self.since = now
        if before is PrimaryState.DOWN:
            self.returns += 1
            self._back_at = now
        self._changed(self, before)
