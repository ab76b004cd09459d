"""Who exists at a primary: the question inbound asks, and the answer."""

from enum import StrEnum
from typing import Protocol

from msgspec import Struct


class Standing(StrEnum):
    """What we know of an address.

    LISTED: a source names it. UNKNOWN: the sources are good and none names it. FOREIGN: not a
    domain of ours. UNAVAILABLE: the domain is ours but no source could be read, so we can't say.
    """

    LISTED = "listed"
    UNKNOWN = "unknown"
    FOREIGN = "foreign"
    UNAVAILABLE = "unavailable"


class Finding(Struct, frozen=True, kw_only=True):
    """The answer for one address. `domain` is the A-label domain when it is ours, else ""."""

    standing: Standing
    domain: str = ""
    source: str | None = None
    reason: str = ""


class Directory(Protocol):
    """Answers from memory, never waits."""

    def lookup(self, local: str, domain: str) -> Finding:
        """`local` is the unquoted local part, `domain` as written (U- or A-labels, any case)."""
