from tideover.console.attempts import Attempts


def test_a_window_begins_with_the_first_wrong_token_and_ends():
    attempts = Attempts(limit=2, window=60)
    assert attempts.wait("a", 0) == 0
    assert attempts.failed("a", 0) == 1
    assert attempts.wait("a", 1) == 0
    assert attempts.failed("a", 10) == 2
    assert attempts.wait("a", 20) == 40
    assert attempts.wait("b", 20) == 0
    assert attempts.wait("a", 60) == 0
    assert attempts.failed("a", 60) == 1


def test_no_more_clients_are_remembered_than_the_bound():
    attempts = Attempts(limit=1, remembered=100)
    for n in range(1000):
        attempts.failed(str(n), 0)
    assert len(attempts._counts) == 100
    assert attempts.wait("999", 0) > 0
    assert attempts.wait("0", 0) == 0
