"""From findings to one decision: verbs, scores, dry runs."""

import pytest

from tideover.config.policy import Profile
from tideover.policy.decision import decide, meanings, records
from tideover.policy.interface import Found, Result, Stage, Verb
from tideover.policy.round import Outcome
from tideover.smtp.replies import reply


def said(check, *found, stage=Stage.MAIL, **fields):
    named = tuple(Found(name=one) if isinstance(one, str) else one for one in found)
    return Outcome(check, stage, Result(found=named, **fields), 0.001)


def scored(check, score, stage=Stage.MAIL):
    return said(check, Found(name="dns-listed", reason=check, action=score), stage=stage)


def verdict(*outcomes, dry=False, **profile):
    decision = decide(outcomes, Profile(**profile), dry=dry)
    code = str(decision.reply)[:9] if decision.reply is not None else ""
    return decision.verb.value, decision.because, code


def test_nothing_found_is_nothing_against_it():
    assert verdict() == ("accept", "", "")
    assert verdict(said("spf"), said("helo", undecided="DNS")) == ("accept", "", "")


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (-50.0, ("accept", "", "")),
        (2.9, ("accept", "", "")),
        (3.0, ("hold", "score", "")),
        (4.0, ("defer", "score", "450 4.7.1")),
        (5.0, ("reject", "score", "550 5.7.1")),
    ],
)
def test_the_sum_counts_from_each_threshold_on(score, expected):
    profile = {"reject_score": 5.0, "defer_score": 4.0, "hold_score": 3.0}
    assert verdict(scored("helo", score), **profile) == expected


def test_what_speaks_for_a_client_is_taken_off():
    assert verdict(scored("helo", 12.0), scored("spf", -2.5))[0] == "accept"
    assert verdict(scored("helo", 12.5), scored("spf", -2.5))[0] == "reject"


def test_a_verb_beats_a_score_of_its_kind_and_yields_to_a_harsher_one():
    greylisted = said("greylist", "greylisted")
    checks = ("helo", "greylist")
    assert verdict(greylisted, checks=checks)[:2] == ("defer", "greylisted")
    assert verdict(greylisted, scored("helo", 10.0), checks=checks)[:2] == ("reject", "score")
    ours = said("helo", "helo-ours")
    assert verdict(greylisted, ours, checks=checks)[:2] == ("reject", "helo-ours")
    assert verdict(ours, scored("helo", 10.0), checks=checks)[:2] == ("reject", "helo-ours")


def test_of_equal_verbs_the_check_that_stands_first_gives_the_text():
    both = said("own-sender", "own-sender"), said("helo", "helo-ours")
    assert verdict(*both)[1] == "helo-ours"
    assert verdict(*both, checks=("own-sender", "helo"))[1] == "own-sender"


def test_accept_sets_aside_what_was_said_before_the_body_and_no_more():
    welcome = said("dns-lists", "dns-welcome", stage=Stage.CONNECT)
    ours, virus = said("helo", "helo-ours"), said("clamav", "virus", stage=Stage.MESSAGE)
    actions = {"dns-welcome": "accept"}
    assert verdict(welcome, ours, scored("spf", 50.0), actions=actions)[0] == "accept"
    assert verdict(welcome, ours, virus, actions=actions)[1] == "virus"


def test_the_profile_says_what_a_finding_means_before_the_check_does():
    listed = scored("dns-lists", 1.0)
    assert verdict(listed)[0] == "accept"
    assert verdict(listed, actions={"dns-listed": "reject"})[0] == "reject"
    assert verdict(said("helo", "helo-ours"), actions={"helo-ours": 0})[0] == "accept"


def test_checks_that_are_not_named_or_run_dry_do_not_count():
    ours = said("helo", "helo-ours")
    assert verdict(ours, checks=("spf",))[0] == "accept"
    assert verdict(ours, dry_run=("helo",))[0] == "accept"
    assert verdict(ours, dry_run=("helo",), dry=True)[0] == "reject"


def test_what_is_found_in_several_stages_counts_once():
    early = [scored("dns-lists", 6.0, stage) for stage in (Stage.HELO, Stage.MAIL)]
    assert verdict(*early)[0] == "accept"
    others = said("dns-lists", Found(name="dns-listed", reason="another list", action=6.0))
    assert verdict(*early, others)[0] == "reject"


def test_a_check_that_speaks_of_the_message_takes_back_what_it_said_before():
    before = said("milters", "milter-reject", stage=Stage.RCPT)
    after = said("milters", stage=Stage.MESSAGE)
    assert verdict(before)[0] == "reject"
    assert verdict(before, after)[0] == "accept"


@pytest.mark.parametrize(
    ("own", "action", "code"),
    [
        (None, "reject", "550 5.7.1"),
        (None, "defer", "450 4.7.1"),
        (reply(451, "4.3.0", "x"), "reject", "550 5.3.0"),
        (reply(554, "5.6.0", "x"), "defer", "450 4.6.0"),
        (reply(554, "5.6.0", "x"), "reject", "554 5.6.0"),
    ],
)
def test_a_reply_says_what_is_done(own, action, code):
    outcome = said("helo", Found(name="helo-ours", reply=own))
    assert verdict(outcome, actions={"helo-ours": action})[2] == code


def test_a_refusal_by_score_names_what_weighs_most():
    scores = {"helo": 1.0, "spf": 4.0, "bounces": 3.0, "dkim": 2.5, "arc": -0.5}
    parts = [scored(name, score) for name, score in scores.items()]
    decision = decide(parts, Profile(reject_score=5.0))
    assert decision.verb is Verb.REJECT
    assert decision.reason == "dns-listed=4, dns-listed=3, dns-listed=2.5"
    assert decision.score == 10.0


def test_all_checks_of_the_profile_are_told_with_evidence_and_time():
    outcomes = [
        said("spf", "spf-softfail", evidence={"mfrom": "softfail"}), said("helo"),
        said("dns-lists", undecided="no answer"), said("greylist", "greylisted"),
    ]  # fmt: skip
    named = ("dns-lists", "spf", "helo")
    told = records(outcomes, Profile(checks=named, dry_run=("spf",)))
    assert [(one.check, one.found, one.undecided, one.ms) for one in told] == [
        ("spf", ("(spf-softfail=1)",), "", 1.0),
        ("helo", (), "", 1.0),
        ("dns-lists", (), "no answer", 1.0),
    ]
    assert told[0].evidence == {"mfrom": "softfail"}
    assert list(meanings(outcomes, Profile(checks=named))) == ["spf-softfail=1"]
