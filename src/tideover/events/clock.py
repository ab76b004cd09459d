"""The wall clock that stamps events."""

from time import time as now

__all__ = ["now"]
