"""primary.mx and primary.static: which hosts, in which order, and when none."""

import asyncio
from random import Random

import pytest

from tideover.config.own_addresses import is_local
from tideover.config.values import Endpoint, NamedHop, Preferred
from tideover.primary.choice import shuffled
from tideover.primary.found import MAX_HOPS, Found
from tideover.primary.interface import NextHop, NoRoute, Trouble
from tideover.primary.mx import MAX_HOSTS, MxRoutes
from tideover.primary.ourselves import Ourselves
from tideover.primary.static import static_route
from tideover.testing.dns import FakeResolver

NOW = 1_000_000.0
US = "mx2.example.org"
ADDRESSES = {
    "a.example.com": ["192.0.2.1"],
    "b.example.com": ["2001:db8::2", "192.0.2.2"],
    "c.example.com": ["192.0.2.3"],
    US: ["198.51.100.1"],
    "alias.example.org": ["198.51.100.1"],
}


def find(
    mx: list[tuple[int, str]],
    *,
    addresses: dict[str, list[str]] | None = None,
    backed_up: bool = True,
    broken: tuple[str, ...] = (),
    listen: tuple[Endpoint, ...] = (Endpoint("198.51.100.1", 25),),
    seed: int = 1,
    ttl: float = 300.0,
) -> Found | NoRoute:
    resolver = FakeResolver({"example.com": mx}, ADDRESSES | (addresses or {}), ttl)
    resolver.broken.update(broken)
    routes = MxRoutes(
        resolver=resolver, ourselves=Ourselves(US, listen, lambda _: False), random=Random(seed)
    )
    return asyncio.run(routes.find("example.com", backed_up=backed_up, now=NOW))


def names(found: Found | NoRoute) -> list[str]:
    assert isinstance(found, Found), found
    return list(dict.fromkeys(hop.name for hop in found.route.hops))


def trouble(found: Found | NoRoute) -> Trouble:
    assert isinstance(found, NoRoute), found
    return found.trouble


def test_hosts_better_than_ourselves_by_preference() -> None:
    found = find([(30, "c.example.com"), (20, US), (10, "b.example.com"), (5, "a.example.com")])
    assert names(found) == ["a.example.com", "b.example.com"]
    assert isinstance(found, Found)
    assert found.route.hops[1:] == (
        NextHop("b.example.com", "2001:db8::2", 25, intermediate=True, preference=10),
        NextHop("b.example.com", "192.0.2.2", 25, intermediate=True, preference=10),
    )
    assert found.route.warning is None
    assert found.route.expires_at == NOW + 300
    assert not found.route.hops[0].intermediate


def test_a_host_as_good_as_ourselves_is_not_better() -> None:
    assert names(find([(10, "a.example.com"), (20, "b.example.com"), (20, US)])) == [
        "a.example.com"
    ]


def test_equals_are_tried_in_random_order_with_one_key() -> None:
    mx = [(10, "a.example.com"), (10, "b.example.com"), (10, "c.example.com"), (20, US)]
    found = [find(mx, seed=seed) for seed in range(20)]
    assert len({tuple(names(f)) for f in found}) > 3
    assert len({f.route.key for f in found if isinstance(f, Found)}) == 1


def test_the_key_tells_the_order_of_preference() -> None:
    one = find([(1, "a.example.com"), (2, "b.example.com")])
    same = find([(10, "a.example.com"), (90, "b.example.com")])
    other = find([(2, "a.example.com"), (1, "b.example.com")])
    assert isinstance(one, Found)
    assert isinstance(same, Found)
    assert isinstance(other, Found)
    assert one.route.key == same.route.key != other.route.key


@pytest.mark.parametrize(
    "mx", [[(10, US)], [(10, US), (10, "a.example.com")], [(10, US), (20, "a.example.com")]]
)
def test_i9_when_we_are_the_best_mx_mail_is_held(mx: list[tuple[int, str]]) -> None:
    found = find(mx)
    assert trouble(found) is Trouble.BEST_MX
    assert isinstance(found, NoRoute)
    assert NOW < found.retry_at <= NOW + 300


def test_a_host_with_our_addresses_is_ourselves() -> None:
    mx = [(10, "a.example.com"), (20, "alias.example.org"), (30, "c.example.com")]
    assert names(find(mx)) == ["a.example.com"]
    assert trouble(find(mx[1:])) is Trouble.BEST_MX


def test_only_our_own_address_is_left_out_of_a_host_that_has_others() -> None:
    found = find(
        [(10, "a.example.com")], addresses={"a.example.com": ["198.51.100.1", "192.0.2.9"]}
    )
    assert isinstance(found, Found)
    assert [hop.address for hop in found.route.hops] == ["192.0.2.9"]


def test_not_being_in_the_mx_set_is_a_warning() -> None:
    found = find([(10, "a.example.com"), (20, "b.example.com")])
    assert names(found) == ["a.example.com", "b.example.com"]
    assert isinstance(found, Found)
    assert "not an MX of example.com" in (found.route.warning or "")
    foreign = find([(10, "a.example.com")], backed_up=False)
    assert isinstance(foreign, Found)
    assert foreign.route.warning is None


def test_without_mx_the_address_of_the_domain_serves() -> None:
    found = find([], addresses={"example.com": ["192.0.2.80"]})
    assert isinstance(found, Found)
    assert found.implicit
    assert found.route.hops == (NextHop("example.com", "192.0.2.80", 25),)


def test_null_mx_is_a_verdict_only_alone() -> None:
    assert trouble(find([(0, "")])) is Trouble.NULL_MX
    assert names(find([(0, ""), (10, "a.example.com")])) == ["a.example.com"]


@pytest.mark.parametrize(
    ("broken", "mx", "expected"),
    [
        (("example.com",), [], Trouble.TEMPORARY),
        (("a.example.com",), [(10, "a.example.com")], Trouble.TEMPORARY),
        ((), [(10, "nowhere.example.com")], Trouble.NO_SUCH_DOMAIN),
        ((), [], Trouble.NO_SUCH_DOMAIN),
        (("c.example.com",), [(1, "nowhere.example"), (2, "c.example.com")], Trouble.TEMPORARY),
    ],
)
def test_i9_no_host_is_no_verdict(
    broken: tuple[str, ...], mx: list[tuple[int, str]], expected: Trouble
) -> None:
    assert trouble(find(mx, broken=broken)) is expected


def test_a_domain_that_does_not_exist() -> None:
    routes = MxRoutes(resolver=FakeResolver(), ourselves=Ourselves(US, ()), random=Random(1))
    found = asyncio.run(routes.find("gone.example", backed_up=True, now=NOW))
    assert trouble(found) is Trouble.NO_SUCH_DOMAIN


def test_a_host_that_dns_fails_for_makes_the_route_partial() -> None:
    found = find([(10, "a.example.com"), (20, "b.example.com")], broken=("a.example.com",))
    assert names(found) == ["b.example.com"]
    assert isinstance(found, Found)
    assert found.partial


@pytest.mark.parametrize(("ttl", "seconds"), [(0, 30), (29, 30), (3600, 3600), (10**9, 86400)])
def test_ttls_are_bounded(ttl: float, seconds: float) -> None:
    found = find([(10, "a.example.com")], ttl=ttl)
    assert isinstance(found, Found)
    assert found.route.expires_at == NOW + seconds
    denied = find([(0, "")], ttl=ttl)
    assert isinstance(denied, NoRoute)
    assert 5 <= denied.retry_at - NOW <= 300


def test_a_flood_of_records_is_bounded() -> None:
    hosts = [f"h{n}.example.com" for n in range(200)]
    addresses = {h: [f"10.{n}.0.{i}" for i in range(40)] for n, h in enumerate(hosts)}
    found = find([(n, h) for n, h in enumerate(hosts)], addresses=addresses)
    assert isinstance(found, Found)
    assert len(found.route.hops) == MAX_HOPS
    assert len(names(found)) > 2
    assert len(find([(1, "a.example.com")] * (MAX_HOSTS * 2)).route.hops) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("listen", "address", "port", "ours"),
    [
        ("192.0.2.7:25", "192.0.2.7", 25, True),
        ("192.0.2.7:2525", "192.0.2.7", 25, True),  # a firewall may redirect 25
        ("192.0.2.7:25", "192.0.2.8", 25, False),
        ("127.0.0.1:2525", "127.0.0.1", 25, False),  # the primary on the same machine
        ("127.0.0.1:25", "127.0.0.1", 25, True),
        ("0.0.0.0:25", "127.0.0.1", 25, True),
        ("0.0.0.0:25", "192.0.2.99", 25, True),  # the machine has it: see has_address below
        ("0.0.0.0:25", "192.0.2.8", 25, False),
        (":::25", "::1", 25, True),
        ("192.0.2.7:25", "::ffff:192.0.2.7", 25, True),
        ("192.0.2.7:25", "0.0.0.0", 25, True),
        ("192.0.2.7:25", "::", 25, True),
        ("192.0.2.7:25", "224.0.0.1", 25, True),
    ],
)
def test_which_addresses_are_ours(listen: str, address: str, port: int, ours: bool) -> None:
    host, _, listen_port = listen.rpartition(":")
    here = {"192.0.2.99", "127.0.0.1", "::1"}
    ourselves = Ourselves(US, [Endpoint(host, int(listen_port))], here.__contains__)
    assert ourselves.is_address(address, port) is ours


def test_is_local_knows_this_machine() -> None:
    assert is_local("127.0.0.1")
    assert not is_local("192.0.2.1")
    assert not is_local("2001:db8::1")


def static(
    *endpoints: NamedHop,
    broken: tuple[str, ...] = (),
    addresses: dict[str, list[str]] | None = None,
) -> Found | NoRoute:
    resolver = FakeResolver({}, ADDRESSES | (addresses or {}))
    resolver.broken.update(broken)
    return asyncio.run(static_route(endpoints, resolver, now=NOW))


def test_static_literals_hold_for_ever() -> None:
    found = static(Endpoint("127.0.0.1", 2526), Endpoint("::1", 25))
    assert isinstance(found, Found)
    assert found.route.hops == (
        NextHop("127.0.0.1", "127.0.0.1", 2526),
        NextHop("::1", "::1", 25, preference=1),
    )
    assert found.route.key == "127.0.0.1:2526,[::1]:25"
    assert found.route.expires_at is None


def test_static_names_are_looked_up_in_the_order_given() -> None:
    found = static(Endpoint("b.example.com", 26), Endpoint("10.0.0.1", 25))
    assert isinstance(found, Found)
    assert [(h.name, h.address, h.port) for h in found.route.hops] == [
        ("b.example.com", "2001:db8::2", 26),
        ("b.example.com", "192.0.2.2", 26),
        ("10.0.0.1", "10.0.0.1", 25),
    ]
    assert found.route.expires_at == NOW + 300


def test_static_hops_with_preferences_are_in_their_order_and_equals_share() -> None:
    one = static(
        Preferred(20, Endpoint("c.example.com", 25)),
        Preferred(10, Endpoint("b.example.com", 25)),
        Preferred(10, Endpoint("a.example.com", 25)),
    )
    other = static(
        Preferred(5, Endpoint("a.example.com", 25)),
        Preferred(5, Endpoint("b.example.com", 25)),
        Preferred(6, Endpoint("c.example.com", 25)),
    )
    assert isinstance(one, Found)
    assert isinstance(other, Found)
    preferences = {hop.name: hop.preference for hop in one.route.hops}
    assert preferences == {"a.example.com": 10, "b.example.com": 10, "c.example.com": 20}
    assert names(one)[-1] == "c.example.com"
    assert not any(hop.intermediate for hop in one.route.hops)
    key = "a.example.com:25|b.example.com:25,c.example.com:25"
    assert one.route.key == other.route.key == key


def test_static_hops_without_preferences_are_never_equals() -> None:
    found = static(*(Endpoint("127.0.0.1", port) for port in (27, 25, 26)))
    assert isinstance(found, Found)
    orders = {shuffled(found.route.hops, Random(seed)) for seed in range(20)}
    assert orders == {found.route.hops}
    assert [hop.port for hop in found.route.hops] == [27, 25, 26]


def test_static_name_unknown_beside_a_good_one() -> None:
    found = static(Endpoint("nowhere.example", 25), Endpoint("a.example.com", 25))
    assert names(found) == ["a.example.com"]
    assert isinstance(found, Found)
    assert "nowhere.example" in (found.route.warning or "")
    assert not found.partial


@pytest.mark.parametrize(
    ("host", "broken", "expected"),
    [
        ("nowhere.example", (), Trouble.NO_SUCH_DOMAIN),
        ("a.example.com", ("a.example.com",), Trouble.TEMPORARY),
        ("empty.example", (), Trouble.NO_SUCH_DOMAIN),
    ],
)
def test_i9_static_name_without_address(
    host: str, broken: tuple[str, ...], expected: Trouble
) -> None:
    found = static(Endpoint(host, 25), broken=broken, addresses={"empty.example": []})
    assert trouble(found) is expected
