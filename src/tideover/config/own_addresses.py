"""Where we listen ourselves: no address twice, and no next hop that leads back to us.

What hangs on names in DNS, or on the addresses that this machine has just now, is no mistake but a
warning: it may be meant, and may change.
"""

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from tideover.config.document import Location
from tideover.config.model import Config, Domain
from tideover.config.sources import Trouble
from tideover.config.values import Endpoint, Preferred, is_address

_CURE: Final = "mail would go in a circle; name the primary itself, or the port where it listens"


def is_local(address: str) -> bool:
    """Whether this machine has the address: only then can a socket be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def shared(config: Config) -> Iterator[Trouble]:
    """Addresses to listen on that are named before, or that another one takes with all others."""
    taken: dict[Location, Endpoint] = {}
    for at, endpoint in _listened(config):
        for before, other in taken.items():
            where = "" if before[:2] == at[:2] else f" ({_setting(before)})"
            if _sockname(endpoint) == _sockname(other):
                yield at, f"{endpoint} is there twice{where}"
            elif _overlap(endpoint, other):
                cure = "0.0.0.0 and [::] stand for all addresses: name single ones"
                yield at, f"{endpoint} clashes with {other}{where}: {cure}"
        taken[at] = endpoint


class HopRules:
    """Where the next hops of domains may not lead, by one configuration."""

    def __init__(self, config: Config) -> None:
        self._hostname = config.hostname
        self._ours: dict[tuple[IPv4Address | IPv6Address, int], str] = {}
        self._wide: dict[tuple[int, int], str] = {}  # by IP version and port
        self._ports: set[int] = set()
        for at, endpoint in _listened(config):
            address, port = _sockname(endpoint)
            self._ours[address, port] = _setting(at)
            self._ports.add(port)
            if address.is_unspecified:
                self._wide[address.version, port] = _setting(at)

    def broken_by(self, domain: Domain) -> Iterator[Trouble]:
        """What is wrong with a domain; where, counted from its table."""
        for index, hop in enumerate(domain.primary or ()):
            endpoint = hop.endpoint if isinstance(hop, Preferred) else hop
            if endpoint.port in self._ports and (setting := self._leads_to(endpoint)):
                yield ("primary", index), f"we listen there ourselves ({setting}): {_CURE}"

    def _leads_to(self, endpoint: Endpoint) -> str | None:
        if not is_address(endpoint.host):
            return None
        address, port = _sockname(endpoint)
        wide = self._wide.get((address.version, port)) if address.is_loopback else None
        return self._ours.get((address, port), wide)

    def doubtful(self, config: Config) -> Iterator[str]:
        """Next hops that may lead to us, each told of the first domain that has it."""
        told: set[Endpoint] = set()
        for name, domain in config.domains.items():
            for index, hop in enumerate(domain.primary or ()):
                endpoint = hop.endpoint if isinstance(hop, Preferred) else hop
                if endpoint.port not in self._ports or endpoint in told:
                    continue
                told.add(endpoint)
                if endpoint.host == self._hostname:
                    why = "is our own hostname"
                elif is_address(endpoint.host) and self._is_here(endpoint):
                    why = "is an address of this machine"
                else:
                    continue
                yield f'domains."{name}".primary[{index}]: {endpoint.host} {why}: {_CURE}'

    def _is_here(self, endpoint: Endpoint) -> bool:
        address, port = _sockname(endpoint)
        return (address.version, port) in self._wide and is_local(str(address))


def _listened(config: Config) -> Iterator[tuple[Location, Endpoint]]:
    """All that we listen on, or hold, each by its setting, but port 0, which is any free one."""
    lists = {
        ("smtp", "listen"): config.smtp.listen,
        ("trap", "listen"): config.trap.listen,
        ("trap", "nolisting"): config.trap.nolisting,
    }
    for setting, endpoints in lists.items():
        for index, endpoint in enumerate(endpoints):
            if endpoint.port:
                yield (*setting, index), endpoint
    if config.console.listen is not None and config.console.listen.port:
        yield ("console", "listen"), config.console.listen


def _sockname(endpoint: Endpoint) -> tuple[IPv4Address | IPv6Address, int]:
    address = ip_address(endpoint.host)
    return getattr(address, "ipv4_mapped", None) or address, endpoint.port


def _overlap(one: Endpoint, other: Endpoint) -> bool:
    """Whether one of them takes all addresses of the machine, with that of the other. IPv6 sockets
    take no IPv4.
    """
    (left, port), (right, at) = _sockname(one), _sockname(other)
    same = port == at and left.version == right.version
    return same and (left.is_unspecified or right.is_unspecified)


def _setting(at: Location) -> str:
    return ".".join(map(str, at[:2]))
