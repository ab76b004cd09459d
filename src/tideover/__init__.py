"""Tideover: a backup MX that does no harm. See docs/flow.md for the way of a message."""

__version__ = "0.1.0"
