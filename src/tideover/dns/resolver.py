"""DNS as routing and checks need it: records with TTLs, and three kinds of no.

"No such name" and "the name has no such records" are answers of DNS; "unavailable" (SERVFAIL,
time-out, nonsense) is none and must never be taken for one (I9).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from sys import intern  # many domains have the same hosts
from typing import Any, Final, Literal, Protocol

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.PTR import PTR
from dns.rdtypes.ANY.SOA import SOA
from dns.rdtypes.ANY.TXT import TXT
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from msgspec import Struct

from tideover.config.model import Dns

_EDNS_PAYLOAD: Final = 1232  # fits a packet everywhere, so that nothing is fragmented
_TRY: Final = 2.0  # seconds for one server, before the next is asked
_AT_ONCE: Final = 50
_MAX_RECORDS: Final = 100
_MAX_ALIASES: Final = 8
_MAX_ZONES: Final = 5  # names that are asked for an SOA, from the name itself upwards
_SYSTEM: Final = "/etc/resolv.conf"

Kind = Literal["A", "AAAA", "MX", "PTR", "TXT"]
"""Types of records that `DnsResolver.records` gives as plain values."""


class DnsError(Exception):
    """No records came of a look-up."""


class NoSuchName(DnsError):  # noqa: N818 - an answer of DNS more than an error
    """NXDOMAIN: the name does not exist. `ttl` is how long that may be believed, in seconds."""

    def __init__(self, text: str, ttl: float) -> None:
        super().__init__(text)
        self.ttl = ttl


class DnsUnavailable(DnsError):  # noqa: N818
    """DNS did not answer, or with nonsense: nothing is known. Temporary by nature."""


class MxAnswer(Struct, frozen=True):
    """MX records as (preference, lower-case name without final dot; "" is the root). May be
    empty: the name exists, without MX. `ttl` in seconds.
    """

    hosts: tuple[tuple[int, str], ...]
    ttl: float


class Records(Struct, frozen=True):
    """Records as plain values, of each kind as `dns.names.Names` gives them. May be empty: the
    name exists, without such records. `ttl` in seconds.
    """

    values: tuple[Any, ...]
    ttl: float


class AddressAnswer(Struct, frozen=True):
    """Addresses of a host, IPv6 and IPv4 in turn. May be empty. `partial`: one family is unknown,
    because DNS failed for it.
    """

    addresses: tuple[str, ...]
    ttl: float
    partial: bool = False


class Resolver(Protocol):
    """Looks names up. Names are A-labels without final dot; aliases (CNAME) are followed."""

    async def mx(self, name: str) -> MxAnswer:
        """The MX records of a domain.

        Raises:
            NoSuchName: the domain does not exist.
            DnsUnavailable: DNS does not say.
        """

    async def addresses(self, name: str) -> AddressAnswer:
        """The AAAA and A records of a host. Raises as `mx` does."""

    async def serial(self, name: str) -> int | None:
        """The serial of the zone that the name lies in (SOA, RFC 1035 §3.3.13), or None when DNS
        does not say it. Never raises.
        """


class DnsResolver:
    """The `Resolver` that asks real servers: those of the config, else the system's.

    No search list, EDNS with a small payload, TCP when an answer was truncated. A look-up ends
    within `config.timeout` seconds, not counting the wait while `at_once` others run. That wait
    may last `patience` seconds (None: as long as it takes): when the servers are dead, those who
    have somebody waiting must not pile up. The system's servers are read again when `resolv.conf`
    has changed, as a laptop's or a container's does.
    """

    def __init__(
        self,
        config: Dns,
        *,
        resolv_conf: str = _SYSTEM,
        at_once: int = _AT_ONCE,
        patience: float | None = None,
    ) -> None:
        self._config = config
        self._resolv_conf = resolv_conf
        self._resolver: dns.asyncresolver.Resolver | None = None
        self._read_at: int | None = None  # mtime_ns of the resolv.conf in use
        self._gate = asyncio.Semaphore(at_once)
        self._patience = patience

    def reconfigure(self, config: Dns) -> None:
        """Ask these servers from the next look-up on."""
        self._config = config
        self._resolver = None

    async def mx(self, name: str) -> MxAnswer:
        """As `Resolver.mx`."""
        records = await self.records(name, "MX")
        return MxAnswer(records.values, records.ttl)

    async def records(self, name: str, kind: Kind) -> Records:
        """The records of one kind. Raises as `mx` does."""
        found, ttl = await self._ask(name, kind)
        return Records(tuple(map(_value, found)), ttl)

    async def addresses(self, name: str) -> AddressAnswer:
        """As `Resolver.addresses`."""
        both = await asyncio.gather(
            self._ask(name, "AAAA"), self._ask(name, "A"), return_exceptions=True
        )
        found: list[list[str]] = []
        failures: list[DnsError] = []
        ttls: list[float] = []
        for result in both:
            if isinstance(result, DnsError):
                failures.append(result)
            elif isinstance(result, BaseException):
                raise result
            else:
                found.append([intern(r.address) for r in result[0] if isinstance(r, AAAA | A)])
                ttls.append(result[1])
        if failures and not any(found):
            # "no such name" counts only when nothing else is in doubt
            raise next((f for f in failures if isinstance(f, DnsUnavailable)), failures[0])
        filled = [ttl for ttl, family in zip(ttls, found, strict=True) if family]
        return AddressAnswer(tuple(_alternate(found)), min(filled or ttls), bool(failures))

    async def serial(self, name: str) -> int | None:
        """As `Resolver.serial`: the name's own SOA, else that of the nearest name above it. Zones
        of a single label are passed over: their serial says nothing of this name.
        """
        labels = name.split(".")
        above = [".".join(labels[n:]) for n in range(len(labels) - 1)]
        with suppress(TimeoutError):
            async with asyncio.timeout(self._config.timeout):
                for zone in above[:_MAX_ZONES]:
                    try:
                        records, _ = await self._ask(zone, "SOA")
                    except NoSuchName:
                        continue
                    except DnsUnavailable:
                        return None
                    for record in records:
                        if isinstance(record, SOA):
                            return int(record.serial)
        return None

    async def _ask(self, name: str, kind: str) -> tuple[list[object], float]:
        """The records and their TTL, [] when the name has none of this kind."""
        async with self._turn(name):
            try:
                async with asyncio.timeout(self._config.timeout):
                    return await self._follow(dns.name.from_text(name), kind)
            except dns.resolver.NXDOMAIN as error:
                raise NoSuchName(f"{name} does not exist in DNS", _negative_ttl(error)) from None
            except TimeoutError:
                raise DnsUnavailable(f"DNS did not answer for {name} in time") from None
            except DnsError:
                raise
            except Exception as error:  # whatever a server's nonsense may set off
                raise DnsUnavailable(f"DNS failed for {name}: {_reason(error)}") from None

    @asynccontextmanager
    async def _turn(self, name: str) -> AsyncIterator[None]:
        """Wait until fewer look-ups run, but not for ever."""
        try:
            async with asyncio.timeout(self._patience):
                await self._gate.acquire()
        except TimeoutError:
            raise DnsUnavailable(f"too many DNS look-ups at once to ask for {name}") from None
        try:
            yield
        finally:
            self._gate.release()

    async def _follow(self, name: dns.name.Name, kind: str) -> tuple[list[object], float]:
        """Ask, and ask again for the end of an alias that the server did not follow itself."""
        resolver = self._current()
        ttl = float("inf")
        for _ in range(_MAX_ALIASES):
            answer = await resolver.resolve(
                name, kind, raise_on_no_answer=False, search=False, lifetime=self._config.timeout
            )
            ttl = min(ttl, answer.chaining_result.minimum_ttl)
            if answer.rrset is not None:
                return list(answer.rrset)[:_MAX_RECORDS], ttl
            if answer.canonical_name == name:
                if _refers_on(answer.response):
                    raise DnsUnavailable(f"DNS only says which servers to ask for {_text(name)}")
                return [], ttl
            name = answer.canonical_name
        raise DnsUnavailable(f"DNS has more than {_MAX_ALIASES} aliases in a row at {name}")

    def _current(self) -> dns.asyncresolver.Resolver:
        if self._config.servers:
            if self._resolver is None:
                self._resolver = self._make(
                    [dns.nameserver.Do53Nameserver(s.host, s.port) for s in self._config.servers]
                )
            return self._resolver
        try:
            changed = os.stat(self._resolv_conf).st_mtime_ns
        except OSError:
            changed = 0
        if self._resolver is None or changed != self._read_at:
            system = dns.resolver.Resolver(configure=False)
            try:
                system.read_resolv_conf(self._resolv_conf)
            except (dns.resolver.NoResolverConfiguration, OSError):
                system.nameservers = ["127.0.0.1"]  # as the C library does
            self._resolver = self._make(system.nameservers)
            self._read_at = changed
        return self._resolver

    def _make(
        self, servers: Sequence[str | dns.nameserver.Nameserver]
    ) -> dns.asyncresolver.Resolver:
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = list(servers)
        resolver.timeout = min(_TRY, self._config.timeout / 2)
        resolver.lifetime = self._config.timeout
        resolver.use_edns(0, 0, _EDNS_PAYLOAD)
        return resolver


def _refers_on(response: dns.message.Message) -> bool:
    """Whether an empty answer is none, but a referral (RFC 2308 §2.2.1): of a server that does not
    look names up for us, or that has lost the zone.
    """
    kinds = {rrset.rdtype for rrset in response.authority}
    return (
        not response.flags & dns.flags.AA
        and dns.rdatatype.NS in kinds
        and dns.rdatatype.SOA not in kinds
    )


def _value(record: object) -> str | bytes | tuple[int, str]:
    """A record as a plain value."""
    match record:
        case MX():
            return record.preference, intern(_text(record.exchange))
        case A() | AAAA():
            return intern(record.address)
        case TXT():
            return b"".join(record.strings)
        case PTR():
            return _text(record.target)
    raise TypeError(type(record).__name__)


def _text(name: dns.name.Name) -> str:
    """A name in lower case without final dot, "" for the root."""
    return "" if name == dns.name.root else name.to_text(omit_final_dot=True).lower()


def _alternate(families: list[list[str]]) -> Iterator[str]:
    """The first of each family, then the second of each, and so on."""
    for n in range(max(map(len, families), default=0)):
        yield from (family[n] for family in families if n < len(family))


def _negative_ttl(error: dns.resolver.NXDOMAIN) -> float:
    """How long a "no such name" holds (RFC 2308 §5)."""
    responses = error.kwargs.get("responses") or {}
    ttls = [response.resolve_chaining().minimum_ttl for response in responses.values()]
    return min(ttls, default=0)


def _reason(error: Exception) -> str:
    """A short text for the operator: dnspython's own names every server and try."""
    if isinstance(error, dns.exception.Timeout):
        return "no answer in time"
    if isinstance(error, dns.resolver.NoNameservers):
        return "no server gave a usable answer"
    return type(error).__name__
