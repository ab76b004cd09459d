"""Whether all better MX hosts are known to be up, as `primary.standing` tells it.

With very many domains only some are looked at in a step; one that is not up is found at its turn,
and looked at first from then on.
"""

import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from tideover.config.model import Config
from tideover.primary.interface import PrimaryState
from tideover.primary.standing import Standing, Standings

_A_STEP: Final = 2000
_IPV6: Final = re.compile(r"\[[^\]]*:[^\]]*\]")  # in `name[address]:port`


class AllUp(Struct, frozen=True):
    """All were found to be up by checks that began at `since` (Unix time) or later; None: this
    round has not seen all of them yet.
    """

    since: float | None


class NotUp(Struct, frozen=True):
    """One is not, or may not be: `reason` for the operator."""

    reason: str


class BetterHosts:
    """Looks through the domains, a part at each `step`."""

    def __init__(self, config: Config, standings: Standings) -> None:
        self._standings = standings
        self.reconfigure(config)

    def reconfigure(self, config: Config) -> None:
        """Look at these domains; in a mapping that is changed in place, from the next round on."""
        self._config = config
        self._by_ipv6 = any(":" in listen.host for listen in config.trap.listen)
        self._begin()

    def _begin(self) -> None:
        names = self._config.trap.domains or self._config.domains
        self._left: Iterator[str] = iter(tuple(names))
        self._since: float | None = None
        self._first = ""

    def step(self) -> AllUp | NotUp:
        """Look at some more. Never raises."""
        trouble = self._trouble(self._first) if self._first else ""
        if trouble:
            return NotUp(trouble)
        self._first = ""
        for _ in range(_A_STEP):
            domain = next(self._left, None)
            if domain is None:
                since = self._since
                self._begin()
                return AllUp(since) if since is not None else NotUp("there are no domains")
            trouble = self._trouble(domain)
            if trouble:
                self._begin()
                self._first = domain
                return NotUp(trouble)
        return AllUp(None)

    def _trouble(self, domain: str) -> str:
        """Why the domain's primary is not known to be up, "" when it is."""
        standing = self._standings.standing(domain)
        ailing = self._that_matter(standing.ailing)
        if standing.state is not PrimaryState.UP or standing.doubt or ailing:
            return f"{domain}: {_told(standing, ailing)}"
        at = standing.checked_at
        self._since = at if self._since is None else min(self._since, at)
        return ""

    def _that_matter(self, hosts: tuple[str, ...]) -> tuple[str, ...]:
        """Who comes to a trap by IPv4 had a better host by IPv4: without a trap on IPv6 it is no
        matter that IPv6 addresses can't be reached, as from a machine that has no IPv6.
        """
        if self._by_ipv6 or not hosts:
            return hosts
        return tuple(host for host in hosts if not _IPV6.search(host))


def _told(standing: Standing, ailing: tuple[str, ...]) -> str:
    if ailing:
        return f"not all hosts are up ({', '.join(ailing)})"
    state = "in doubt" if standing.state is PrimaryState.UP else str(standing.state)
    return f"{state} ({standing.reason})" if standing.reason else state
