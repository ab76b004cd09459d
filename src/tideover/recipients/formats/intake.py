"""What a parser hands its entries and mistakes to, and when a list is refused as a whole.

The rule: a malformed line spoils only itself as long as there are no more than `max_mistakes`
percent of all entries, and one is always forgiven unless that is 0. Entries of domains that nobody
wants are no mistakes. A list that has nothing for us is refused.
"""

from collections.abc import Callable
from typing import Final

from tideover.recipients.formats.entry import (
    EntryError,
    check_text,
    parse_address,
    parse_domain,
)
from tideover.recipients.interface import NO_TERMS, Terms
from tideover.recipients.listing import ANY_DOMAIN, ListBuilder
from tideover.recipients.patterns import MAX_PATTERNS, Pattern, PatternError
from tideover.recipients.sources.interface import Load, SourceError

MISTAKES_TOLD: Final = 3


def too_many(bad: int, total: int, max_mistakes: int) -> bool:
    """Whether so many malformed entries of all spoil the whole. `max_mistakes` in percent."""
    return bad > (max(1, total * max_mistakes // 100) if max_mistakes else 0)


class Intake:
    """Takes what one text holds. `label` is what mistakes call it: a path, an URL, a program.

    `tick` is called now and then; it may raise to stop everything.
    """

    __slots__ = ("_label", "_patterns", "_tick", "_told", "bad", "builder")

    def __init__(
        self, label: str, builder: ListBuilder, tick: Callable[[int], None] = lambda _: None
    ) -> None:
        self.builder = builder
        self.bad = 0
        self._label = label
        self._told: list[str] = []
        self._patterns = 0
        self._tick = tick

    def tick(self) -> None:
        """Say how far we are."""
        self._tick(self.builder.count)

    def mistake(self, number: int, what: object) -> None:
        """Line `number` is malformed."""
        self.bad += 1
        if len(self._told) < MISTAKES_TOLD:
            self._told.append(f"{self._label}:{number}: {what}")

    def address(self, text: str, terms: Terms = NO_TERMS, own: str = ANY_DOMAIN) -> None:
        """An address or a local part; the latter belongs to the domain `own`.

        Raises:
            EntryError: it is none.
        """
        local, domain = parse_address(text)
        self.builder.add(local, domain or own, terms)

    def catch_all(self, domain: str, terms: Terms = NO_TERMS, own: str = ANY_DOMAIN) -> None:
        """All of a domain; "" for `own`.

        Raises:
            EntryError: it is no domain.
        """
        self.builder.add_catch_all(parse_domain(domain) if domain else own, terms)

    def pattern(
        self, text: str, domain: str, terms: Terms = NO_TERMS, own: str = ANY_DOMAIN
    ) -> None:
        """A pattern for local parts of a domain; "" for `own`.

        Raises:
            EntryError: RE2 or we refuse it.
            SourceError: there are too many.
        """
        check_text(text)
        label = parse_domain(domain) if domain else own
        self._patterns += 1
        if self._patterns > MAX_PATTERNS:
            raise SourceError(f"{self._label}: more than {MAX_PATTERNS} patterns")
        try:
            self.builder.add_pattern(Pattern(text, terms), label)
        except PatternError as error:
            raise EntryError(_one_line(error)) from None

    def load(self, max_mistakes: int, domain: str | None, version: str | None) -> Load:
        """What came of it. `domain`: the only one that was wanted, if so; for the text.

        Raises:
            SourceError: too many mistakes, or nothing for us.
        """
        builder = self.builder
        total = builder.count + builder.skipped + self.bad
        if too_many(self.bad, total, max_mistakes):
            raise SourceError(self._all_mistakes(total))
        if not builder.count:
            others = f"; {builder.skipped} of other domains" if builder.skipped else ""
            mistakes = f"; {self._all_mistakes(total)}" if self.bad else ""
            whose = f" of {domain}" if domain else ""
            raise SourceError(f"{self._label}: names no recipient{whose}{others}{mistakes}")
        return Load(
            lists=builder.build(),
            version=version,
            mistakes=tuple(self._told),
            bad=self.bad,
            skipped=builder.skipped,
        )

    def _all_mistakes(self, total: int) -> str:
        """The first mistakes, and how many there are."""
        count = f" ({self.bad} of {total} lines are malformed)" if self.bad > 1 else ""
        return "; ".join(self._told) + count


def _one_line(error: Exception) -> str:
    text = "".join(sign if sign.isprintable() else "?" for sign in str(error))
    return text[:200]
