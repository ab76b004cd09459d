"""Happenings with policy: what checks found, and what was decided."""

from collections.abc import Mapping
from typing import ClassVar

from msgspec import Struct

from tideover.events.event import Event


class CheckRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One check in one stage. `found` are findings with what they meant: `"spf-fail=3"`,
    `"helo-ours=reject"`; in brackets where the check only runs dry. `ms` is how long it took.
    """

    check: str
    stage: str
    ms: float
    found: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    evidence: Mapping[str, str] = {}
    undecided: str = ""


class PolicyJudged(Event, frozen=True, kw_only=True):
    """What the checks together led to: `verdict` is accept, hold, defer or reject.

    For `explain`: what is refused is told by an event of its own, too. With `recipient` it is about
    that one, else about the whole message. `because` names the finding that decided, `score` is the
    sum; `dry_run` is what would have been decided if the checks that run dry counted.
    """

    level: ClassVar[str] = "debug"
    session: str
    client: str
    message: str
    sender: str
    verdict: str
    recipient: str | None = None
    because: str = ""
    reason: str = ""
    score: float = 0.0
    profile: str = "default"
    dry_run: str = ""
    checks: tuple[CheckRecord, ...] = ()


class SealFailed(Event, frozen=True, kw_only=True):
    """The key that seals the mail of a domain can't be used; mail goes on without the seal."""

    level: ClassVar[str] = "error"
    domain: str
    reason: str


class CheckFailed(Event, frozen=True, kw_only=True):
    """A check can't work (a bug of ours, or a key that can't be read); it counts as undecided."""

    level: ClassVar[str] = "error"
    check: str
    reason: str
