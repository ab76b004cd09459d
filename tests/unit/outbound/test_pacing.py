"""Additive increase, halving, bounds."""

from hypothesis import given
from hypothesis import strategies as st

from tideover.outbound.pacing import Pace


def test_one_more_for_each_full_round():
    pace = Pace(2, 4)
    assert [pace.succeeded() for _ in range(6)] == [False, True, False, False, True, False]
    assert pace.allowed == 4
    assert pace.at_maximum


def test_halved_but_never_none():
    pace = Pace(5, 20)
    seen = []
    for _ in range(4):
        pace.failed()
        seen.append(pace.allowed)
    assert seen == [2, 1, 1, 1]


def test_a_failure_begins_the_round_anew():
    pace = Pace(2, 9)
    pace.succeeded()
    pace.failed()
    assert pace.allowed == 1
    assert pace.succeeded()
    assert not pace.succeeded()


def test_restart_and_new_bounds():
    pace = Pace(5, 20)
    while not pace.at_maximum:
        pace.succeeded()
    assert pace.allowed == 20
    pace.configure(5, 8)
    assert pace.allowed == 8
    pace.restart()
    assert pace.allowed == 5
    assert Pace(50, 8).allowed == 8


@given(st.integers(-1, 9), st.integers(0, 9), st.lists(st.booleans()))
def test_always_within_bounds(first, maximum, answers):
    pace = Pace(first, maximum)
    for good in answers:
        pace.succeeded() if good else pace.failed()
        assert 1 <= pace.allowed <= max(1, maximum)
