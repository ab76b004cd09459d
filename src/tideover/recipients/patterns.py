"""Patterns for local parts: RE2, so that no pattern of a stranger's feed can hold us up."""

import re
from collections.abc import Sequence
from typing import Any, Final

from tideover.recipients.interface import NO_TERMS, Terms

MAX_PATTERN: Final = 1000
"""Characters in one pattern."""
MAX_PATTERNS: Final = 1_000
"""Patterns in one list: each costs 3 µs at each lookup that no name answers."""
_MAX_MEMORY: Final = 1 << 20


class PatternError(ValueError):
    """RE2 refuses the pattern. The text is for the operator."""


class Pattern:
    """One pattern. It matches a whole local part, by its key (`names.local_key`: lower-case)."""

    __slots__ = ("_compiled", "terms", "text")

    def __init__(self, text: str, terms: Terms = NO_TERMS) -> None:
        """Compile.

        Raises:
            PatternError: RE2 can't use it.
        """
        self.text = text
        self.terms = terms
        self._compiled = _compile(text)

    def matches(self, key: str) -> bool:
        """Whether the whole key matches."""
        return self._compiled.fullmatch(key) is not None


def first_match(patterns: Sequence[Pattern], *keys: str, now: float) -> Pattern | None:
    """The first pattern that one of the keys matches, in the list's order, and that has not
    expired by now (Unix time).
    """
    matching = (p for p in patterns if any(map(p.matches, keys)))
    return next((p for p in matching if p.terms.count_at(now)), None)


def _compile(text: str) -> Any:  # noqa: ANN401 - re2 has no types
    if len(text) > MAX_PATTERN:
        raise PatternError(f"longer than {MAX_PATTERN} characters")
    import re2  # a shared library that many servers never need

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    options.case_sensitive = False
    try:
        return re2.compile(text, options)
    except (re2.error, re.error, UnicodeError) as error:
        reason = error.args[0] if error.args else error
        if isinstance(reason, bytes):
            reason = reason.decode("utf-8", "replace")
        raise PatternError(f"not a pattern that RE2 takes: {reason}") from None
