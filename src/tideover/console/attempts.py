"""How often a client may be wrong about its token. Pure: time is given."""

from collections import OrderedDict
from typing import Final

LIMIT: Final = 10
"""Wrong tokens in one window, after which a client is not listened to until the window ends."""
WINDOW: Final = 60.0
"""Seconds."""
REMEMBERED: Final = 10_000
"""Clients that are counted; the one that was wrong the longest ago is forgotten first."""


class Attempts:
    """Wrong tokens by client (its network). Times are seconds of any one clock."""

    def __init__(
        self, *, limit: int = LIMIT, window: float = WINDOW, remembered: int = REMEMBERED
    ) -> None:
        self._limit = limit
        self._window = window
        self._remembered = remembered
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def wait(self, client: str, now: float) -> float:
        """Seconds until this client is listened to again; 0.0: now."""
        begun, count = self._counts.get(client, (now, 0))
        left = begun + self._window - now
        return left if count >= self._limit and left > 0 else 0.0

    def failed(self, client: str, now: float) -> int:
        """Count a wrong token. Returns how many there were in this window."""
        begun, count = self._counts.get(client, (now, 0))
        if begun + self._window <= now:
            begun, count = now, 0
        self._counts[client] = begun, count + 1
        self._counts.move_to_end(client)
        if len(self._counts) > self._remembered:
            self._counts.popitem(last=False)
        return count + 1
