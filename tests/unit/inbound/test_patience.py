from tideover.inbound.patience import RATE_GRACE, Patience


def test_silence_is_counted_from_the_last_complete_thing():
    patience = Patience(100.0)
    assert patience.left(110.0, 30.0) == 20.0
    patience.progressed(120.0)
    assert patience.left(130.0, 30.0) == 20.0
    patience.took(1, 140.0)
    assert patience.left(170.0, 30.0) == 0.0


def test_a_body_needs_its_rate_after_the_grace():
    patience = Patience(0.0)
    patience.body_begins(10.0)
    patience.took(100, 11.0)
    end = 10.0 + RATE_GRACE
    assert not patience.too_slow(end, 1000)
    assert patience.too_slow(end + 1, 1000)
    patience.took(1000 * 100, end + 1)
    assert not patience.too_slow(end + 1, 1000)


def test_what_we_made_it_wait_for_is_not_held_against_it():
    patience = Patience(0.0)
    patience.body_begins(0.0)
    patience.took(60_000, 60.0)
    patience.held_up(60.0, 1000.0)
    assert patience.left(1000.0, 30.0) == 30.0
    assert not patience.too_slow(1000.5, 990)
    assert patience.too_slow(1070.0, 990)
