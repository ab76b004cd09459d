"""Routes that DNS names: the MX hosts of a domain that are better than we are (RFC 5321 §5.1).

Ourselves and every host that is not better are removed, since mail must only ever come closer to
its home. When nothing is left, or DNS fails, the mail is held (I9); only a null MX (RFC 7505) is a
verdict.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from random import Random
from typing import Final

from msgspec import Struct

from tideover.dns.resolver import (
    AddressAnswer,
    DnsError,
    DnsUnavailable,
    MxAnswer,
    NoSuchName,
    Resolver,
)
from tideover.primary.found import Found, failure, good_until, hops, no_route
from tideover.primary.interface import NoRoute, Route, Trouble
from tideover.primary.mx_set import Look, MxSet
from tideover.primary.ourselves import Ourselves
from tideover.primary.static import is_partial, look_up

MAX_HOSTS: Final = 30
"""The best MX hosts of a domain, of which no more than these are looked at."""

_Hosts = Sequence[tuple[int, str]]
_Answers = Mapping[str, AddressAnswer | DnsError]


class MxRoutes(Struct, frozen=True, kw_only=True):
    """How MX routes are found. `random` puts equal hosts in order; `port` is 25 but for tests."""

    resolver: Resolver
    ourselves: Ourselves
    random: Random
    port: int = 25

    async def find(self, domain: str, *, backed_up: bool, now: float) -> Found | NoRoute:
        """The route of a domain, as in `look`."""
        return (await self.look(domain, backed_up=backed_up, now=now)).found

    async def look(self, domain: str, *, backed_up: bool, now: float) -> Look:
        """The route of a domain, and its MX set. `backed_up` says that the config names it, so
        that we should be in the set.
        """
        try:
            answer = await self.resolver.mx(domain)
        except NoSuchName as error:
            return Look(found=failure(error, now), mx=MxSet(hosts=()))
        except DnsError as error:
            return Look(found=failure(error, now))
        hosts = distinct(answer)
        if not hosts and answer.hosts:
            text = f"{domain} says that it takes no mail (null MX)"
            null = no_route(Trouble.NULL_MX, text, now, answer.ttl)
            return Look(found=null, mx=MxSet(hosts=((0, ""),)))
        implicit = not hosts
        named, hosts = hosts, hosts or [(0, domain)]
        own = min((p for p, name in hosts if self.ourselves.is_name(name)), default=None)
        hosts = _better(hosts, own)
        names = [name for _, name in hosts]
        answers = dict(zip(names, await look_up(names, self.resolver), strict=True))
        found_by_address = [(p, name) for p, name in hosts if self._leads_to_us(answers[name])]
        if found_by_address:
            own = min(found_by_address)[0]
            hosts = _better(hosts, own)
        ours = {name for _, name in found_by_address}
        mx = MxSet(
            hosts=tuple(named),
            own=own,
            others=any(n not in ours and not self.ourselves.is_name(n) for _, n in named),
        )
        if not hosts:
            text = f"we are the best MX of {domain} ourselves: DNS names no host that is better"
            return Look(found=no_route(Trouble.BEST_MX, text, now, answer.ttl), mx=mx)
        warning = None
        if backed_up and own is None:
            warning = f"{self.ourselves.hostname} is not an MX of {domain}; all its MX hosts serve"
        found = self._route(domain, hosts, answers, answer.ttl, warning, implicit, now)
        return Look(found=found, mx=mx)

    def _leads_to_us(self, answer: AddressAnswer | DnsError) -> bool:
        """Whether every address of a host is ours."""
        return (
            isinstance(answer, AddressAnswer)
            and bool(answer.addresses)
            and all(self.ourselves.is_address(a, self.port) for a in answer.addresses)
        )

    def _route(
        self,
        domain: str,
        hosts: _Hosts,
        answers: _Answers,
        ttl: float,
        warning: str | None,
        implicit: bool,
        now: float,
    ) -> Found | NoRoute:
        """The route over these hosts, of which some may have no address."""
        ordered = []
        groups = []
        for _, group in groupby(hosts, key=lambda host: host[0]):
            equals = list(group)
            groups.append("|".join(sorted(name for _, name in equals)))
            self.random.shuffle(equals)
            ordered += equals
        used = [answers[name] for _, name in ordered]
        found = hops(
            ((at, name, self.port, self._others(answers[name])) for at, name in ordered),
            best=hosts[0][0],
        )
        doubtful = next((a for a in used if isinstance(a, DnsUnavailable)), None)
        if not found:
            if doubtful is not None:
                return failure(doubtful, now)
            text = f"no MX host of {domain} has an address: {', '.join(n for _, n in ordered)}"
            if implicit:
                text = f"{domain} has neither MX nor address in DNS"
            return no_route(Trouble.NO_SUCH_DOMAIN, text, now, ttl)
        ttls = [a.ttl for a in used if isinstance(a, AddressAnswer) and a.addresses]
        return Found(
            route=Route(
                key=f"mx {','.join(groups)}:{self.port}",
                hops=found,
                expires_at=good_until(now, min(ttl, *ttls)),
                warning=warning,
            ),
            partial=doubtful is not None or any(map(is_partial, used)),
            implicit=implicit,
        )

    def _others(self, answer: AddressAnswer | DnsError) -> Sequence[str]:
        """The addresses of a host that don't lead back to us."""
        if not isinstance(answer, AddressAnswer):
            return ()
        return [a for a in answer.addresses if not self.ourselves.is_address(a, self.port)]


def distinct(answer: MxAnswer) -> _Hosts:
    """The best hosts by preference, each name once, without the root."""
    best: dict[str, int] = {}
    for preference, name in sorted(answer.hosts):
        if name:
            best.setdefault(name, preference)
    return [(preference, name) for name, preference in best.items()][:MAX_HOSTS]


def _better(hosts: _Hosts, own: int | None) -> _Hosts:
    """Those with a preference better than our own; all when we are not among them."""
    return hosts if own is None else [host for host in hosts if host[0] < own]
