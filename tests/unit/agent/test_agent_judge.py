"""Verdicts: what ICMP errors mean, what is seen together, and that silence proves nothing."""

import pytest

from tideover.agent.icmp_errors import IcmpError
from tideover.agent.icmp_meaning import meaning
from tideover.agent.judge import judge
from tideover.agent.protocol import Verdict
from tideover.agent.sights import Hop, Said, Sight, Trace

TARGET, ROUTER, OWN = "192.0.2.9", "198.51.100.1", "203.0.113.1"
SILENT = Sight(Said.SILENCE)
NOTHING = Trace(whole=True)


def verdict(knock=SILENT, echo=SILENT, trace=NOTHING, short=None):
    return judge(TARGET, knock, echo, trace, short).verdict


def error(kind, code, offender=ROUTER, target=TARGET):
    return IcmpError(offender=offender, type=kind, code=code, target=target, packet=b"")


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [
        (11, 0, Said.PASSING),
        (3, 0, Said.NO_ROUTE),
        (3, 1, Said.NO_ROUTE),
        (3, 3, Said.FORBIDDEN),
        (3, 9, Said.FORBIDDEN),
        (3, 10, Said.FORBIDDEN),
        (3, 13, Said.FORBIDDEN),
        (4, 0, Said.SILENCE),
        (12, 0, Said.SILENCE),
        (11, 1, Said.SILENCE),
    ],
)
def test_errors_of_routers(kind, code, said):
    assert meaning(error(kind, code), TARGET, OWN) is said


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [(3, 0, Said.PASSING), (1, 0, Said.NO_ROUTE), (1, 3, Said.NO_ROUTE), (1, 1, Said.FORBIDDEN),
     (1, 4, Said.FORBIDDEN), (2, 0, Said.SILENCE)],
)  # fmt: skip
def test_errors_of_routers_by_ipv6(kind, code, said):
    assert meaning(error(kind, code, "2001:db8:1::1"), "2001:db8:2::1", "") is said


@pytest.mark.parametrize("code", [0, 1, 2, 3, 10, 13])
def test_what_the_host_itself_says_has_arrived_there(code):
    assert meaning(error(3, code, TARGET), TARGET, OWN) is Said.ARRIVED


def test_what_this_machine_says_is_no_route_of_others():
    assert meaning(error(3, 1, OWN), TARGET, OWN) is Said.REFUSED_HERE


def test_any_arrival_makes_it_reachable_whatever_else_is_said():
    no_route = Sight(Said.NO_ROUTE, ROUTER)
    here = Sight(Said.ARRIVED, TARGET)
    assert verdict(knock=here, echo=no_route) == Verdict.REACHABLE
    assert verdict(knock=no_route, echo=here) == Verdict.REACHABLE
    assert verdict(knock=no_route, trace=Trace(end=here, whole=True)) == Verdict.REACHABLE


@pytest.mark.parametrize("place", ["knock", "echo", "trace"])
def test_a_router_without_a_route_is_enough(place):
    sight = Sight(Said.NO_ROUTE, ROUTER)
    seen = Trace(end=sight, whole=True) if place == "trace" else sight
    assert verdict(**{place: seen}) == Verdict.UNREACHABLE


def test_a_router_in_its_own_network_says_nothing_of_the_route():
    assert verdict(knock=Sight(Said.NO_ROUTE, "192.0.2.1")) == Verdict.UNKNOWN


def test_no_route_of_our_own_is_enough():
    assert verdict(knock=Sight(Said.NO_TABLE)) == Verdict.UNREACHABLE


@pytest.mark.parametrize("said", [Said.SILENCE, Said.FORBIDDEN, Said.REFUSED_HERE])
def test_silence_and_filters_never_are(said):
    hops = tuple(Hop(n, f"198.51.100.{n}") for n in range(1, 9))
    sight = Sight(said, ROUTER)
    assert verdict(knock=sight) == Verdict.UNKNOWN
    assert verdict(echo=sight) == Verdict.UNKNOWN
    assert verdict(trace=Trace(hops=hops, end=sight, whole=True)) == Verdict.UNKNOWN


def test_circles_are_enough_but_not_a_router_that_speaks_twice():
    circle = tuple(Hop(n, f"198.51.100.{n % 2 + 1}") for n in range(1, 10))
    assert verdict(trace=Trace(hops=circle, whole=True)) == Verdict.UNREACHABLE
    same = tuple(Hop(n, ROUTER) for n in range(1, 10))
    assert verdict(trace=Trace(hops=same, whole=True)) == Verdict.UNKNOWN
    twice = (Hop(1, "198.51.100.1"), Hop(2, "198.51.100.2"), Hop(3, "198.51.100.1"))
    assert verdict(trace=Trace(hops=twice, whole=True)) == Verdict.UNKNOWN


def test_a_trace_that_is_too_short_is_enough():
    assert verdict(short="it stops early") == Verdict.UNREACHABLE
    assert verdict(knock=Sight(Said.ARRIVED, TARGET), short="it stops") == Verdict.REACHABLE
