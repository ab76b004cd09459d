"""From findings to one decision."""

import pytest

from tideover.config.findings import CHECKS, FINDINGS
from tideover.config.policy import Profile
from tideover.policy.decision import decide, meanings, records, reply_for
from tideover.policy.interface import Found, Result, Stage, Verb
from tideover.policy.round import Outcome
from tideover.smtp.replies import reply


def said(check, *names, stage=Stage.MAIL, **fields):
    found = tuple(Found(name=name, **fields) for name in names)
    return Outcome(check, stage, Result(found=found), 0.001)


def test_nothing_found_is_accepted():
    decision = decide([said("helo"), said("spf")], Profile())
    assert (decision.verb, decision.reply, decision.score) == (Verb.ACCEPT, None, 0.0)


@pytest.mark.parametrize("name", sorted(FINDINGS))
def test_each_finding_has_a_text_that_fits_its_class(name):
    known = FINDINGS[name]
    assert known.check in {*CHECKS, "engines", "score"}
    refusal = reply_for(Found(name=name), Verb.REJECT)
    deferral = reply_for(Found(name=name), Verb.DEFER)
    assert refusal.permanent
    assert refusal.enhanced.startswith("5.")
    assert deferral.temporary
    assert deferral.enhanced.startswith("4.")
    assert refusal.lines == deferral.lines
    assert len(refusal.to_wire()) <= 512


def test_a_rejection_beats_a_deferral_and_that_beats_holding():
    outcomes = [
        said("rspamd", "rspamd-quarantine", stage=Stage.MESSAGE),
        said("rate-limits", "rate-client", stage=Stage.RCPT),
        said("helo", "helo-ours"),
    ]
    assert decide(outcomes, Profile()).because == "helo-ours"
    assert decide(outcomes[:2], Profile()).because == "rate-client"
    assert decide(outcomes[:1], Profile()).verb is Verb.HOLD


def test_among_rejections_the_first_of_the_profile_gives_the_text():
    outcomes = [said("own-sender", "own-sender"), said("helo", "helo-ours")]
    assert decide(outcomes, Profile()).because == "helo-ours"
    swapped = Profile(checks=("own-sender", "helo"))
    assert decide(outcomes, swapped).because == "own-sender"


def test_checks_that_a_profile_does_not_name_count_for_nothing():
    assert decide([said("helo", "helo-ours")], Profile(checks=("spf",))).verb is Verb.ACCEPT
    assert records([said("helo", "helo-ours")], Profile(checks=("spf",))) == ()


def test_the_profile_has_the_last_word_on_what_a_finding_means():
    listed = said("dns-lists", "dns-listed", action=3.0)
    assert decide([listed], Profile()).score == 3.0
    assert decide([listed], Profile(actions={"dns-listed": "reject"})).verb is Verb.REJECT
    assert decide([listed], Profile(actions={"dns-listed": 0.5})).score == 0.5


@pytest.mark.parametrize(
    ("score", "verb"),
    [(4.9, Verb.ACCEPT), (5.0, Verb.HOLD), (7.0, Verb.DEFER), (9.0, Verb.REJECT)],
)
def test_thresholds(score, verb):
    profile = Profile(hold_score=5.0, defer_score=7.0, reject_score=9.0)
    decision = decide([said("spf", "spf-fail", action=score)], profile)
    assert decision.verb is verb
    assert decision.because == ("" if verb is Verb.ACCEPT else "score")
    assert (decision.reply is not None) == (verb in (Verb.DEFER, Verb.REJECT))


def test_a_sum_that_rejects_beats_a_single_deferral():
    outcomes = [said("rate-limits", "rate-client"), said("spf", "spf-fail", action=12.0)]
    decision = decide(outcomes, Profile())
    assert (decision.verb, decision.because) == (Verb.REJECT, "score")
    assert "SPF" in decision.reply.lines[0]


def test_a_welcome_lowers_the_sum():
    outcomes = [
        said("dns-lists", "dns-welcome", action=-5.0),
        said("spf", "spf-fail", action=12.0),
    ]
    assert decide(outcomes, Profile()).verb is Verb.ACCEPT


def test_accept_disregards_what_was_found_before_the_body_only():
    profile = Profile(actions={"dns-welcome": "accept"})
    welcome = said("dns-lists", "dns-welcome", stage=Stage.CONNECT)
    assert decide([welcome, said("helo", "helo-ours")], profile).verb is Verb.ACCEPT
    virus = said("clamav", "virus", stage=Stage.MESSAGE)
    assert decide([welcome, virus], profile).because == "virus"


def test_one_thing_found_in_two_stages_counts_once():
    twice = [
        said("dns-lists", "dns-listed", action=6.0, reason="bl.example", stage=Stage.CONNECT),
        said("dns-lists", "dns-listed", action=6.0, reason="bl.example", stage=Stage.HELO),
    ]
    assert decide(twice, Profile()).score == 6.0


def test_at_the_message_a_check_takes_back_what_it_said_before():
    outcomes = [
        said("milters", "milter-reject", stage=Stage.RCPT),
        said("milters", stage=Stage.MESSAGE),
    ]
    assert decide(outcomes, Profile()).verb is Verb.ACCEPT


def test_dry_run_counts_only_when_it_is_asked_for():
    profile = Profile(dry_run=("helo",))
    outcomes = [said("helo", "helo-ours")]
    assert decide(outcomes, profile).verb is Verb.ACCEPT
    assert decide(outcomes, profile, dry=True).verb is Verb.REJECT
    assert list(meanings(outcomes, profile)) == []


def test_a_checks_own_text_is_what_the_client_hears():
    own = reply(550, "5.7.23", "SPF: example.net says no")
    decision = decide([said("spf", "spf-fail", reply=own)], Profile(actions={"spf-fail": "reject"}))
    assert decision.reply is own
    later = decide([said("spf", "spf-fail", reply=own)], Profile(actions={"spf-fail": "defer"}))
    assert str(later.reply) == "450 4.7.23 SPF: example.net says no"
