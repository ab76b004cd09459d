"""How long a client may take. Pure: times are arguments, in seconds of a monotonic clock.

Limits count from the last complete command or piece of a body. What we made the client wait for is
not held against it.
"""

from typing import Final

# The data rate is averaged from the start of a body, and asked for only after this.
RATE_GRACE: Final = 60.0


class Patience:
    """Time and octets of one connection."""

    __slots__ = ("_body_began", "_octets", "_since")

    def __init__(self, now: float) -> None:
        self._since = now
        self._body_began = now
        self._octets = 0

    def progressed(self, now: float) -> None:
        """The client said something complete."""
        self._since = now

    def body_begins(self, now: float) -> None:
        """From here on octets are counted."""
        self._body_began = now
        self._octets = 0

    def took(self, octets: int, now: float) -> None:
        """So much of a body came."""
        self._since = now
        self._octets += octets

    def took_between(self, octets: int) -> None:
        """So much came between two chunks: a command, and what of its chunk came with it. That is
        nothing complete yet.
        """
        self._octets += octets

    def held_up(self, since: float, now: float) -> None:
        """From `since` to `now` the client waited for us."""
        self._since = now
        self._body_began += now - since

    def left(self, now: float, limit: float) -> float:
        """Seconds until the client has been silent for `limit`; 0 or less: it is out of time."""
        return self._since + limit - now

    def too_slow(self, now: float, rate: float) -> bool:
        """Whether the body comes in less than `rate` octets a second, after the grace."""
        elapsed = now - self._body_began
        return elapsed > RATE_GRACE and self._octets < elapsed * rate
