"""A list of recipients of one domain, in memory; and its making from what a source yields."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, cast

from tideover.recipients.interface import NO_TERMS, Confidence, Match, Terms
from tideover.recipients.patterns import Pattern, first_match

_LARGE: Final = 100_000
BEFORE_ALL: Final = float("-inf")
"""A time at which nothing has expired."""
ANY_DOMAIN: Final = ""
"""The key for bare local parts: they count for each domain that uses the source."""


class Listing(Protocol):
    """One domain's recipients, never changed once made."""

    @property
    def min_confidence(self) -> Confidence | None:
        """The least that their owner wants accepted for the domain, or None."""
        ...

    @property
    def has_traps(self) -> bool:
        """Whether some entry is a honeypot."""
        ...

    def __len__(self) -> int:
        """How many entries: names, patterns and the catch-all."""
        ...

    def find(
        self, key: str, base: str | None, now: float = BEFORE_ALL
    ) -> "Match | Awaitable[Match | None] | None":
        """What it has for a local part (`names.local_key`), as it stands or, failing that, without
        its detail (`base`, None when there is none). Awaitable where that takes long. An entry
        that has expired by `now` (Unix time) hides no other: it is as if it were not there.
        """
        ...

    def names(self) -> Iterable[str]:
        """The local parts in clear, as far as they are known."""
        ...


def has_honeypot(
    terms: Mapping[Any, Terms] | None, patterns: Sequence[Pattern], catch_all: Terms | None
) -> bool:
    """Whether one of these is a honeypot."""
    return (
        any(each.honeypot for each in (terms or {}).values())
        or any(pattern.terms.honeypot for pattern in patterns)
        or (catch_all is not None and catch_all.honeypot)
    )


class NameList:
    """Names in clear. `terms` holds only names with terms of their own, all of them in `names`."""

    __slots__ = ("_names", "catch_all", "has_traps", "patterns", "terms")

    def __init__(
        self,
        names: frozenset[str],
        *,
        terms: Mapping[str, Terms] | None = None,
        patterns: Sequence[Pattern] = (),
        catch_all: Terms | None = None,
    ) -> None:
        self._names = names
        self.terms = terms
        self.patterns = patterns
        self.catch_all = catch_all
        self.has_traps = has_honeypot(terms, patterns, catch_all)

    def __len__(self) -> int:
        return len(self._names) + len(self.patterns) + (self.catch_all is not None)

    @property
    def min_confidence(self) -> None:
        """Whoever writes lists in clear does not say."""
        return None

    @property
    def is_plain(self) -> bool:
        """Whether it is names and nothing else."""
        return not (self.terms or self.patterns or self.catch_all is not None)

    def find(self, key: str, base: str | None, now: float = BEFORE_ALL) -> Match | None:
        """As `Listing.find`; at once."""
        for name in (key, base):
            if name is not None and name in self._names:
                terms = self.terms.get(name, NO_TERMS) if self.terms else NO_TERMS
                if terms.count_at(now):
                    return Match(Confidence.LISTED, name, terms)
        if self.patterns:
            keys = (key,) if base is None else (key, base)
            if (pattern := first_match(self.patterns, *keys, now=now)) is not None:
                return Match(Confidence.PATTERN, f"/{pattern.text}/", pattern.terms)
        if self.catch_all is not None and self.catch_all.count_at(now):
            return Match(Confidence.CATCH_ALL, "the catch-all", self.catch_all)
        return None

    def names(self) -> frozenset[str]:
        """The local parts."""
        return self._names


def _frozen(names: set[str]) -> frozenset[str]:
    """A small set in the least memory; a large one as it is, since a copy of millions of names
    holds up all other threads. Nobody changes it any more.
    """
    return frozenset(names) if len(names) < _LARGE else cast("frozenset[str]", names)


class ListBuilder:
    """Collects what a source yields, by domain. Only `wanted` domains (A-labels) are kept."""

    def __init__(self, wanted: Callable[[str], bool] = lambda _: True) -> None:
        self._wanted = wanted
        self._names: dict[str, set[str]] = {}
        self._terms: dict[str, dict[str, Terms]] = {}
        self._patterns: dict[str, list[Pattern]] = {}
        self._catch_alls: dict[str, Terms] = {}
        self.skipped = 0
        """Entries of domains that are not wanted."""
        self.count = 0
        """Entries taken."""

    def has(self, domain: str) -> bool:
        """Whether some entry of this domain was taken."""
        return domain in self._names or domain in self._patterns or domain in self._catch_alls

    def _takes(self, domain: str) -> bool:
        if domain and domain not in self._names and not self._wanted(domain):
            self.skipped += 1
            return False
        self.count += 1
        return True

    def add(self, local: str, domain: str = ANY_DOMAIN, terms: Terms = NO_TERMS) -> None:
        """A name. `local` by `names.local_key`, `domain` by `names.a_label`."""
        if self._takes(domain):
            self._names.setdefault(domain, set()).add(local)
            if terms is not NO_TERMS:
                self._terms.setdefault(domain, {})[local] = terms

    def add_pattern(self, pattern: Pattern, domain: str = ANY_DOMAIN) -> None:
        """A pattern."""
        if self._takes(domain):
            self._patterns.setdefault(domain, []).append(pattern)

    def add_catch_all(self, domain: str = ANY_DOMAIN, terms: Terms = NO_TERMS) -> None:
        """All local parts of a domain."""
        if self._takes(domain):
            self._catch_alls[domain] = terms

    def build(self) -> dict[str, NameList]:
        """A list a domain; that of `ANY_DOMAIN` counts for every one."""
        domains = self._names.keys() | self._patterns.keys() | self._catch_alls.keys()
        return {
            domain: NameList(
                _frozen(self._names.get(domain, set())),
                terms=self._terms.get(domain),
                patterns=tuple(self._patterns.get(domain, ())),
                catch_all=self._catch_alls.get(domain),
            )
            for domain in domains
        }
