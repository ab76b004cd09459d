"""From findings to one decision. Pure: what a finding means is data, and is looked up here only.

A rejection beats a deferral, and that beats holding; among several of one kind the check that
stands first in the profile gives the text. Undecided checks count for nothing (I14).
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from msgspec import Struct

from tideover.config.findings import FINDINGS
from tideover.config.policy import Profile
from tideover.events.policy_records import CheckRecord
from tideover.policy.interface import Action, Found, Stage, Verb
from tideover.policy.round import Outcome
from tideover.smtp.replies import Reply, reply

_STRENGTH: Final = {Verb.REJECT: 3, Verb.DEFER: 2, Verb.HOLD: 1}
_NAMED: Final = 3  # findings that a refusal by score names


class Decision(Struct, frozen=True, kw_only=True):
    """What is to be done. `reply` is there for REJECT and DEFER."""

    verb: Verb = Verb.ACCEPT
    reply: Reply | None = None
    because: str = ""
    reason: str = ""
    score: float = 0.0


_NOTHING: Final = Decision()


class _Weighed(Struct, frozen=True):
    """A finding as a verb (ACCEPT stands for "as if nothing else") or as a score."""

    found: Found
    verb: Verb | None
    score: float
    before_body: bool


def action_of(found: Found, profile: Profile) -> Action:
    """What a finding means: by the profile, else by the check itself, else by default."""
    known = profile.actions.get(found.name, FINDINGS[found.name].action)
    if found.action is not None and found.name not in profile.actions:
        return found.action
    return known if isinstance(known, int | float) else Verb(known)


def decide(outcomes: Sequence[Outcome], profile: Profile, *, dry: bool = False) -> Decision:
    """The decision by the checks that this profile names; `dry`: as if none ran dry."""
    weighed = _weigh(outcomes, profile, dry=dry)
    if not weighed:
        return _NOTHING
    if any(one.verb is Verb.ACCEPT for one in weighed):
        weighed = [one for one in weighed if not one.before_body]
    score = round(sum(one.score for one in weighed), 3)
    verbs = [one for one in weighed if one.verb in _STRENGTH]
    by_score = _by_score(score, profile)
    if verbs:
        first = max(verbs, key=lambda one: strength(one.verb))  # of equals the first
        verb = first.verb or Verb.ACCEPT
        if strength(verb) >= strength(by_score):
            found = first.found
            return Decision(
                verb=verb, reply=reply_for(found, verb), because=found.name,
                reason=found.reason or FINDINGS[found.name].meaning, score=score,
            )  # fmt: skip
    if by_score is not Verb.ACCEPT:
        return _scored(weighed, score, by_score)
    return Decision(score=score)


def strength(verb: Verb | None) -> int:
    """How much a verb outweighs: REJECT most, ACCEPT and none nothing."""
    return 0 if verb is None else _STRENGTH.get(verb, 0)


def reply_for(found: Found, verb: Verb) -> Reply | None:
    """What the client hears. A deferral says 4xx whatever the finding's own code is, and so on."""
    if verb not in (Verb.REJECT, Verb.DEFER):
        return None
    known = FINDINGS[found.name]
    answer = found.reply or reply(known.code, known.enhanced, known.text)
    if (verb is Verb.REJECT) == answer.permanent:
        return answer
    code, klass = (550, "5") if verb is Verb.REJECT else (450, "4")
    detail = (answer.enhanced or "0.7.1")[1:]
    return Reply(code, klass + detail, answer.lines)


def _weigh(outcomes: Sequence[Outcome], profile: Profile, *, dry: bool) -> Sequence[_Weighed]:
    """The findings that count, in the order of the profile, none twice."""
    speaking = [one for one in outcomes if one.result.found]
    if not speaking:
        return ()  # as most often: nothing below may cost anything then
    weighed: list[_Weighed] = []
    places = _places(profile.checks)
    last_words = {one.check for one in outcomes if one.stage is Stage.MESSAGE}
    seen: set[tuple[str, str]] = set()
    for outcome in sorted(speaking, key=lambda one: places.get(one.check, 0)):
        check, before_body = outcome.check, outcome.stage is not Stage.MESSAGE
        if check not in places or (check in profile.dry_run and not dry):
            continue
        if before_body and check in last_words:
            continue
        for found in outcome.result.found:
            if (found.name, found.reason) in seen:
                continue
            seen.add((found.name, found.reason))
            action = action_of(found, profile)
            verb = action if isinstance(action, Verb) else None
            score = 0.0 if isinstance(action, Verb) else action
            weighed.append(_Weighed(found, verb, score, before_body))
    return weighed


@lru_cache(maxsize=256)
def _places(checks: tuple[str, ...]) -> Mapping[str, int]:
    return {name: place for place, name in enumerate(checks)}


def _by_score(score: float, profile: Profile) -> Verb:
    if score >= profile.reject_score:
        return Verb.REJECT
    if profile.defer_score is not None and score >= profile.defer_score:
        return Verb.DEFER
    if profile.hold_score is not None and score >= profile.hold_score:
        return Verb.HOLD
    return Verb.ACCEPT


def _scored(weighed: Sequence[_Weighed], score: float, verb: Verb) -> Decision:
    """A refusal by the sum names what weighs most, so that the sender can mend it."""
    heavy = sorted(
        (one for one in weighed if one.score > 0), key=lambda one: one.score, reverse=True
    )[:_NAMED]
    texts = [reply_for(one.found, Verb.REJECT) for one in heavy]
    said = "; ".join(" ".join(text.lines) for text in texts if text)
    text = f"Too much speaks against this message: {said}"
    answer = reply(550, "5.7.1", text) if verb is Verb.REJECT else reply(450, "4.7.1", text)
    return Decision(
        verb=verb, reply=answer if verb in (Verb.REJECT, Verb.DEFER) else None, because="score",
        reason=", ".join(f"{one.found.name}={one.score:g}" for one in heavy), score=score,
    )  # fmt: skip


def meanings(outcomes: Sequence[Outcome], profile: Profile) -> Sequence[str]:
    """What was found and what it meant, as `spf-softfail=1`; only of checks that count."""
    return [
        f"{one.found.name}={one.verb.value if one.verb is not None else f'{one.score:g}'}"
        for one in _weigh(outcomes, profile, dry=False)
    ]


def records(outcomes: Iterable[Outcome], profile: Profile) -> tuple[CheckRecord, ...]:
    """What is told of the checks: all that were run, with what their findings meant."""
    return tuple(_record(one, profile) for one in outcomes if one.check in profile.checks)


def _record(outcome: Outcome, profile: Profile) -> CheckRecord:
    result = outcome.result
    if not result.found and not result.evidence and not result.undecided:
        return CheckRecord(check=outcome.check, stage=outcome.stage, ms=_ms(outcome))
    dry = outcome.check in profile.dry_run
    meant = [f"{found.name}={_written(action_of(found, profile))}" for found in result.found]
    return CheckRecord(
        check=outcome.check,
        stage=outcome.stage,
        ms=_ms(outcome),
        found=tuple(f"({one})" if dry else one for one in meant),
        reasons=tuple(found.reason for found in result.found if found.reason),
        evidence=result.evidence,
        undecided=result.undecided,
    )


def _ms(outcome: Outcome) -> float:
    return round(outcome.seconds * 1000, 2)


def _written(action: Action) -> str:
    return action.value if isinstance(action, Verb) else f"{action:g}"
