"""What we know of an address, and what a client is told: the words of this package.

A *source* says what it knows (`Says`); `verdict.decide` turns all that is said into a `Finding`.
"""

from collections.abc import Awaitable
from enum import StrEnum
from typing import Protocol

from msgspec import Struct


class Confidence(StrEnum):
    """What is known of an address, the surest first; the first five may be reasons to accept.

    LISTED: a list names it. HASHED: a hashed feed holds it. LEARNED: the primary itself took mail
    for it. PATTERN: a pattern of a source matches. CATCH_ALL: the domain takes whatever comes.
    NEVER_SEEN: nobody names it. REFUSED: the primary itself refused it. HONEYPOT: a trap, whose
    mail nobody wants.
    """

    LISTED = "listed"
    HASHED = "hashed"
    LEARNED = "learned"
    PATTERN = "pattern"
    CATCH_ALL = "catch-all"
    NEVER_SEEN = "never-seen"
    REFUSED = "refused"
    HONEYPOT = "honeypot"


class Verdict(StrEnum):
    """What becomes of RCPT: ACCEPT 250; SWALLOW 250, and the recipient is dropped (a honeypot);
    DEFER 450; REJECT 550; FOREIGN 554, not a domain of ours; CLOSED 556, its DNS says that it takes
    no mail (RFC 7505).
    """

    ACCEPT = "accept"
    SWALLOW = "swallow"
    DEFER = "defer"
    REJECT = "reject"
    FOREIGN = "foreign"
    CLOSED = "closed"


class Terms(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a source adds to an entry. `max_size` in octets; `reject`: refuse with this text;
    `expires`: Unix time from which the entry counts no more.
    """

    honeypot: bool = False
    max_size: int | None = None
    reject: str | None = None
    expires: float | None = None

    def count_at(self, now: float) -> bool:
        """Whether the entry still counts at this time (Unix time)."""
        return self.expires is None or self.expires > now


NO_TERMS = Terms()


class Match(Struct, frozen=True):
    """A source names an address. `entry` is what matched, for people ("" where it is secret, as in
    a hashed feed); `at` is when the primary said so (learned, refused), Unix time.
    """

    confidence: Confidence
    entry: str = ""
    terms: Terms = NO_TERMS
    at: float | None = None


class Silence(StrEnum):
    """What it means when a source does not name an address.

    NO_SUCH: its list is whole and fresh, so the address does not exist. NOTHING: it never claimed
    to know all (what was learned). UNSURE: it may exist: the source is stale, was never read, or
    can't be asked now.
    """

    NO_SUCH = "no-such"
    NOTHING = "nothing"
    UNSURE = "unsure"


class Says(Struct, frozen=True):
    """What one source says of an address. `trouble` is what is wrong with the source now."""

    source: str
    match: Match | None
    silence: Silence
    trouble: str | None = None


class Finding(Struct, frozen=True, kw_only=True):
    """The answer for one address.

    `domain` is the A-label domain when it is ours, else ""; `source` the one that decided;
    `reason` is for the operator; `text` what the client is told instead of the usual; `max_size`
    the largest message that this recipient takes (octets), if a source says.
    """

    verdict: Verdict
    confidence: Confidence = Confidence.NEVER_SEEN
    domain: str = ""
    source: str | None = None
    reason: str = ""
    text: str | None = None
    max_size: int | None = None


class Directory(Protocol):
    """Who exists. Never raises for what a client wrote."""

    def lookup(self, local: str, domain: str) -> Finding | Awaitable[Finding]:
        """`local` is the unquoted local part, `domain` as written (U- or A-labels, any case).

        A value when memory has the answer; an awaitable when a source must be asked, which ends
        within the sources' timeouts.
        """

    def trap(self, local: str, domain: str) -> Finding | None:
        """A honeypot, as far as memory tells; None for all else. `domain` in A-labels, ours."""
