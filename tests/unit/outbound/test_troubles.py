"""A message that loses connection after connection."""

from tideover.outbound.troubles import REMEMBERED, Next, Troubles


def test_at_once_then_soon_then_put_off():
    troubles = Troubles()
    assert [troubles.note("a") for _ in range(4)] == [
        Next.AT_ONCE, Next.SOON, Next.SOON, Next.BACKOFF
    ]  # fmt: skip
    assert troubles.note("a") is Next.AT_ONCE


def test_an_answer_clears_it():
    troubles = Troubles()
    troubles.note("a")
    troubles.forget("a")
    assert troubles.note("a") is Next.AT_ONCE


def test_bounded():
    troubles = Troubles()
    for n in range(REMEMBERED + 10):
        troubles.note(str(n))
    assert len(troubles) == REMEMBERED
    assert troubles.note("0") is Next.AT_ONCE
    assert troubles.note(str(REMEMBERED + 9)) is Next.SOON
