"""helo: the client's name for itself is one that a mail server has (RFC 5321 §2.3.5, §4.1.4).

Host names with an underscore pass: many have one. A name of our domains is refused only when the
client is no host of that domain: its primary may well call itself so.
"""

from ipaddress import ip_address
from typing import Final

from tideover.config.values import is_address, parse_domain
from tideover.dns.resolver import DnsUnavailable, NoSuchName
from tideover.message.client_address import plain_address
from tideover.policy.hosts import any_address, is_host_of
from tideover.policy.interface import NOTHING, About, Check, Found, Result
from tideover.policy.services import Services
from tideover.primary.ourselves import Ourselves

_MAX_SHOWN: Final = 255
_IPV6: Final = "ipv6:"
_THIS_HOST: Final = frozenset({"127.0.0.1", "::1"})


def make(services: Services) -> Check:
    """The check of stage helo."""
    ourselves = Ourselves(services.config.hostname, services.config.smtp.listen)
    ports = {endpoint.port for endpoint in services.config.smtp.listen}

    def judge_address(stated: str, client: str, finding: str) -> Result:
        """`finding`: what it is unless it is our own address."""
        if stated != client and any(ourselves.is_address(stated, port) for port in ports):
            return _found("helo-ours", f"{stated} is our address, not the client's")
        return _found(finding, stated)

    async def check(about: About) -> Result:
        client, text = about.client.address, about.client.helo[:_MAX_SHOWN]
        literal = _literal(text)
        if literal is not None and literal == client:
            return NOTHING
        if literal is not None:
            return judge_address(literal, client, "helo-wrong-literal")
        if is_address(text):
            return judge_address(plain_address(text), client, "helo-bare-ip")
        name = _host_name(text)
        if name is None:
            return _found("helo-not-fqdn", text)
        if ourselves.is_name(name):
            if client in _THIS_HOST:
                return NOTHING  # another program here, which rightly says so
            return _found("helo-ours", f"{name} is our own name")
        return await _judge_name(services, name, client)

    return check


async def _judge_name(services: Services, name: str, client: str) -> Result:
    try:
        if services.is_ours(name) and not await is_host_of(services.names, name, client):
            return _found("helo-ours", f"{name} is one of our domains")
        if not await _resolves(services, name):
            return _found("helo-unresolvable", name)
    except DnsUnavailable as error:
        return Result(undecided=str(error))
    return NOTHING


def _found(name: str, reason: str) -> Result:
    return Result(found=(Found(name=name, reason=reason),))


def _literal(text: str) -> str | None:
    """The address of an address literal (RFC 5321 §4.1.3), None when it is none."""
    if not (text.startswith("[") and text.endswith("]")):
        return None
    inner, version = text[1:-1], 4
    if inner[: len(_IPV6)].lower() == _IPV6:
        inner, version = inner[len(_IPV6) :], 6
    try:
        address = ip_address(inner)
    except ValueError:
        return None
    return plain_address(str(address)) if address.version == version else None


def _host_name(text: str) -> str | None:
    """A full host name in lower case, or None. Only A-labels count (RFC 6531 §3.7.1)."""
    if not text.isascii():
        return None
    try:
        name = parse_domain(text)
    except ValueError:
        return None
    return name if "." in name else None


async def _resolves(services: Services, name: str) -> bool:
    try:
        if await any_address(services.names, name, bool):
            return True
        return bool(await services.names.mx(name))
    except NoSuchName:
        return False
