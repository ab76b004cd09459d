"""The agent in real networks: a primary, three routers, and a client whose routes differ.

    primary 10.1.0.2 -- r1 -- r2 -- r3 -- client 10.9.0.2, 10.20.0.2 ...
                                    |
                                 backup 10.5.0.2

The client reaches the backup in each of them; what differs is the way between it and the primary.
"""

import json
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tideover.testing import netns
from tideover.testing.netns import Namespace, link, namespaces

_missing = netns.why_missing()
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(_missing is not None, reason=_missing or ""),
]

CLIENT = "10.9.0.2"
OTHERS = ("10.20.0.2", "10.21.0.2", "10.22.0.2", "10.23.0.2")
TIDEOVER = (sys.executable, "-m", "tideover")


@dataclass
class Net:
    primary: Namespace
    routers: tuple[Namespace, ...]
    client: Namespace
    backup: Namespace
    directory: Path
    log: Path = field(init=False)

    def ask(self, address=CLIENT):
        done = self.backup.run(
            *TIDEOVER, "agent", "ask", "--json", "--config", str(self.directory / "backup.toml"),
            "example.com", address, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode() + self.log.read_text()
        return json.loads(done.stdout)

    def connects(self, source, source_address, target):
        """Whether a TCP connection from there gets through."""
        code = (
            "import socket, sys; socket.create_connection((sys.argv[1], 25), 1, (sys.argv[2], 0))"
        )
        command = (sys.executable, "-c", code, target, source_address)
        return source.run(*command, check=False).returncode == 0


@pytest.fixture
def net(tmp_path):
    with namespaces("primary", "r1", "r2", "r3", "client", "backup") as hosts:
        primary, r1, r2, r3, client, backup = hosts
        for router in (r1, r2, r3):
            router.set("net/ipv4/ip_forward", "1")
            router.set("net/ipv4/icmp_ratelimit", "0")
        link(primary, "10.1.0.2/24", r1, "10.1.0.1/24")
        link(r1, "10.2.0.1/24", r2, "10.2.0.2/24")
        link(r2, "10.3.0.1/24", r3, "10.3.0.2/24")
        link(r3, "10.9.0.1/24", client, f"{CLIENT}/24")
        link(r3, "10.5.0.1/24", backup, "10.5.0.2/24")
        primary.ip("route", "add", "default", "via", "10.1.0.1")
        r1.ip("route", "add", "default", "via", "10.2.0.2")
        r2.ip("route", "add", "10.1.0.0/24", "via", "10.2.0.1")
        r2.ip("route", "add", "default", "via", "10.3.0.2")
        r3.ip("route", "add", "10.1.0.0/16", "via", "10.3.0.1")
        r3.ip("route", "add", "10.2.0.0/16", "via", "10.3.0.1")
        r3.ip("route", "add", "10.16.0.0/12", "via", CLIENT)
        client.ip("route", "add", "default", "via", "10.9.0.1")
        for address in OTHERS:
            client.ip("addr", "add", f"{address}/32", "dev", "lo")
        backup.ip("route", "add", "default", "via", "10.5.0.1")
        yield Net(primary, (r1, r2, r3), client, backup, tmp_path)


@contextmanager
def agent(net, *wrapper, **settings):
    """An agent beside the primary, and a backup that may ask it."""
    here = net.directory
    public = {}
    for name in ("agent", "backup"):
        done = subprocess.run(
            [*TIDEOVER, "agent", "keygen", "--json", here / f"{name}.key"],
            capture_output=True, check=True,
        )  # fmt: skip
        public[name] = json.loads(done.stdout)["public_key"]
    values = {"keep": '"0s"', "timeout": '"4s"'} | settings
    (here / "agent.toml").write_text(
        '[agent]\nlisten = "10.1.0.2:8025"\nkey_file = "agent.key"\n'
        f'askers = {{ mx2 = "{public["backup"]}" }}\n'
        'allow_private = ["10.0.0.0/8", "fd00::/8"]\n'
        + "".join(f"{key} = {value}\n" for key, value in values.items())
    )
    (here / "backup.toml").write_text(
        'hostname = "mx2.example.org"\ndata_dir = "data"\n[cut_off]\nkey_file = "backup.key"\n'
        'agent_timeout = "8s"\n[domains."example.com"]\nprimary = ["10.1.0.2"]\n'
        'recipients = ["file:recipients"]\nagent = "http://10.1.0.2:8025"\n'
        f'agent_key = "{public["agent"]}"\n'
    )
    net.log = here / "agent.log"
    with net.log.open("wb") as log:
        process = net.primary.start(
            *wrapper, *TIDEOVER, "agent", "serve", "--config", str(here / "agent.toml"),
            stdout=log, stderr=log,
        )  # fmt: skip
        try:
            end = time.monotonic() + 15
            while "ready on" not in net.log.read_text():
                assert process.poll() is None, net.log.read_text()
                assert time.monotonic() < end, net.log.read_text()
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.wait(10)
    assert "Traceback" not in net.log.read_text()


@contextmanager
def smtp(space, address):
    """Somebody listens on port 25."""
    code = (
        "import socket, sys; s = socket.create_server((sys.argv[1], 25)); print(flush=True)\n"
        "while True: s.accept()"
    )
    process = space.start(sys.executable, "-c", code, address, stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_client_with_its_route_whole_is_reachable(net):
    with agent(net), smtp(net.client, "0.0.0.0"):
        answer = net.ask()
    assert (answer["verdict"], answer["reason"]) == ("reachable", "the host answers")


def test_a_client_that_refuses_is_reachable(net):
    with agent(net):
        assert net.ask()["verdict"] == "reachable"


def test_a_client_that_answers_echo_only_is_reachable(net):
    with agent(net):
        # what its port 25 says goes nowhere, but echoes come back
        net.client.ip("rule", "add", "ipproto", "tcp", "sport", "25", "blackhole")
        answer = net.ask()
    assert (answer["verdict"], answer["reason"]) == ("reachable", "the host answers echo")


def test_a_router_that_has_no_route_makes_it_unreachable(net):
    net.routers[1].ip("route", "add", "unreachable", "10.9.0.0/24")
    with agent(net), smtp(net.backup, "10.5.0.2"):
        assert net.connects(net.client, CLIENT, "10.5.0.2")  # the backup it reaches
        answer = net.ask()
    assert answer["verdict"] == "unreachable"
    assert "10.2.0.2" in answer["reason"]


def test_a_client_that_cannot_reach_the_primary_is_cut_off_on_the_way(net):
    """The client connects to the backup, and not to the primary until the route is back."""
    with agent(net), smtp(net.backup, "10.5.0.2"), smtp(net.primary, "10.1.0.2"):
        assert net.connects(net.client, CLIENT, "10.1.0.2")
        net.routers[0].ip("route", "add", "unreachable", "10.9.0.0/24")
        assert not net.connects(net.client, CLIENT, "10.1.0.2")
        assert net.connects(net.client, CLIENT, "10.5.0.2")
        assert net.ask()["verdict"] == "unreachable"
        net.routers[0].ip("route", "del", "unreachable", "10.9.0.0/24")
        assert net.connects(net.client, CLIENT, "10.1.0.2")
        assert net.ask()["verdict"] == "reachable"


def test_packets_that_go_in_circles_make_it_unreachable(net):
    net.routers[1].ip("route", "add", "10.9.0.0/24", "via", "10.2.0.1")
    with agent(net):
        answer = net.ask()
    assert (answer["verdict"], answer["reason"][:10]) == ("unreachable", "packets go")


@pytest.mark.slow
def test_a_silent_host_behind_a_firewall_is_unknown(net):
    net.client.ip("route", "add", "blackhole", "10.1.0.0/24")
    with agent(net):
        answer = net.ask()
    assert answer["verdict"] == "unknown"
    assert "hop 3 (10.3.0.2)" in answer["reason"]


def test_a_router_that_forbids_is_a_firewall_and_no_broken_route(net):
    net.routers[1].ip("route", "add", "prohibit", "10.9.0.0/24")
    with agent(net):
        answer = net.ask()
    assert (answer["verdict"], "filter at 10.2.0.2" in answer["reason"]) == ("unknown", True)


@pytest.mark.slow
def test_the_own_router_of_the_client_says_nothing_of_the_route(net):
    """10.9.0.77 does not exist; the router before it says so."""
    with agent(net):
        answer = net.ask("10.9.0.77")
    assert answer["verdict"] != "reachable"
    # r3 says it by the address that looks at us, which is not in the client's network
    assert "10.3.0.2" in answer["reason"]


@pytest.mark.parametrize("kind", ["unreachable", "blackhole", "prohibit"])
def test_whom_the_primary_itself_bans_is_not_cut_off(net, kind):
    net.primary.ip("route", "add", kind, f"{CLIENT}/32")
    with agent(net):
        answer = net.ask()
    assert answer["verdict"] == "unknown"
    assert "own host" in answer["reason"]


@pytest.mark.slow
def test_a_hole_where_others_pass_is_found_by_what_traces_did_before(net):
    """No router says a word: but three other networks are reached by the same first router."""
    with agent(net):
        for address in OTHERS[:3]:
            assert net.ask(address)["verdict"] == "reachable"
            time.sleep(1.2)  # learnt in the background
        net.routers[1].ip("route", "add", "blackhole", "10.9.0.0/24")
        answer = net.ask()
        assert answer["verdict"] == "unreachable", answer
        assert "passes others on" in answer["reason"]


@pytest.mark.slow
def test_a_hole_on_a_way_that_was_known_is_found(net):
    with agent(net):
        assert net.ask()["verdict"] == "reachable"
        time.sleep(1.2)
        net.routers[1].ip("route", "add", "blackhole", "10.9.0.0/24")
        answer = net.ask()
        assert answer["verdict"] == "unreachable", answer
        assert "got to hop 4 before" in answer["reason"]


@pytest.mark.slow
def test_a_hole_of_which_nothing_is_known_is_unknown(net):
    net.routers[1].ip("route", "add", "blackhole", "10.9.0.0/24")
    with agent(net):
        assert net.ask()["verdict"] == "unknown"


def test_an_agent_goes_on_as_the_user_that_is_set_and_keeps_its_sockets(net):
    net.client.ip("rule", "add", "ipproto", "tcp", "sport", "25", "blackhole")
    with agent(net, user='"nobody"'):
        assert net.ask()["reason"] == "the host answers echo"
        assert "lacks" not in net.log.read_text()


@pytest.mark.slow
def test_an_agent_without_rights_decides_by_tcp_and_says_so(net):
    net.client.ip("rule", "add", "ipproto", "tcp", "sport", "25", "blackhole")
    with agent(net, "setpriv", "--bounding-set=-net_raw"):
        assert "lacks" in net.log.read_text()
        assert net.ask()["verdict"] == "unknown"
        net.routers[1].ip("route", "add", "unreachable", "10.9.0.0/24")
        assert net.ask()["verdict"] == "unreachable"


@pytest.mark.slow
def test_an_agent_that_is_lent_sockets_for_pings_traces_as_well(net):
    net.primary.set("net/ipv4/ping_group_range", "'0 0'")
    net.client.ip("route", "add", "blackhole", "10.1.0.0/24")
    with agent(net, "setpriv", "--bounding-set=-net_raw"):
        assert "lacks" not in net.log.read_text()
        assert "hop 3 (10.3.0.2)" in net.ask()["reason"]


@pytest.mark.slow
def test_a_client_by_ipv6(net):
    assert socket.has_ipv6
    r1 = net.routers[0]
    r1.set("net/ipv6/conf/all/forwarding", "1")
    link(net.primary, "fd01::2/64", r1, "fd01::1/64")
    link(r1, "fd09::1/64", net.client, "fd09::2/64")
    net.primary.ip("-6", "route", "add", "default", "via", "fd01::1")
    net.client.ip("-6", "route", "add", "default", "via", "fd09::1")
    with agent(net):
        assert net.ask("fd09::2")["verdict"] == "reachable"
        r1.ip("-6", "route", "add", "unreachable", "fd08::/64")
        answer = net.ask("fd08::2")
        assert (answer["verdict"], "fd01::1" in answer["reason"]) == ("unreachable", True)
        net.client.ip("-6", "route", "add", "blackhole", "fd01::/64")
        assert net.ask("fd09::2")["verdict"] == "unknown"


def test_a_primary_without_ipv6_says_nothing_of_clients_that_have_it(net):
    with agent(net):
        assert net.ask("fd09::2")["verdict"] == "unknown"
