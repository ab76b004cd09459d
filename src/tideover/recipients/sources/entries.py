"""Entries of a directory or a database, taken one by one: addresses, local parts, catch-alls.

A malformed entry spoils only itself, up to the share `max_mistakes` of all (but one is always
forgiven, unless the share is 0); beyond, the whole load is refused.
"""

import re
from collections.abc import Callable
from typing import Final

from tideover.config.model import Source
from tideover.recipients.formats.entry import EntryError, parse_address, parse_domain
from tideover.recipients.formats.intake import MISTAKES_TOLD, too_many
from tideover.recipients.interface import NO_TERMS, Terms
from tideover.recipients.listing import ANY_DOMAIN, ListBuilder
from tideover.recipients.sources.interface import Load, SourceError

PROGRESS_EVERY: Final = 1000
"""Entries between two words of progress."""
_LONGEST: Final = 1000
_SHOWN: Final = 80
_ORDINARY: Final = re.compile(
    r"([A-Za-z0-9_.+=&'/*?^{}|~$`-]{1,255})@([A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,20})"
)


def parse_entry(text: str) -> tuple[str, str]:
    """Key of the local part and domain in A-labels; "" for a domain that is not given, and for
    the local part of a catch-all ("@example.com").

    Raises:
        EntryError: neither an address nor a local part.
    """
    if len(text) > _LONGEST:
        raise EntryError(f"longer than {_LONGEST} characters")
    if match := _ORDINARY.fullmatch(text):
        return match[1].lower(), match[2].lower()
    if text.startswith("@"):
        return "", parse_domain(text[1:]) if len(text) > 1 else ANY_DOMAIN
    return parse_address(text)


class Entries:
    """Collects one load. `domain`: of bare local parts; None: they count for each domain.

    `settings.max_size` bounds the octets of all entries together.
    """

    def __init__(
        self,
        settings: Source,
        *,
        wanted: Callable[[str], bool] | None,
        domain: str | None,
        progress: Callable[[int], None],
    ) -> None:
        if wanted is None:
            wanted = (lambda _: True) if domain is None else domain.__eq__
        self._settings = settings
        self._builder = ListBuilder(wanted)
        self._domain = domain or ANY_DOMAIN
        self._progress = progress
        self._octets = 0
        self._mistakes: list[str] = []
        self._bad = 0
        self.seen = 0

    def take(
        self, where: str, text: str, domain: str | None = None, terms: Terms = NO_TERMS
    ) -> None:
        """One entry. `where` is for people; `domain` the one that stands beside it, as written.

        Raises:
            SourceError: it is more than the settings allow in all.
        """
        self._count(len(text))
        try:
            local, own = parse_entry(text)
            if domain is not None:
                own = _one(own, domain)
        except EntryError as error:
            self._mistake(where, f"{_shown(text)}: {error}")
            return
        own = own or self._domain
        if local:
            self._builder.add(local, own, terms)
        else:
            self._builder.add_catch_all(own, terms)

    def spoiled(self, where: str, what: str) -> None:
        """One entry that can't even be read.

        Raises:
            SourceError: it is more than the settings allow in all.
        """
        self._count(0)
        self._mistake(where, what)

    def _mistake(self, where: str, what: str) -> None:
        self._bad += 1
        if len(self._mistakes) < MISTAKES_TOLD:
            self._mistakes.append(f"{where}: {what}")

    def _count(self, octets: int) -> None:
        self.seen += 1
        self._octets += octets
        if self._octets > self._settings.max_size:
            raise SourceError(f"larger than max_size ({self._settings.max_size} octets)")
        if self.seen % PROGRESS_EVERY == 0:
            self._progress(self.seen)

    def load(self) -> Load:
        """What was taken, as a whole.

        Raises:
            SourceError: too many mistakes, or no recipient at all.
        """
        self._progress(self.seen)
        if too_many(self._bad, self.seen, self._settings.max_mistakes):
            told = "; ".join(self._mistakes)
            raise SourceError(f"{self._bad} of {self.seen} entries are malformed: {told}")
        lists = self._builder.build()
        if not lists:
            others = f" ({self._builder.skipped} of other domains)" if self._builder.skipped else ""
            what = f"; {self._mistakes[0]}" if self._mistakes else ""
            raise SourceError(f"names no recipient{others}{what}")
        return Load(
            lists=lists,
            mistakes=tuple(self._mistakes),
            bad=self._bad,
            skipped=self._builder.skipped,
        )


def _one(own: str, beside: str) -> str:
    """The domain of an entry which may name it twice."""
    domain = parse_domain(beside)
    if own and own != domain:
        raise EntryError(f"{domain} beside it is another domain")
    return domain


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
