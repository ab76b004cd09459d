"""Whether a domain that we were never told of is one to back up: what its MX set must look like.

Anybody may name us in the MX set of a domain, and may name any host that is better than we are.
So neither makes a domain ours (the abuse that Postfix's `permit_mx_backup` is known for): every
better host must belong to an owner whom the operator has listed. A listed host of a large provider
would make all its customers ours; see docs, and keep `callout` among the recipients.
"""

import re
from collections.abc import Sequence
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from msgspec import Struct

from tideover.config.model import Discover
from tideover.dns.resolver import (
    AddressAnswer,
    DnsError,
    DnsUnavailable,
    MxAnswer,
    NoSuchName,
    Resolver,
)
from tideover.primary.mx import distinct
from tideover.primary.mx_set import Hosts, texts
from tideover.primary.ourselves import Ourselves
from tideover.primary.static import look_up

MAX_HOSTS: Final = 10
"""A set of more hosts than these is not looked at: a stranger chose them, and we resolve them."""

_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


class Owned(Enum):
    """YES: ours to back up. NO: DNS says plainly that it is not. NO_PRIMARY: it names us and no
    better host, or no host at all, so that nobody can tell whose it is.
    """

    YES = "yes"
    NO = "no"
    NO_PRIMARY = "no primary"


class Judgement(Struct, frozen=True, kw_only=True):
    """What DNS says of a domain, why (for the operator), and for how long, in seconds."""

    owned: Owned
    reason: str
    ttl: float
    hosts: tuple[str, ...] = ()


class Owners(Struct, frozen=True, kw_only=True):
    """The owners whose domains we back up, and how DNS is asked. `port` is 25 but for tests."""

    discover: Discover
    resolver: Resolver
    ourselves: Ourselves
    port: int = 25

    async def judge(self, domain: str) -> Judgement:
        """Whether the domain is ours to back up, by its MX set of this moment.

        Raises:
            DnsUnavailable: DNS does not say enough.
        """
        try:
            answer = await self.resolver.mx(domain)
        except NoSuchName as error:
            return Judgement(owned=Owned.NO_PRIMARY, reason=str(error), ttl=error.ttl)
        hosts = tuple(distinct(answer))
        refusal = self._refusal(domain, answer, hosts)
        if refusal is not None:
            return refusal
        names = [name for _, name in hosts]
        own = [p for p, name in hosts if self.ourselves.is_name(name)]
        if not own or self.discover.primary_networks:
            answers = dict(zip(names, await look_up(names, self.resolver), strict=True))
        else:
            answers = {}  # names alone decide
        own += [p for p, name in hosts if self._is_us(answers.get(name))]
        ttl = min([answer.ttl, *(a.ttl for a in answers.values() if isinstance(a, AddressAnswer))])
        if not own:
            doubt = next((a for a in answers.values() if isinstance(a, DnsUnavailable)), None)
            if doubt is not None:
                raise doubt  # that host may be us
            reason = f"the MX set of {domain} does not name us"
            return Judgement(owned=Owned.NO, reason=reason, ttl=ttl)
        better = [name for p, name in hosts if p < min(own)]
        if not better:
            reason = f"no host in the MX set of {domain} is better than we are"
            return Judgement(owned=Owned.NO_PRIMARY, reason=reason, ttl=ttl)
        for name in better:
            if not self._is_listed(name, answers.get(name)):
                reason = f"{name}, an MX of {domain}, is not listed in [discover]"
                return Judgement(owned=Owned.NO, reason=reason, ttl=ttl)
        return Judgement(owned=Owned.YES, reason="", ttl=ttl, hosts=texts(hosts))

    def _refusal(self, domain: str, answer: MxAnswer, hosts: Hosts) -> Judgement | None:
        """The judgement of sets that need no further look."""
        if not answer.hosts:
            reason, owned = f"{domain} has no MX records", Owned.NO_PRIMARY
        elif not hosts:
            reason, owned = f"{domain} takes no mail (null MX)", Owned.NO
        elif len(hosts) > MAX_HOSTS:
            reason, owned = f"{domain} has more than {MAX_HOSTS} MX hosts", Owned.NO
        else:
            return None
        return Judgement(owned=owned, reason=reason, ttl=answer.ttl)

    def _is_us(self, answer: AddressAnswer | DnsError | None) -> bool:
        """Whether every address of a host is ours. Loopback does not count: it is everybody's."""
        if not isinstance(answer, AddressAnswer) or not answer.addresses or answer.partial:
            return False
        return all(
            not _is_nobodys(ip_address(address)) and self.ourselves.is_address(address, self.port)
            for address in answer.addresses
        )

    def _is_listed(self, name: str, answer: AddressAnswer | DnsError | None) -> bool:
        """Whether a host belongs to a listed owner.

        Raises:
            DnsUnavailable: its addresses, which decide, are not known.
        """
        if name in self.discover.primary_hosts:
            return True
        if not self.discover.primary_networks:
            return False
        if isinstance(answer, DnsUnavailable):
            raise answer
        if not isinstance(answer, AddressAnswer) or not answer.addresses:
            return False
        listed = all(self._is_in_network(address) for address in answer.addresses)
        if listed and answer.partial:
            raise DnsUnavailable(f"DNS did not give all addresses of {name}")
        return listed

    def _is_in_network(self, address: str) -> bool:
        ip = ip_address(address)
        return any(ip in network for network in self.discover.primary_networks)


def _is_nobodys(ip: IPv4Address | IPv6Address) -> bool:
    return ip.is_unspecified or ip.is_multicast or ip.is_loopback


def may_be_discovered(domain: str) -> bool:
    """Whether it is a name of two labels or more, in lower-case A-labels, and no IP address."""
    labels = domain.split(".")
    return (
        len(domain) <= 253
        and len(labels) > 1
        and not labels[-1].isdigit()
        and all(map(_LABEL.fullmatch, labels))
    )


def sibling(domain: str, label: str) -> str:
    """A name beside the domain: what a wildcard record would answer for as well."""
    return f"{label}.{domain.partition('.')[2]}"


def same_hosts(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two sets are the same."""
    return sorted(one) == sorted(other)
