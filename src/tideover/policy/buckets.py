"""How often something happens: token buckets, in memory only."""

from collections import OrderedDict
from typing import Final, NamedTuple

from tideover.config.policy_values import RateLimit

MOST: Final = 100_000
"""Buckets of one kind; beyond, the one that was used longest ago goes."""

_ROUNDING: Final = 1e-9


class _Bucket(NamedTuple):
    """How full it was at that time."""

    level: float
    at: float


class Buckets:
    """For each kind of thing that is counted, a bucket for each key. Each empties evenly."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kinds: dict[str, OrderedDict[str, _Bucket]] = {}

    def take(self, kind: str, key: str, limit: RateLimit, now: float) -> float:
        """Count one, unless it is over the limit: then it is not counted, and what is returned is
        in how many seconds there is room again (0.0: it was counted). `kind` is one of a few.
        """
        buckets = self._kinds.setdefault(kind, OrderedDict())
        speed = limit.amount / limit.seconds
        level, at = buckets.get(key, _EMPTY)
        # a clock that was set back empties nothing, and must not stop the emptying either
        level = min(max(0.0, level - max(0.0, now - at) * speed), float(limit.amount))
        over = level + 1 - limit.amount
        taken = over <= _ROUNDING * limit.amount
        buckets[key] = _Bucket(level + 1 if taken else level, now)
        buckets.move_to_end(key)
        if len(buckets) > self._most:
            buckets.popitem(last=False)
        return 0.0 if taken else over / speed


_EMPTY: Final = _Bucket(0.0, 0.0)
