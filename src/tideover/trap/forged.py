"""Which HELO names can't be those of who says them. Without DNS: what needs it is left to policy.

Forged is our own name, a domain of ours, and a public address that is not the client's (RFC 5321
§4.1.3 wants its own). Private addresses are what honest hosts behind a NAT say.
"""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from tideover.config.model import Config
from tideover.config.values import parse_domain
from tideover.message.client_address import plain_address

_IPV6: Final = "ipv6:"


class Forged:
    """Judges by a configuration. `is_ours` tells whether a domain (A-labels) is one of ours."""

    def __init__(self, config: Config, is_ours: Callable[[str], bool]) -> None:
        self._hostname = config.hostname.lower()
        self._is_ours = is_ours

    def __call__(self, helo: str, client: str) -> bool:
        """Whether this client can't be called so."""
        text = helo.strip().lower()
        if text.startswith("[") and text.endswith("]"):
            text = text[1:-1].removeprefix(_IPV6)
        try:
            said = plain_address(str(ip_address(text)))
            return said != client and ip_address(said).is_global
        except ValueError:
            pass
        try:
            name = parse_domain(text)
        except ValueError:
            return False
        return name == self._hostname or self._is_ours(name)
