"""Checks that only look at what the session has noticed: early talkers and honeypots."""

from rcpt_facts import about, at_once, names

from tideover.config.policy import Profile
from tideover.policy.checks import early_talker, honeypots
from tideover.policy.decision import decide
from tideover.policy.interface import NOTHING, Stage, Verb
from tideover.policy.round import Outcome


def judged(check, *stages, **facts):
    """What a profile that names only this check makes of its word at these stages."""
    name = {early_talker: "early-talker", honeypots: "honeypots"}[check]
    outcomes = [
        Outcome(name, stage, at_once(check.make(None)(about(stage=stage, **facts))), 0.0)
        for stage in stages
    ]
    return decide(outcomes, Profile(checks=(name,)))


def test_who_waits_for_us_is_fine():
    assert at_once(early_talker.check(about())) == NOTHING
    assert at_once(honeypots.check(about())) == NOTHING


def test_early_talkers_are_refused_and_pipelining_counts_once():
    both = at_once(early_talker.check(about(early=True, pipelined=True)))
    assert names(both) == ["early-talker", "early-pipelining"]
    assert names(at_once(early_talker.check(about(early=True)))) == ["early-talker"]
    assert judged(early_talker, Stage.HELO, early=True).verb is Verb.REJECT
    twice = judged(early_talker, Stage.HELO, Stage.MAIL, pipelined=True)
    assert (twice.verb, twice.score) == (Verb.ACCEPT, 3.0)


def test_each_honeypot_counts_up_to_a_few():
    scores = [judged(honeypots, Stage.RCPT, honeypots=hits).score for hits in (0, 1, 2, 3, 50)]
    assert scores == [0.0, 5.0, 10.0, 15.0, 15.0]


def test_honeypots_count_once_when_the_message_is_there():
    assert judged(honeypots, Stage.RCPT, Stage.MESSAGE, honeypots=2).score == 10.0
    assert judged(honeypots, Stage.MESSAGE, honeypots=2).verb is Verb.REJECT
