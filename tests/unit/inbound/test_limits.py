from ipaddress import ip_network

from tideover.config.model import Smtp
from tideover.inbound.limits import ConnectionLimits, client_network
from tideover.message.client_address import plain_address, within


def test_networks_and_spelling():
    assert client_network("192.0.2.1") == "192.0.2.1"
    assert client_network("2001:db8::1") == client_network("2001:db8::ffff:1") == "2001:db8::/64"
    assert plain_address("::ffff:192.0.2.1") == "192.0.2.1"
    assert plain_address("fe80::1%eth0") == "fe80::1"
    assert within("192.0.2.1", [ip_network("192.0.2.0/24")])
    assert not within("2001:db8::1", [ip_network("192.0.2.0/24")])


def test_limits_count_by_network_and_in_all():
    limits = ConnectionLimits(Smtp(max_connections=4, max_connections_per_client=2))
    assert limits.admit("2001:db8::1") is None
    assert limits.admit("2001:db8::2") is None
    assert limits.admit("2001:db8::3") is not None
    assert limits.admit("127.0.0.1") is None
    assert limits.admit("127.0.0.1") is None
    assert limits.admit("127.0.0.1") is not None  # in all
    limits.release("127.0.0.1")
    assert limits.admit("192.0.2.1") is None
    for address in ("2001:db8::9", "2001:db8::9", "127.0.0.1", "192.0.2.1"):
        limits.release(address)
    assert limits.total == 0
    assert not limits._by_network


def test_clients_never_take_the_files_that_others_need():
    limits = ConnectionLimits(Smtp(), ceiling=2)
    assert limits.admit("127.0.0.1") is None
    assert limits.admit("127.0.0.1") is None
    assert limits.admit("127.0.0.1") == "too many connections"
