"""Which names and addresses are this very server, so that mail never goes home to itself."""

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from tideover.config.own_addresses import is_local
from tideover.config.values import Endpoint


class Ourselves:
    """This server, as the world may name it.

    A loopback address is ours only with our port: a primary may run on the same machine. Any other
    address that we listen on is ours with whatever port, since a firewall may redirect it.
    """

    def __init__(
        self,
        hostname: str,
        listen: Sequence[Endpoint],
        has_address: Callable[[str], bool] = is_local,
    ) -> None:
        self.hostname = hostname
        self._listen = listen
        self._has_address = has_address

    def is_name(self, name: str) -> bool:
        """Whether this host name (lower-case, no final dot) is ours."""
        return name == self.hostname

    def is_address(self, address: str, port: int) -> bool:
        """Whether a connection to this address and port would end at ourselves, or nowhere."""
        target = ip_address(address)
        target = getattr(target, "ipv4_mapped", None) or target
        if target.is_unspecified or target.is_multicast:
            return True  # no host; a connection to the unspecified address ends here
        return any(self._serves(endpoint, target, port) for endpoint in self._listen)

    def _serves(self, endpoint: Endpoint, target: IPv4Address | IPv6Address, port: int) -> bool:
        if endpoint.port != port and target.is_loopback:
            return False
        bound = ip_address(endpoint.host)
        if bound.is_unspecified:
            return self._has_address(str(target))  # [::] may take IPv4 as well
        return target == bound
