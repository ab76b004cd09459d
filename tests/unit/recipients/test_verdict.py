"""What is known of an address becomes 250, 450 or 550: the rules, one by one."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tideover.recipients.answer import answer
from tideover.recipients.interface import (
    Confidence,
    Match,
    Says,
    Silence,
    Terms,
    Verdict,
)
from tideover.recipients.verdict import decide, is_enough, surest

NOW = 1_800_000_000.0
ACCEPTABLE = [
    Confidence.LISTED,
    Confidence.HASHED,
    Confidence.LEARNED,
    Confidence.PATTERN,
    Confidence.CATCH_ALL,
]


def named(confidence, source="s", **terms):
    return Says(source, Match(confidence, "x", Terms(**terms)), Silence.NOTHING)


def silent(silence, source="s", trouble=None):
    return Says(source, None, silence, trouble)


WHOLE = silent(Silence.NO_SUCH, "whole")
LEARNING = silent(Silence.NOTHING, "learn")
STALE = silent(Silence.UNSURE, "stale", "can't be read")


def verdict(*said, **settings):
    return decide("example.com", said, now=NOW, **settings).verdict


def code(*said, **settings):
    reply = answer(decide("example.com", said, now=NOW, **settings))
    return 250 if reply is None else reply.code


@pytest.mark.parametrize("confidence", ACCEPTABLE)
def test_each_kind_of_knowledge_is_a_reason_to_accept(confidence):
    assert code(named(confidence)) == 250
    assert code(WHOLE, STALE, named(confidence)) == 250


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ((WHOLE,), 550),
        ((WHOLE, LEARNING), 550),
        ((LEARNING,), 450),
        ((STALE,), 450),
        ((WHOLE, STALE), 450),
        ((STALE, WHOLE), 450),
        ((), 450),
    ],
)
def test_silence_means_no_only_when_a_whole_list_is_fresh_and_nobody_is_unsure(said, expected):
    assert code(*said) == expected


def test_what_the_primary_refused_is_refused():
    assert code(STALE, named(Confidence.REFUSED)) == 550


def test_the_first_exact_word_counts():
    refused, listed = named(Confidence.REFUSED, "learn"), named(Confidence.LISTED, "file")
    assert code(refused, listed) == 550
    assert code(listed, refused) == 250


def test_an_exact_word_outranks_a_general_one_wherever_it_stands():
    for general in (Confidence.PATTERN, Confidence.CATCH_ALL):
        assert code(named(general), named(Confidence.REFUSED)) == 550
    found = decide("d", [named(Confidence.CATCH_ALL, "a"), named(Confidence.PATTERN, "b")], now=NOW)
    assert (found.confidence, found.source) == (Confidence.PATTERN, "b")


@pytest.mark.parametrize("other", [named(c, "other") for c in ACCEPTABLE])
@pytest.mark.parametrize("trap_first", [True, False])
def test_a_honeypot_is_one_whichever_source_says_so(other, trap_first):
    trap = named(Confidence.LISTED, "trap", honeypot=True)
    said = (trap, other) if trap_first else (other, trap)
    assert verdict(*said) is Verdict.REJECT
    assert verdict(*said, swallow_honeypots=True) is Verdict.SWALLOW
    assert decide("d", said, now=NOW).confidence is Confidence.HONEYPOT


def test_a_honeypot_sounds_like_an_unknown_recipient():
    trap = named(Confidence.PATTERN, honeypot=True)
    found = [decide("d", said, now=NOW) for said in ((trap,), (WHOLE,))]
    assert answer(found[0]) == answer(found[1])


def test_reject_with_text():
    found = decide("d", [named(Confidence.LISTED, reject="He has left us")], now=NOW)
    assert str(answer(found)) == "550 5.1.1 He has left us"


def test_an_entry_that_has_expired_is_not_there():
    assert code(named(Confidence.LISTED, expires=NOW), WHOLE) == 550
    assert code(named(Confidence.LISTED, expires=NOW + 1), WHOLE) == 250
    assert code(named(Confidence.LISTED, expires=NOW, honeypot=True), STALE) == 450


@pytest.mark.parametrize(("has", "minimum"), list(itertools.product(ACCEPTABLE, ACCEPTABLE)))
def test_what_is_less_sure_than_the_minimum_is_deferred(has, minimum):
    enough = ACCEPTABLE.index(has) <= ACCEPTABLE.index(minimum)
    assert is_enough(has, minimum) is enough
    assert code(named(has), minimum=minimum) == (250 if enough else 450)


def test_the_size_limit_goes_along():
    assert decide("d", [named(Confidence.HASHED, max_size=9)], now=NOW).max_size == 9


saids = st.lists(
    st.builds(
        Says,
        st.sampled_from(["a", "b", "c"]),
        st.none()
        | st.builds(
            Match,
            st.sampled_from([*ACCEPTABLE, Confidence.REFUSED]),
            st.just("x"),
            st.builds(
                Terms,
                honeypot=st.booleans(),
                reject=st.none() | st.just("no"),
                expires=st.none() | st.sampled_from([NOW - 1, NOW + 1]),
            ),
        ),
        st.sampled_from(list(Silence)),
        st.none() | st.just("trouble"),
    ),
    max_size=5,
)


@given(saids, st.sampled_from(ACCEPTABLE), st.booleans())
def test_I8_nobody_is_accepted_whom_no_source_names(said, minimum, swallow):
    found = decide("d", said, now=NOW, minimum=minimum, swallow_honeypots=swallow)
    alive = [
        s.match
        for s in said
        if s.match is not None and (s.match.terms.expires is None or s.match.terms.expires > NOW)
    ]
    if found.verdict is Verdict.ACCEPT:
        assert any(is_enough(m.confidence, minimum) and not m.terms.reject for m in alive)
        assert not any(m.terms.honeypot for m in alive)
    if found.verdict is Verdict.REJECT and not alive:
        assert any(s.silence is Silence.NO_SUCH for s in said)
        assert not any(s.silence is Silence.UNSURE for s in said)
    assert found.verdict in (Verdict.ACCEPT, Verdict.DEFER, Verdict.REJECT, Verdict.SWALLOW)


def test_the_surest_of_several_minima():
    assert (
        surest([Confidence.CATCH_ALL, Confidence.HASHED, Confidence.PATTERN]) is Confidence.HASHED
    )


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        (
            "Sie ist weg – schreiben Sie an „Jörg Groß“",
            'Sie ist weg - schreiben Sie an "Jorg Gross"',
        ),
        ("Пётр has left", "???? has left"),
        ("他已離開", "No such recipient here"),
        ("two\r\n250 lines\t\x00.", "two 250 lines ?."),
        ("\u2028", "No such recipient here"),
    ],
)
def test_what_a_source_wants_said_is_one_line_of_ascii(text, heard):
    found = decide("d", [named(Confidence.LISTED, reject=text)], now=NOW)
    assert answer(found).to_wire() == f"550 5.1.1 {heard}\r\n".encode("ascii")
