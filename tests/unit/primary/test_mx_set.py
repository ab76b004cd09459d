"""primary.mx_set: how sets are written, what differs, and what is wrong with one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tideover.primary.found import Found
from tideover.primary.interface import NoRoute, Route, Trouble
from tideover.primary.mx_set import (
    Hosts,
    Look,
    MxSet,
    Problem,
    difference,
    is_unresolved,
    parse_texts,
    problem,
    texts,
)

HOSTS = st.lists(
    st.tuples(st.integers(0, 65535), st.sampled_from(["", "a.example", r"b\032c.example", "d"])),
    unique_by=lambda host: host[1],
).map(lambda hosts: tuple(sorted(hosts)))
ROUTE = Found(route=Route(key="k", hops=()))


@given(HOSTS)
def test_what_is_written_is_read_as_the_same(hosts: Hosts) -> None:
    assert parse_texts(texts(hosts)) == hosts


@given(HOSTS, HOSTS)
def test_a_difference_explains_all_that_changed(before: Hosts, after: Hosts) -> None:
    apart = difference(before, after)
    names = {name for _, name in parse_texts(apart.removed)}
    moved = {n: p for p, n in parse_texts((*apart.added, *apart.reordered))}
    rebuilt = {n: p for p, n in before if n not in names} | moved
    assert rebuilt == {n: p for p, n in after}
    assert (before == after) == (apart == difference((), ()))


def test_a_host_with_another_preference_is_reordered_not_new() -> None:
    apart = difference(((10, "a"), (20, "b")), ((10, "b"), (20, "c")))
    assert apart.added == ("20 c",)
    assert apart.removed == ("10 a",)
    assert apart.reordered == ("10 b",)


def no(trouble: Trouble) -> NoRoute:
    return NoRoute(trouble=trouble, text="text", retry_at=0)


@pytest.mark.parametrize(
    ("look", "had_mx", "expected"),
    [
        (Look(found=ROUTE, mx=MxSet(hosts=((10, "a"), (20, "us")), own=20)), True, None),
        (Look(found=ROUTE, mx=MxSet(hosts=((10, "a"),))), True, Problem.MISSING),
        (Look(found=ROUTE, mx=MxSet(hosts=())), True, Problem.VANISHED),
        (Look(found=ROUTE, mx=MxSet(hosts=())), False, Problem.MISSING),
        (Look(found=no(Trouble.NO_SUCH_DOMAIN), mx=MxSet(hosts=())), True, Problem.VANISHED),
        (
            Look(found=no(Trouble.BEST_MX), mx=MxSet(hosts=((1, "us"), (2, "b")), own=1)),
            True,
            Problem.BEST,
        ),
        (
            Look(found=no(Trouble.BEST_MX), mx=MxSet(hosts=((1, "us"),), own=1, others=False)),
            True,
            Problem.ALONE,
        ),
        (Look(found=no(Trouble.NULL_MX), mx=MxSet(hosts=((0, ""),))), True, Problem.NULL_MX),
        (Look(found=no(Trouble.TEMPORARY)), True, Problem.UNRESOLVED),
    ],
)
def test_each_problem_has_its_word(look: Look, had_mx: bool, expected: Problem | None) -> None:
    alarm = problem("example.com", look, had_mx=had_mx)
    assert (alarm.problem if alarm is not None else None) == expected
    assert is_unresolved(look) == (expected is Problem.UNRESOLVED)
