"""The order in which hosts of a route are tried."""

from collections import Counter
from random import Random

from tideover.primary.choice import shuffled
from tideover.primary.interface import NextHop


def hop(name: str, address: str, preference: int, port: int = 25) -> NextHop:
    return NextHop(name, address, port, preference=preference)


A1, A2 = hop("a.example", "192.0.2.1", 10), hop("a.example", "2001:db8::1", 10)
B = hop("b.example", "192.0.2.2", 10)
SPARE = hop("spare.example", "192.0.2.3", 20)


def test_equal_hosts_share_the_load_and_the_spare_stays_behind() -> None:
    random = Random(1)
    orders = Counter(shuffled((A1, A2, B, SPARE), random) for _ in range(200))
    assert set(orders) == {(A1, A2, B, SPARE), (B, A1, A2, SPARE)}
    assert min(orders.values()) > 60


def test_hosts_on_other_ports_are_other_hosts() -> None:
    hops = tuple(hop("127.0.0.1", "127.0.0.1", 5, port) for port in (25, 26, 27))
    random = Random(1)
    assert len({shuffled(hops, random) for _ in range(100)}) == 6


def test_different_preferences_keep_their_order() -> None:
    hops = tuple(hop("h.example", "192.0.2.1", at, 25 + at) for at in range(5))
    assert all(shuffled(hops, Random(n)) == hops for n in range(20))
    assert shuffled((), Random()) == ()
