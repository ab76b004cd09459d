"""Routes that the configuration names: next hops in the order given, or by their preference."""

import asyncio
from collections.abc import Sequence
from itertools import groupby

from tideover.config.values import Endpoint, NamedHop, Preferred, is_address
from tideover.dns.resolver import AddressAnswer, DnsError, DnsUnavailable, Resolver
from tideover.primary.found import RETRY, Found, failure, good_until, hops, no_route
from tideover.primary.interface import NoRoute, Route, Trouble


async def static_route(
    named: Sequence[NamedHop], resolver: Resolver, *, now: float
) -> Found | NoRoute:
    """The next hops that are named; names are looked up, literal addresses taken as they are.

    A name that DNS does not know is passed over while another one can be used.
    """
    if not named:  # a domain whose settings can't be read
        text = "no next hop is known"
        return NoRoute(trouble=Trouble.TEMPORARY, text=text, retry_at=now + RETRY)
    ordered = _by_preference(named)
    key = _key(ordered)
    names = list(dict.fromkeys(e.host for _, e in ordered if not is_address(e.host)))
    answers = dict(zip(names, await look_up(names, resolver), strict=True))
    if not names:
        literal = hops((at, e.host, e.port, (e.host,)) for at, e in ordered)
        return Found(route=Route(key=key, hops=literal))
    found = hops((at, e.host, e.port, _addresses(answers.get(e.host), e.host)) for at, e in ordered)
    errors = [a for a in answers.values() if isinstance(a, DnsError)]
    doubtful = next((e for e in errors if isinstance(e, DnsUnavailable)), None)
    if not found:
        if error := doubtful or next(iter(errors), None):
            return failure(error, now)
        ttl = min(a.ttl for a in answers.values() if isinstance(a, AddressAnswer))
        text = f"no address in DNS for {', '.join(names)}"
        return no_route(Trouble.NO_SUCH_DOMAIN, text, now, ttl)
    ttls = [a.ttl if isinstance(a, AddressAnswer) else 0.0 for a in answers.values()]
    return Found(
        route=Route(
            key=key,
            hops=found,
            expires_at=good_until(now, min(ttls)),
            warning="; ".join(map(str, errors)) or None,
        ),
        partial=doubtful is not None or any(is_partial(a) for a in answers.values()),
    )


def _by_preference(named: Sequence[NamedHop]) -> Sequence[tuple[int, Endpoint]]:
    """Preference and endpoint of each, the lowest first. Who has none stands for its place."""
    preferred = [
        (hop.preference, hop.endpoint) if isinstance(hop, Preferred) else (place, hop)
        for place, hop in enumerate(named)
    ]
    return sorted(preferred, key=lambda hop: hop[0])


def _key(ordered: Sequence[tuple[int, Endpoint]]) -> str:
    """The same for all who try the same hosts in the same order, whatever the order of equals."""
    groups = groupby(ordered, key=lambda hop: hop[0])
    return ",".join("|".join(sorted(str(hop) for _, hop in equals)) for _, equals in groups)


async def look_up(names: Sequence[str], resolver: Resolver) -> Sequence[AddressAnswer | DnsError]:
    """The addresses of each name, or why there are none."""

    async def one(name: str) -> AddressAnswer | DnsError:
        try:
            return await resolver.addresses(name)
        except DnsError as error:
            return error

    return await asyncio.gather(*map(one, names))


def is_partial(answer: AddressAnswer | DnsError) -> bool:
    """Whether DNS may have more to say than this."""
    return answer.partial if isinstance(answer, AddressAnswer) else False


def _addresses(answer: AddressAnswer | DnsError | None, host: str) -> Sequence[str]:
    if answer is None:
        return (host,)
    return answer.addresses if isinstance(answer, AddressAnswer) else ()
