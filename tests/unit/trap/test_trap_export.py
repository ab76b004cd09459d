"""Exports: what a real DNS server says of the zone, and the shape of the nftables script."""

import re
import subprocess

import dns.message
import dns.query
import dns.rcode
import pytest

from tideover.testing import nsd
from tideover.testing.child import program
from tideover.testing.nsd import Nsd
from tideover.trap.catch import Caught
from tideover.trap.export import dnsbl, nft, plain

NFT = program("nft")
NOW = 1_800_000_000.0
CLIENTS = [
    Caught("192.0.2.7", True, NOW, NOW + 3600),
    Caught("198.51.100.9", False, NOW, NOW + 60),
    Caught("2001:db8:1:2::/64", True, NOW, NOW + 7200),
    Caught("203.0.113.1", True, NOW - 10, NOW),
]


def test_plain_lines():
    assert list(plain(CLIENTS)) == [client.host for client in CLIENTS]


@pytest.mark.interop
@pytest.mark.skipif(nsd.why_missing() is not None, reason=str(nsd.why_missing()))
def test_a_real_dns_server_serves_the_zone(tmp_path):
    lines = list(dnsbl(CLIENTS, name_server="mx9.example.org", now=NOW))
    zone = tmp_path / "zone"
    zone.write_text("\n".join(lines) + "\n")
    checker = program("nsd-checkzone")
    assert checker is not None
    subprocess.run([checker, "trap.example.org", str(zone)], check=True, capture_output=True)
    with Nsd(tmp_path) as server:
        # its own SOA and NS stand for those that nsd-checkzone has read
        server.zone("trap.example.org", "\n".join(lines[3:]))
        server.reload()
        for name, address in (
            ("7.2.0.192", "127.0.0.2"),
            ("9.100.51.198", "127.0.0.3"),
            ("2.0.0.127", "127.0.0.2"),
            ("f.e.d.c.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2", "127.0.0.2"),
            ("2.0.0.0.0.0.f.7.f.f.f.f" + ".0" * 20, "127.0.0.2"),
        ):
            assert answers(server, name) == [address], name
        for name in (
            "8.2.0.192",
            "1.0.0.127",
            "0" + ".0" * 15 + ".3.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2",
        ):
            assert answers(server, name) == [], name


def answers(server: Nsd, name: str) -> list[str]:
    question = dns.message.make_query(f"{name}.trap.example.org", "A")
    reply = dns.query.udp(
        question, server.endpoint.host, port=server.endpoint.port, timeout=5, ignore_errors=True
    )
    return [str(record) for found in reply.answer for record in found]


def test_the_nftables_script():
    many = [Caught(f"10.0.{n // 250}.{n % 250}", True, NOW, NOW + 60) for n in range(1200)]
    lines = list(nft(CLIENTS + many, now=NOW))
    assert lines[:3] == [
        "add table inet tideover",
        "add set inet tideover trap4 { type ipv4_addr; flags timeout; }",
        "add set inet tideover trap6 { type ipv6_addr; flags interval, timeout; }",
    ]
    assert lines[3:5] == ["flush set inet tideover trap4", "flush set inet tideover trap6"]
    pattern = re.compile(r"add element inet tideover trap[46] \{ (\S+ timeout \d+s(, )?)+ \}")
    assert all(pattern.fullmatch(line) for line in lines[5:])
    text = "\n".join(lines)
    assert "192.0.2.7 timeout 3600s" in text
    assert "trap6 { 2001:db8:1:2::/64 timeout 7200s }" in text
    assert "203.0.113.1" not in text  # it counts no more
    assert text.count(" timeout ") == 1203
    assert max(map(len, lines)) < 20_000


@pytest.mark.interop
@pytest.mark.skipif(NFT is None, reason="nft is missing")
def test_nft_understands_it(tmp_path):
    script = tmp_path / "trap.nft"
    script.write_text("\n".join(nft(CLIENTS, now=NOW)) + "\n")
    done = subprocess.run([str(NFT), "-c", "-f", str(script)], capture_output=True, text=True)
    if "Operation not permitted" in done.stderr:
        pytest.skip("the kernel forbids nftables here")
    assert (done.returncode, done.stderr) == (0, "")
