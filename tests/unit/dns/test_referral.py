"""A server that is asked for records and answers with the names of other servers."""

import asyncio

import dns.flags
import dns.message
import dns.rrset
import pytest

from tideover.config.model import Dns
from tideover.config.values import Endpoint
from tideover.dns.resolver import DnsResolver, DnsUnavailable

NS = dns.rrset.from_text("example.", 3600, "IN", "NS", "ns1.example.", "ns2.example.")
SOA = dns.rrset.from_text("example.", 3600, "IN", "SOA", "ns1.example. h.example. 1 2 3 4 5")


class Server(asyncio.DatagramProtocol):
    """Answers each question with these flags and this authority section, and no records."""

    def __init__(self, flags, authority):
        self.flags = flags
        self.authority = authority

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        response = dns.message.make_response(dns.message.from_wire(data))
        response.flags |= self.flags
        response.authority += self.authority
        self.transport.sendto(response.to_wire(), address)


async def asked(flags, authority):
    """What `records` and `addresses` say by such a server: a value, or the exception."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Server(flags, authority), local_addr=("127.0.0.1", 0)
    )
    try:
        here = Endpoint("127.0.0.1", transport.get_extra_info("sockname")[1])
        resolver = DnsResolver(Dns(servers=(here,)))
        return await asyncio.gather(
            resolver.records("name.example", "TXT"),
            resolver.addresses("name.example"),
            return_exceptions=True,
        )
    finally:
        transport.close()


@pytest.mark.parametrize("flags", [0, dns.flags.RA])
def test_a_referral_is_no_answer(flags):
    records, addresses = asyncio.run(asked(flags, [NS]))
    assert isinstance(records, DnsUnavailable)
    assert isinstance(addresses, DnsUnavailable)


@pytest.mark.parametrize(
    ("flags", "authority"),
    [(dns.flags.RA, []), (dns.flags.RA, [SOA]), (dns.flags.RA, [SOA, NS]), (dns.flags.AA, [NS])],
)
def test_a_name_without_such_records(flags, authority):
    records, addresses = asyncio.run(asked(flags, authority))
    assert records.values == ()
    assert addresses.addresses == ()
