"""Python's garbage collector, kept from holding up the mail.

A full collection looks at all that lives, for 0.1 s with 100,000 domains, and meanwhile nobody is
answered. What lives for long is therefore put out of its sight (`gc.freeze`): it is freed still
when nobody refers to it any more, and only cycles in it would stay, of which it has none.
"""

import gc
from time import perf_counter
from typing import Final

# The first generation: few of our objects form cycles, so it may look seldom.
_THRESHOLD: Final = 50_000
_LONG: Final = 0.02
"""Seconds of a full collection, after which what it found alive is put out of sight."""


def begin() -> None:
    """All that is alive by now stays. From now on no two collections in a row take long."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_THRESHOLD)
    gc.callbacks.append(_Watch())


def much_was_read() -> None:
    """What was read since the start stays too."""
    gc.freeze()


def clear() -> None:
    """Find garbage now, since what is read next will be put out of sight together with it."""
    gc.collect()


class _Watch:
    """Called before and after each collection (`gc.callbacks`)."""

    def __init__(self) -> None:
        self._begun = 0.0

    def __call__(self, phase: str, about: dict[str, int]) -> None:
        if about["generation"] < 2:
            return
        if phase == "start":
            self._begun = perf_counter()
        elif perf_counter() - self._begun > _LONG:
            gc.freeze()
