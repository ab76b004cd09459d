"""How many connections a client network may hold (IPv4 /32, IPv6 /64), and all together."""

from collections import Counter
from ipaddress import IPv6Network

from tideover.config.model import Smtp
from tideover.message.client_address import within


def client_network(address: str) -> str:
    """The key under which a client is counted: its address, or the /64 around an IPv6 one."""
    if ":" not in address:
        return address
    return str(IPv6Network((address, 64), strict=False))


class ConnectionLimits:
    """Counts open connections. `admit` what came, `release` what was admitted.

    `ceiling` holds whatever the configuration says: the files that may be open, less those that
    other parts need.
    """

    def __init__(self, config: Smtp, ceiling: int | None = None) -> None:
        self._config = config
        self._ceiling = ceiling
        self._by_network: Counter[str] = Counter()
        self.total = 0

    def reconfigure(self, config: Smtp) -> None:
        """New bounds; they hold for connections to come."""
        self._config = config

    def admit(self, address: str) -> str | None:
        """Count a connection in; returns why not when a limit is reached."""
        config = self._config
        if self.total >= config.max_connections or self.total == self._ceiling:
            return "too many connections"
        key = client_network(address)
        if self._by_network[key] >= config.max_connections_per_client and not within(
            address, config.unlimited_clients
        ):
            return "too many connections from this network"
        self._by_network[key] += 1
        self.total += 1
        return None

    def release(self, address: str) -> None:
        """Count a connection out."""
        key = client_network(address)
        self.total -= 1
        self._by_network[key] -= 1
        if not self._by_network[key]:
            del self._by_network[key]
