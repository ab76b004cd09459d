"""What an operator is shown of sources and addresses. Values only."""

from msgspec import Struct

from tideover.recipients.interface import Finding


class SourceStatus(Struct, frozen=True, kw_only=True):
    """How one source stands for one domain.

    `state`: "fresh", "stale" (in trouble; the last good list serves), "loading" (for the first
    time), "never" (nothing was ever read), "asked" (it has no list: lookups, callouts, learning).
    `entries` is None where there is no list. Times are Unix seconds. `version` is an ETag or
    serial; `trouble` what is wrong now; `mistakes` the first malformed lines, `bad` counts all;
    `confirm` says that an operator's word is waited for.
    """

    domain: str
    source: str
    state: str
    entries: int | None = None
    loaded_at: float | None = None
    tried_at: float | None = None
    next_at: float | None = None
    version: str | None = None
    trouble: str | None = None
    mistakes: tuple[str, ...] = ()
    bad: int = 0
    confirm: bool = False


class SourceSays(Struct, frozen=True, kw_only=True):
    """What one source says of an address, in words of `interface`. `trouble` as in Says."""

    source: str
    confidence: str
    matched: str | None = None
    at: float | None = None
    silence: str | None = None
    trouble: str | None = None
    loaded_at: float | None = None


class Explanation(Struct, frozen=True, kw_only=True):
    """Why an address gets the answer that it gets: while its primary is up, and while it is down.

    The two differ where a source can only be asked while the primary is up (callouts).
    """

    address: str
    primary_up: Finding
    primary_down: Finding
    sources: tuple[SourceSays, ...]


class Refreshed(Struct, frozen=True, kw_only=True):
    """How one refresh of one source ended. `refused` is why its offer was not taken, or None."""

    domain: str
    source: str
    entries: int | None
    changed: bool
    refused: str | None = None
