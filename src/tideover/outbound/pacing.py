"""How many connections a destination bears: additive increase, halving. Pure.

A primary that has just come back is met gently: a few connections at first, one more for each
round in which every one of them has delivered, half of them as soon as it shows strain. What it
puts off message by message makes them neither more nor fewer.

Invariant: 1 <= allowed <= maximum.
"""


class Pace:
    """The number of connections `allowed` at once, from `first` up to `maximum`."""

    __slots__ = ("_first", "_maximum", "_successes", "allowed")

    def __init__(self, first: int, maximum: int) -> None:
        self._first = self._maximum = self.allowed = 1
        self._successes = 0
        self.configure(first, maximum)
        self.restart()

    @property
    def at_maximum(self) -> bool:
        """Whether it has grown as far as it may."""
        return self.allowed >= self._maximum

    def configure(self, first: int, maximum: int) -> None:
        """Take over new bounds; what is allowed now stays within them."""
        self._maximum = max(1, maximum)
        self._first = max(1, min(first, self._maximum))
        self.allowed = min(self.allowed, self._maximum)

    def restart(self) -> None:
        """The destination has come back: begin slowly."""
        self.allowed = self._first
        self._successes = 0

    def succeeded(self) -> bool:
        """A transaction went well. True when one more connection is allowed from now on."""
        if self.allowed >= self._maximum:
            return False
        self._successes += 1
        if self._successes < self.allowed:
            return False
        self._successes = 0
        self.allowed += 1
        return True

    def failed(self) -> None:
        """Strain: 421, a refused or lost connection, a timeout."""
        self.allowed = max(1, self.allowed // 2)
        self._successes = 0
