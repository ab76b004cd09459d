"""From what all sources say of an address to what the client is told. One pure function.

The rules, in order:
    1. A honeypot is one, whichever source says so.
    2. An exact word decides: listed, hashed, learned, refused by the primary. The first source in
       the domain's order that has one is believed; so is its "reject with text".
    3. Else a pattern, else a catch-all, in the same order of sources.
    4. What is less sure than the domain's (or its feed's) minimum confidence is deferred.
    5. Nobody names it: 550 only when some source's list is whole and fresh and none is unsure;
       otherwise 450. A source in trouble thus never means "reject all", nor "accept all" (I8).
"""

from collections.abc import Sequence
from typing import Final

from tideover.config.values import source_rest
from tideover.recipients.interface import Confidence, Finding, Match, Says, Silence, Verdict

_EXACT: Final = frozenset(
    {Confidence.LISTED, Confidence.HASHED, Confidence.LEARNED, Confidence.REFUSED}
)
_RANK: Final = {
    Confidence.LISTED: 0,
    Confidence.HASHED: 1,
    Confidence.LEARNED: 2,
    Confidence.PATTERN: 3,
    Confidence.CATCH_ALL: 4,
}


def is_enough(confidence: Confidence, minimum: Confidence) -> bool:
    """Whether this confidence is at least `minimum`, one of the five that can be accepted."""
    return _RANK.get(confidence, 9) <= _RANK[minimum]


def surest(confidences: Sequence[Confidence]) -> Confidence:
    """The surest of these, of the five that can be accepted."""
    return min(confidences, key=_RANK.__getitem__)


def decide(
    domain: str,
    said: Sequence[Says],
    *,
    now: float,
    minimum: Confidence = Confidence.CATCH_ALL,
    swallow_honeypots: bool = False,
) -> Finding:
    """The finding for an address of which the domain's sources, in their order, say `said`.

    An entry that has expired by `now` (Unix time) counts as if it were not there.
    """
    words = [
        (says.source, says.match)
        for says in said
        if says.match is not None and says.match.terms.count_at(now)
    ]
    trap = next((word for word in words if word[1].terms.honeypot), None)
    if trap is not None:
        return Finding(
            verdict=Verdict.SWALLOW if swallow_honeypots else Verdict.REJECT,
            confidence=Confidence.HONEYPOT,
            domain=domain,
            source=trap[0],
            reason="a honeypot",
            text=trap[1].terms.reject,
        )
    for level in (_EXACT, {Confidence.PATTERN}, {Confidence.CATCH_ALL}):
        for source, match in words:
            if match.confidence in level:
                return _by_word(domain, source, match, minimum)
    return _by_silence(domain, said)


def _by_word(domain: str, source: str, match: Match, minimum: Confidence) -> Finding:
    confidence, terms = match.confidence, match.terms
    verdict, reason = Verdict.ACCEPT, f"matches {match.entry}" if match.entry else ""
    if confidence is Confidence.REFUSED:
        verdict, reason = Verdict.REJECT, "the primary refuses it"
    elif terms.reject is not None:
        verdict, reason = Verdict.REJECT, "its source refuses it"
    elif not is_enough(confidence, minimum):
        verdict, reason = Verdict.DEFER, f"{confidence} only, and the least accepted is {minimum}"
    return Finding(
        verdict=verdict,
        confidence=confidence,
        domain=domain,
        source=source,
        reason=reason,
        text=terms.reject,
        max_size=terms.max_size,
    )


def _doubt(says: Says) -> str:
    trouble = says.trouble or "not known now"
    where = source_rest(says.source)
    return trouble if where and where in trouble else f"{says.source}: {trouble}"


def _by_silence(domain: str, said: Sequence[Says]) -> Finding:
    unsure = [says for says in said if says.silence is Silence.UNSURE]
    if unsure:
        why = "; ".join(map(_doubt, unsure))
        return Finding(verdict=Verdict.DEFER, domain=domain, source=unsure[0].source, reason=why)
    if any(says.silence is Silence.NO_SUCH for says in said):
        return Finding(verdict=Verdict.REJECT, domain=domain, reason="no source names it")
    return Finding(verdict=Verdict.DEFER, domain=domain, reason="never seen, and no list is whole")
