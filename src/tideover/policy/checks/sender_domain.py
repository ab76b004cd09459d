"""sender-domain: a reply or a bounce could reach the sender's domain (RFC 5321 §5.1, RFC 7505)."""

from typing import Final

from tideover.dns.names import Names
from tideover.dns.resolver import DnsUnavailable, NoSuchName
from tideover.policy.hosts import MAX_HOSTS, any_address, any_host, is_public
from tideover.policy.interface import NOTHING, About, Check, Found, Result
from tideover.policy.services import Services

_INVALID: Final = Result(found=(Found(name="sender-domain-invalid"),))


def make(services: Services) -> Check:
    """The check of stage mail. The null reverse path passes."""
    names = services.names

    async def check(about: About) -> Result:
        if not about.sender:
            return NOTHING
        if not about.sender_domain:
            return _INVALID
        try:
            return await _judged(names, about.sender_domain)
        except DnsUnavailable as error:
            return Result(undecided=str(error))

    return check


async def _judged(names: Names, domain: str) -> Result:
    try:
        mx = sorted(await names.mx(domain))
    except NoSuchName:
        # some name servers deny the whole name when asked for MX only (against RFC 8020)
        if await any_address(names, domain, is_public):
            return NOTHING
        return _found("sender-domain-missing", f"{domain} does not exist")
    hosts = [host for _, host in mx if host]
    if mx and not hosts:
        return _found("sender-null-mx", f"{domain} has a null MX")
    if await any_host(names, hosts[:MAX_HOSTS] or [domain], is_public):
        return NOTHING
    which = "its MX hosts have" if hosts else "it has no MX and"
    return _found("sender-domain-no-mail", f"{domain}: {which} no address that can be reached")


def _found(name: str, reason: str) -> Result:
    return Result(found=(Found(name=name, reason=reason),))
