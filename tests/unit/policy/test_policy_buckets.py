"""Token buckets: never more than was allowed, and room again when it was said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tideover.config.policy_values import RateLimit
from tideover.policy.buckets import Buckets

NOW = 1_700_000_000.0
TEN = RateLimit(10, 60.0)


def test_so_many_at_once_and_then_evenly():
    buckets = Buckets()
    assert [buckets.take("k", "a", TEN, NOW) for _ in range(10)] == [0.0] * 10
    assert buckets.take("k", "a", TEN, NOW) == 6.0
    assert buckets.take("k", "a", TEN, NOW + 5) == pytest.approx(1.0)
    assert buckets.take("k", "a", TEN, NOW + 6) == 0.0
    assert buckets.take("k", "a", TEN, NOW + 6) > 5.9
    assert [buckets.take("k", "a", TEN, NOW + 66) for _ in range(10)] == [0.0] * 10


def test_keys_and_kinds_do_not_share():
    buckets, one = Buckets(), RateLimit(1, 60.0)
    assert buckets.take("k", "a", one, NOW) == 0.0
    assert buckets.take("k", "b", one, NOW) == 0.0
    assert buckets.take("l", "a", one, NOW) == 0.0
    assert buckets.take("k", "a", one, NOW) == 60.0


def test_a_clock_that_is_set_back_stops_nobody_for_longer_than_the_bucket_is_full():
    buckets = Buckets()
    for _ in range(10):
        buckets.take("k", "a", TEN, NOW)
    assert buckets.take("k", "a", TEN, NOW - 86_400) == 6.0
    assert buckets.take("k", "a", TEN, NOW - 86_400 + 6) == 0.0
    assert [buckets.take("k", "b", TEN, NOW - n * 86_400) for n in range(10)] == [0.0] * 10


def test_a_limit_that_was_lowered_is_met_in_its_own_time():
    buckets = Buckets()
    for _ in range(1000):
        buckets.take("k", "a", RateLimit(1000, 60.0), NOW)
    assert buckets.take("k", "a", TEN, NOW) == 6.0


def test_the_bucket_that_was_used_longest_ago_goes_first():
    buckets, one = Buckets(most=2), RateLimit(1, 60.0)
    for key in "aba":
        buckets.take("k", key, one, NOW)
    buckets.take("k", "c", one, NOW)
    assert buckets.take("k", "a", one, NOW) == 60.0
    assert buckets.take("k", "b", one, NOW) == 0.0
    assert sum(map(len, buckets._kinds.values())) == 2


@given(
    amount=st.integers(1, 50),
    seconds=st.floats(0.1, 1e6),
    steps=st.lists(st.floats(0, 1e5), max_size=200),
)
def test_no_span_of_time_sees_more_than_the_amount_and_what_flowed_off(amount, seconds, steps):
    buckets, limit, now = Buckets(), RateLimit(amount, seconds), NOW
    passed = []
    for step in steps:
        now += step
        wait = buckets.take("k", "a", limit, now)
        if wait == 0.0:
            passed.append(now)
        else:
            assert 0 < wait <= seconds / amount * (1 + 1e-6)
    for first, start in enumerate(passed):
        for last in range(first, len(passed)):
            flowed = (passed[last] - start) * amount / seconds
            assert last - first + 1 <= amount + flowed + 1e-3


@given(amount=st.integers(1, 1000), seconds=st.floats(0.1, 1e6))
def test_there_is_room_when_it_was_said(amount, seconds):
    buckets, limit = Buckets(), RateLimit(amount, seconds)
    for _ in range(amount):
        assert buckets.take("k", "a", limit, NOW) == 0.0
    wait = buckets.take("k", "a", limit, NOW)
    assert buckets.take("k", "a", limit, NOW + wait + 1e-5) == 0.0
