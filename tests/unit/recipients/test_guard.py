"""Lists that lost too much never replace what we have."""

import pytest

from tideover.recipients.guard import passed
from tideover.recipients.listing import ANY_DOMAIN, NameList

D = "example.com"


def names(count):
    return NameList(frozenset(f"user{n}" for n in range(count)))


@pytest.mark.parametrize(
    ("had", "has", "fine"),
    [
        (100, 80, True),
        (100, 79, False),
        (100, 100, True),
        (100, 500, True),
        (10, 8, True),
        (10, 7, False),
        (3, 2, True),
        (2, 1, True),
        (3, 1, False),
        (1, 0, False),
        (0, 0, True),
        (0, 5, True),
    ],
)
def test_more_than_a_fifth_less_is_refused_but_one_may_always_go(had, has, fine):
    result = passed({D: names(had)}, {D: names(has)}, max_shrink=20)
    assert (not result.refused) is fine
    assert len(result.lists[D]) == (has if fine else had)
    assert result.confirmable is (not fine and has > 0)


def test_an_operator_may_confirm():
    result = passed({D: names(100)}, {D: names(5)}, max_shrink=20, confirmed=True)
    assert not result.refused
    assert len(result.lists[D]) == 5


@pytest.mark.parametrize("new", [{}, {D: names(0)}, {"other.example": names(200)}])
def test_an_empty_list_never_replaces_a_full_one_confirmed_or_not(new):
    for confirmed in (False, True):
        result = passed({D: names(3)}, new, max_shrink=100, confirmed=confirmed)
        assert "empty" in result.refused[D]
        assert not result.confirmable
        assert len(result.lists[D]) == 3


def test_bare_local_parts_may_become_addresses_and_the_other_way():
    bare, full = {ANY_DOMAIN: names(5)}, {D: names(5)}
    mixed = {ANY_DOMAIN: names(4), D: names(1)}
    for old in (bare, full, mixed):
        for new in (bare, full, mixed):
            assert not passed(old, new, max_shrink=20).refused
    for old in (bare, full, mixed):
        assert passed(old, {ANY_DOMAIN: names(2)}, max_shrink=20).refused


def test_one_domain_that_shrank_does_not_hold_up_the_others():
    old = {D: names(10), "a.example": names(10), ANY_DOMAIN: names(2)}
    new = {D: names(1), "a.example": names(11), "new.example": names(1), ANY_DOMAIN: names(2)}
    result = passed(old, new, max_shrink=20)
    assert set(result.refused) == {D}
    assert {name: len(listing) for name, listing in result.lists.items()} == {
        D: 10, "a.example": 11, "new.example": 1, ANY_DOMAIN: 2,
    }  # fmt: skip


def test_a_share_of_a_hundred_lets_everything_pass_but_the_empty_list():
    assert not passed({D: names(100)}, {D: names(1)}, max_shrink=100).refused
