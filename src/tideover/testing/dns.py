"""DNS for tests: a resolver that answers from a table, and a real server on loopback.

Both can be told to fail for a name or for all, in the ways in which DNS fails.
"""

import asyncio
import socketserver
import struct
import threading
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.zone

from tideover.config.values import Endpoint
from tideover.dns.resolver import AddressAnswer, DnsUnavailable, MxAnswer, NoSuchName

EVERYTHING: Final = "."
"""The name under which a behaviour holds for all names that have none of their own."""

_MAX_CHAIN: Final = 8


class FakeResolver:
    """A `Resolver` on tables. A name in neither table does not exist; `broken` names fail.

    `asked` lists the look-ups that were made, as "mx NAME" and "addresses NAME".
    """

    def __init__(
        self,
        mx: Mapping[str, Sequence[tuple[int, str]]] | None = None,
        addresses: Mapping[str, Sequence[str]] | None = None,
        ttl: float = 300.0,
    ) -> None:
        self.mx_records = dict(mx or {})
        self.address_records = dict(addresses or {})
        self.broken: set[str] = set()
        self.partial: set[str] = set()
        self.ttl = ttl
        self.serials: dict[str, int] = {}
        self.asked: list[str] = []

    async def mx(self, name: str) -> MxAnswer:
        """The MX records in the table."""
        self._ask("mx", name)
        return MxAnswer(tuple(self.mx_records.get(name, ())), self.ttl)

    async def addresses(self, name: str) -> AddressAnswer:
        """The addresses in the table."""
        self._ask("addresses", name)
        found = tuple(self.address_records.get(name, ()))
        return AddressAnswer(found, self.ttl, name in self.partial)

    async def serial(self, name: str) -> int | None:
        """The serial in the table; not among what was `asked`."""
        return None if EVERYTHING in self.broken else self.serials.get(name)

    def _ask(self, kind: str, name: str) -> None:
        self.asked.append(f"{kind} {name}")
        if name in self.broken or EVERYTHING in self.broken:
            raise DnsUnavailable(f"DNS did not answer for {name} in time")
        if name not in self.mx_records and name not in self.address_records:
            raise NoSuchName(f"{name} does not exist in DNS", self.ttl)


class FakeNames:
    """`Names` on tables: a name in none of them does not exist; `broken` names fail.

    The tables may be changed at any time; the keys of `ptr` are addresses. `asked` lists the
    look-ups that were made, as "txt NAME", "ptr ADDRESS"…; with a `gate` they wait until it is set.
    """

    def __init__(
        self,
        *,
        txt: Mapping[str, Sequence[str | bytes]] | None = None,
        a: Mapping[str, Sequence[str]] | None = None,
        aaaa: Mapping[str, Sequence[str]] | None = None,
        mx: Mapping[str, Sequence[tuple[int, str]]] | None = None,
        ptr: Mapping[str, Sequence[str]] | None = None,
        broken: Iterable[str] = (),
        gate: asyncio.Event | None = None,
    ) -> None:
        self.tables: dict[str, dict[str, Sequence[Any]]] = {
            "txt": dict(txt or {}),
            "a": dict(a or {}),
            "aaaa": dict(aaaa or {}),
            "mx": dict(mx or {}),
            "ptr": dict(ptr or {}),
        }
        self.broken = set(broken)
        self.gate = gate
        self.asked: list[str] = []

    async def txt(self, name: str) -> tuple[bytes, ...]:
        """As `Names.txt`. Texts in the table count as UTF-8."""
        records = await self._ask("txt", name)
        return tuple(text.encode() if isinstance(text, str) else text for text in records)

    async def a(self, name: str) -> tuple[str, ...]:
        """As `Names.a`."""
        return tuple(await self._ask("a", name))

    async def aaaa(self, name: str) -> tuple[str, ...]:
        """As `Names.aaaa`."""
        return tuple(await self._ask("aaaa", name))

    async def mx(self, name: str) -> tuple[tuple[int, str], ...]:
        """As `Names.mx`."""
        return tuple(await self._ask("mx", name))

    async def ptr(self, address: str) -> tuple[str, ...]:
        """As `Names.ptr`."""
        return tuple(await self._ask("ptr", address))

    async def _ask(self, kind: str, name: str) -> Sequence[Any]:
        self.asked.append(f"{kind} {name}")
        if self.gate is not None:
            await self.gate.wait()
        key = name.lower()
        if key in self.broken or EVERYTHING in self.broken:
            raise DnsUnavailable(f"DNS did not answer for {name} in time")
        if not any(key in table for table in self.tables.values()):
            raise NoSuchName(f"{name} does not exist in DNS", 60.0)
        return self.tables[kind].get(key, ())


class Behaviour(StrEnum):
    """What a `DnsServer` does when it is asked."""

    ANSWER = "answer"
    SILENT = "silent"  # no answer at all
    SERVFAIL = "servfail"
    TRUNCATE = "truncate"  # UDP answers are cut, TCP ones whole
    GARBAGE = "garbage"  # bytes that are no DNS message
    WRONG_ID = "wrong-id"  # an answer to another question
    NXDOMAIN = "nxdomain"
    NODATA = "nodata"


class DnsServer:
    """An authoritative server on 127.0.0.1, UDP and TCP on one port, in threads of its own.

    `zones` maps origins to zone file text, to which an SOA is added. Use it as a context manager;
    `behave` may be called at any time. `asked` counts the questions by "TRANSPORT NAME TYPE".
    """

    def __init__(self, zones: Mapping[str, str]) -> None:
        self._zones: dict[dns.name.Name, dns.zone.Zone] = {}
        self._behaviours: dict[dns.name.Name, Behaviour] = {}
        self.asked: dict[str, int] = {}
        self._tcp, self._udp = _bind_both(self)
        self.endpoint = Endpoint("127.0.0.1", self._udp.server_address[1])
        for origin, text in zones.items():
            self.serve(origin, text)

    def __enter__(self) -> Self:
        for server in (self._tcp, self._udp):
            threading.Thread(
                target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
            ).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in (self._tcp, self._udp):
            server.shutdown()
            server.server_close()

    def serve(self, origin: str, text: str, *, serial: int = 1) -> None:
        """Serve this zone from now on, in place of what it was."""
        times = "3600 600 86400 60"
        soa = f"$TTL 300\n@ SOA ns.{origin}. hostmaster.{origin}. {serial} {times}\n@ NS ns\n"
        name = dns.name.from_text(origin)
        self._zones[name] = dns.zone.from_text(soa + text, origin=name, relativize=False)

    def behave(self, behaviour: Behaviour, name: str = EVERYTHING) -> None:
        """Do this from now on when asked for `name`."""
        self._behaviours[dns.name.from_text(name)] = behaviour

    def respond(self, wire: bytes, transport: str) -> bytes | None:
        """The answer to one question; None: stay silent."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        key = f"{transport} {question.name.to_text(True)} {dns.rdatatype.to_text(question.rdtype)}"
        self.asked[key] = self.asked.get(key, 0) + 1
        behaviour = self._behaviours.get(
            question.name, self._behaviours.get(dns.name.root, Behaviour.ANSWER)
        )
        if behaviour is Behaviour.SILENT:
            return None
        if behaviour is Behaviour.GARBAGE:
            return wire[:2] + b"\xff" * 40
        response = self._response(query, behaviour)
        if behaviour is Behaviour.WRONG_ID:
            response.id = query.id ^ 0x5555
        if behaviour is Behaviour.TRUNCATE and transport == "udp":
            response.answer.clear()
            response.flags |= dns.flags.TC
        if transport == "tcp":
            return response.to_wire(max_size=65535)
        return response.to_wire(max_size=query.payload or 512, prefer_truncation=True)

    def _response(
        self, query: dns.message.QueryMessage | dns.message.Message, behaviour: Behaviour
    ) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA | dns.flags.RA
        name, kind = query.question[0].name, query.question[0].rdtype
        zone = self._zone_of(name)
        if behaviour is Behaviour.SERVFAIL:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif zone is None:
            response.set_rcode(dns.rcode.REFUSED)
        elif behaviour is Behaviour.NXDOMAIN:
            self._deny(response, zone, exists=False)
        elif behaviour is Behaviour.NODATA:
            self._deny(response, zone, exists=True)
        else:
            self._answer(response, name, kind)
        return response

    def _answer(
        self, response: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType
    ) -> None:
        for _ in range(_MAX_CHAIN):
            zone = self._zone_of(name)
            if zone is None:
                return
            found = zone.get_rdataset(name, kind)
            if found is not None:
                response.answer.append(dns.rrset.from_rdata_list(name, found.ttl, list(found)))
                return
            alias = zone.get_rdataset(name, dns.rdatatype.CNAME)
            if alias is None:
                self._deny(response, zone, exists=zone.get_node(name) is not None)
                return
            response.answer.append(dns.rrset.from_rdata_list(name, alias.ttl, list(alias)))
            name = alias[0].target

    @staticmethod
    def _deny(response: dns.message.Message, zone: dns.zone.Zone, *, exists: bool) -> None:
        if not exists:
            response.set_rcode(dns.rcode.NXDOMAIN)
        origin = zone.origin
        soa = zone.get_rdataset(origin, dns.rdatatype.SOA) if origin is not None else None
        if origin is not None and soa is not None:
            response.authority.append(dns.rrset.from_rdata_list(origin, soa.ttl, list(soa)))

    def _zone_of(self, name: dns.name.Name) -> dns.zone.Zone | None:
        origins = [origin for origin in self._zones if name.is_subdomain(origin)]
        return self._zones[max(origins, key=len)] if origins else None


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True
    dns: DnsServer


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    dns: DnsServer


class _UdpHandler(socketserver.BaseRequestHandler):
    server: _Udp

    def handle(self) -> None:
        wire, sock = self.request
        response = self.server.dns.respond(wire, "udp")
        if response is not None:
            sock.sendto(response, self.client_address)


class _TcpHandler(socketserver.StreamRequestHandler):
    server: _Tcp
    timeout = 10

    def handle(self) -> None:
        while len(head := self.rfile.read(2)) == 2:
            wire = self.rfile.read(struct.unpack("!H", head)[0])
            response = self.server.dns.respond(wire, "tcp")
            if response is not None:
                self.wfile.write(struct.pack("!H", len(response)) + response)


def _bind_both(server: DnsServer) -> tuple[_Tcp, _Udp]:
    """A TCP and a UDP server on one free port."""
    for _ in range(100):
        tcp = _Tcp(("127.0.0.1", 0), _TcpHandler)
        try:
            udp = _Udp(tcp.server_address, _UdpHandler)
        except OSError:
            tcp.server_close()
            continue
        tcp.dns = udp.dns = server
        return tcp, udp
    raise OSError("no port is free for both UDP and TCP")
