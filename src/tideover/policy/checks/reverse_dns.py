"""reverse-dns: the client's address has a name, and that name has the address (FCrDNS, RFC 8601
§2.7.3 "iprev").

Evidence: `name`, the first that is confirmed, or `ptr`, one that is not.
"""

from typing import Final

from tideover.dns.names import Names
from tideover.dns.resolver import DnsUnavailable, NoSuchName
from tideover.message.client_address import plain_address
from tideover.policy.hosts import MAX_HOSTS, is_public
from tideover.policy.interface import NOTHING, About, Check, Found, Result
from tideover.policy.services import Services

_NONE: Final = Result(found=(Found(name="rdns-none"),))
_MAX_SHOWN: Final = 255  # characters; a name can be four times as long as written in a zone


def make(services: Services) -> Check:
    """The check of stage connect."""
    names = services.names

    async def check(about: About) -> Result:
        address = about.client.address
        found: tuple[str, ...] = ()
        try:
            found = await names.ptr(address)
        except NoSuchName:
            pass
        except DnsUnavailable as error:
            return Result(undecided=str(error))
        if found:
            return await _confirmed(names, address, found[:MAX_HOSTS])
        # nobody names loopback and private addresses for us
        return _NONE if is_public(address) else NOTHING

    return check


async def _confirmed(names: Names, address: str, found: tuple[str, ...]) -> Result:
    look_up = names.aaaa if ":" in address else names.a
    unknown = ""
    for name in found:
        try:
            if address in map(plain_address, await look_up(name)):
                return Result(evidence={"name": name})
        except NoSuchName:
            continue
        except DnsUnavailable as error:
            unknown = str(error)
    shown = found[0][:_MAX_SHOWN]
    if unknown:
        return Result(evidence={"ptr": shown}, undecided=unknown)
    reason = f"{shown} does not lead back to {address}"
    return Result(found=(Found(name="rdns-unconfirmed", reason=reason),), evidence={"ptr": shown})
