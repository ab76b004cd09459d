"""Backoff of single messages."""

from hypothesis import given
from hypothesis import strategies as st

from tideover.outbound.schedule import backoff


def test_doubles_up_to_the_maximum():
    delays = [backoff(n, first=60.0, maximum=3600.0, chance=0.0) for n in range(8)]
    assert delays == [60, 120, 240, 480, 960, 1920, 3600, 3600]


@given(st.integers(0, 10**6), st.floats(0, 1, exclude_max=True))
def test_jitter_shortens_by_a_fifth_at_most(attempts, chance):
    full = backoff(attempts, first=60.0, maximum=3600.0, chance=0.0)
    assert 0.8 * full <= backoff(attempts, first=60.0, maximum=3600.0, chance=chance) <= full
