"""A feed that can be asked: `listing.Listing` over a memory-mapped file.

The map belongs to whoever holds the listing, and goes with the last of them: a feed is replaced
while lookups in the old one go on. The file under a map must never be changed, only replaced.
"""

from bisect import bisect_left
from collections.abc import Awaitable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from tideover.recipients.feed.format import Header
from tideover.recipients.feed.hashing import AddressHash, fast
from tideover.recipients.feed.slow import SlowHash
from tideover.recipients.interface import NO_TERMS, Confidence, Match, Terms
from tideover.recipients.listing import BEFORE_ALL, has_honeypot
from tideover.recipients.names import base_of, base_pattern
from tideover.recipients.patterns import Pattern, first_match

_CATCH_ALL: Final = "the catch-all"


class FeedContents(Struct, frozen=True, kw_only=True):
    """What a checked feed holds. `hashes` are numbers in ascending order; `terms` by number."""

    header: Header
    signature: bytes
    key: bytes
    salt: bytes
    hashes: "memoryview[int]"
    terms: Mapping[int, Terms]
    patterns: Sequence[Pattern]
    catch_all: Terms | None


class _FeedList:
    """What both profiles share."""

    __slots__ = ("_base", "_contents", "_hash", "_hashes", "has_traps", "header", "signature")

    def __init__(self, contents: FeedContents) -> None:
        self.header = contents.header
        self.signature = contents.signature
        self.has_traps = has_honeypot(contents.terms, contents.patterns, contents.catch_all)
        self._contents = contents
        self._hashes = contents.hashes
        self._hash = AddressHash(contents.key, contents.salt, contents.header.domain)
        self._base = base_pattern(contents.header.delimiters)

    def __len__(self) -> int:
        contents = self._contents
        return len(self._hashes) + len(contents.patterns) + (contents.catch_all is not None)

    @property
    def min_confidence(self) -> Confidence:
        """The least that the feed's owner wants mail to be taken for."""
        return self.header.minimum

    def names(self) -> tuple[str, ...]:
        """None: that is the point."""
        return ()

    def _entry(self, value: int, now: float) -> Match | None:
        place = bisect_left(self._hashes, value)
        if place == len(self._hashes) or self._hashes[place] != value:
            return None
        terms = self._contents.terms.get(value, NO_TERMS)
        return Match(Confidence.HASHED, "", terms) if terms.count_at(now) else None

    def _other(self, key: str, base: str | None, now: float) -> Match | None:
        contents = self._contents
        if contents.patterns:
            keys = (key,) if base is None else (key, base)
            if (pattern := first_match(contents.patterns, *keys, now=now)) is not None:
                return Match(Confidence.PATTERN, f"/{pattern.text}/", pattern.terms)
        if contents.catch_all is not None and contents.catch_all.count_at(now):
            return Match(Confidence.CATCH_ALL, _CATCH_ALL, contents.catch_all)
        return None


class FastFeed(_FeedList):
    """The fast profile: a few microseconds, at once."""

    __slots__ = ()

    def find(self, key: str, base: str | None, now: float = BEFORE_ALL) -> Match | None:
        """As `Listing.find`. What a detail is, the feed says itself: `base` is not used."""
        match = self._entry(fast(self._hash.stage_one(key)), now)
        if match is not None:
            return match
        short = base_of(self._base, key)
        if short is not None:
            match = self._entry(fast(self._hash.stage_one(short)), now)
            if match is not None:
                return match
        return self._other(key, short, now)


class SlowFeed(_FeedList):
    """The slow profile: as long as its KDF takes, in threads; at once when asked again soon.

    The hashes of the address as it stands and of its base are always both computed, found or not:
    how long it takes says nothing about who exists.
    """

    __slots__ = ("_slow",)

    def __init__(self, contents: FeedContents, slow: SlowHash) -> None:
        super().__init__(contents)
        self._slow = slow

    def find(
        self, key: str, base: str | None, now: float = BEFORE_ALL
    ) -> Match | Awaitable[Match | None] | None:
        """As `Listing.find`. What a detail is, the feed says itself: `base` is not used.

        Raises:
            SourceError: by the awaitable; too many wait already.
        """
        short = base_of(self._base, key)
        keys = (key,) if short is None else (key, short)
        first = tuple(map(self._hash.stage_one, keys))
        known = self._slow.known(first)
        if known is None:
            return self._later(key, short, first, now)
        return self._of(known, key, short, now)

    async def _later(
        self, key: str, short: str | None, first: tuple[bytes, ...], now: float
    ) -> Match | None:
        cost = self.header.slow
        if cost is None:
            raise AssertionError("a slow feed says what it costs")
        values = await self._slow.compute(first, self._hash.salt, cost)
        return self._of(values, key, short, now)

    def _of(self, values: Sequence[int], key: str, short: str | None, now: float) -> Match | None:
        found = [self._entry(value, now) for value in values]
        return next((m for m in found if m is not None), None) or self._other(key, short, now)
