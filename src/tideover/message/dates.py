"""Dates as RFC 5322 §3.3 writes them, always in UTC."""

from datetime import UTC, datetime
from functools import lru_cache

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@lru_cache(maxsize=4)
def _of_second(second: int) -> str:
    t = datetime.fromtimestamp(second, UTC)
    month = _MONTHS[t.month - 1]
    return f"{_DAYS[t.weekday()]}, {t.day} {month} {t.year} {t:%H:%M:%S} +0000"


def rfc5322_date(time: float) -> str:
    """Unix time in seconds -> `Sat, 21 Nov 2026 10:00:00 +0000`."""
    return _of_second(int(time))
