"""What is remembered of routes: it makes a short trace mean something, and only then."""

import pytest

from tideover.agent.routes import Routes, far, near
from tideover.agent.sights import Hop, Said, Sight, Trace

NOW = 1000.0
CLIENT = "192.0.2.9"


def silent(length, *, first="r1", whole=True):
    """A trace whose last `length` hops speak and which then is silent."""
    names = [first, *(f"r{n}" for n in range(2, length + 1))]
    hops = [Hop(n, name) for n, name in enumerate(names[:length], 1)]
    behind = [Hop(n) for n in range(length + 1, length + 6)]
    return Trace(hops=(*hops, *behind), whole=whole)


def arrived(length):
    hops = tuple(Hop(n, f"r{n}") for n in range(1, length))
    return Trace(hops=hops, end=Sight(Said.ARRIVED, CLIENT), whole=True)


def test_of_a_network_that_got_farther_before():
    routes = Routes()
    routes.note("192.0.2.1", arrived(6), NOW)
    assert "got to hop 6" in (routes.too_short(CLIENT, silent(3), NOW + 60) or "")
    assert routes.too_short("198.51.100.1", silent(3), NOW + 60) is None


def test_the_last_hop_alone_may_be_a_firewall():
    routes = Routes()
    routes.note(CLIENT, arrived(6), NOW)
    assert routes.too_short(CLIENT, silent(5), NOW) is None


def test_short_traces_do_not_make_it_forgotten_how_far_it_went_but_a_week_does():
    routes = Routes()
    routes.note(CLIENT, arrived(6), NOW)
    routes.note(CLIENT, silent(2), NOW + 10)
    assert routes.too_short(CLIENT, silent(2), NOW + 20) is not None
    week = NOW + 8 * 86400
    assert routes.too_short(CLIENT, silent(2), week) is None
    routes.note(CLIENT, silent(2), week)
    assert routes.too_short(CLIENT, silent(2), week) is None


@pytest.mark.parametrize(("others", "short"), [(2, False), (3, True)])
def test_one_of_the_first_routers_that_passes_others_on(others, short):
    routes = Routes()
    for n in range(others):
        routes.note(f"10.{n}.0.1", arrived(8), NOW)
        routes.note(f"10.{n}.0.2", arrived(8), NOW)  # the same part of the net counts once
    assert (routes.too_short(CLIENT, silent(2), NOW) is not None) is short
    assert routes.too_short(CLIENT, silent(3), NOW) is None  # as far as that, a firewall may be
    later = Trace(hops=(Hop(1, "x"), Hop(2, "y"), Hop(3, "r1")), whole=True)
    assert routes.too_short(CLIENT, later, NOW) is None  # nor where it is far from us
    assert routes.too_short(CLIENT, silent(2), NOW + 3601) is None
    assert routes.too_short(CLIENT, silent(1, first="other"), NOW) is None


def test_traces_that_end_near_do_not_show_that_a_router_passes():
    routes = Routes()
    for n in range(5):
        routes.note(f"10.{n}.0.1", arrived(3), NOW)
    assert routes.too_short(CLIENT, silent(1), NOW) is None


def test_a_trace_that_was_cut_or_heard_nobody_or_an_error_says_nothing():
    routes = Routes()
    routes.note(CLIENT, arrived(9), NOW)
    assert routes.too_short(CLIENT, silent(2, whole=False), NOW) is None
    assert routes.too_short(CLIENT, Trace(whole=True), NOW) is None
    forbidden = Trace(hops=silent(2).hops, end=Sight(Said.FORBIDDEN, "r3"), whole=True)
    assert routes.too_short(CLIENT, forbidden, NOW) is None


def test_a_network_is_new_until_it_is_noted_and_after_a_day():
    routes = Routes()
    assert routes.is_new(CLIENT, NOW)
    routes.note("192.0.2.200", arrived(4), NOW)
    assert not routes.is_new(CLIENT, NOW + 86000)
    assert routes.is_new(CLIENT, NOW + 86500)


def test_it_is_bounded(monkeypatch):
    monkeypatch.setattr("tideover.agent.routes._NETWORKS", 10)
    monkeypatch.setattr("tideover.agent.routes._ROUTERS", 3)
    routes = Routes()
    for n in range(200):
        hops = tuple(Hop(ttl, f"r{n}-{ttl}") for ttl in range(1, 9))
        routes.note(f"10.{n}.0.1", Trace(hops=hops, whole=True), NOW)
    assert (len(routes._depths), len(routes._routers)) == (10, 3)


def test_networks():
    assert near("192.0.2.77") == near("192.0.2.1") != near("192.0.3.1")
    assert near("2001:db8:1:2::3") == near("2001:db8:1:ff::") != near("2001:db8:2::")
    assert far("192.0.2.77") == far("192.0.9.1") != far("192.1.2.1")
