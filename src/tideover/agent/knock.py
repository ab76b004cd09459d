"""One TCP connection to an address, closed as soon as it is there: does the host answer?"""

import asyncio
import errno
import socket
from contextlib import suppress
from typing import Final

from tideover.agent import icmp_errors
from tideover.agent.icmp_meaning import meaning
from tideover.agent.sights import Said, Sight

_ANYWHERE: Final = "2000::1"
"""Global unicast (RFC 4291 §2.4): whether there is a route to any such address. Nothing is sent."""
_NO_TABLE: Final = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


async def knock(address: str, port: int, timeout: float) -> Sight:
    """Connect within `timeout` seconds. Never raises."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return Sight(Said.REFUSED_HERE)
    with sock:
        sock.setblocking(False)
        with suppress(OSError):
            icmp_errors.listen(sock)
        try:
            async with asyncio.timeout(timeout):
                await asyncio.get_running_loop().sock_connect(sock, (address, port))
        except TimeoutError:
            return _told(sock, address) or Sight(Said.SILENCE)
        except ConnectionRefusedError:  # RST, or port unreachable: by whom, the queue says
            return _told(sock, address) or Sight(Said.ARRIVED, address)
        except OSError as error:
            return _told(sock, address) or _refused(error, family)
    return Sight(Said.ARRIVED, address)


def _told(sock: socket.socket, address: str) -> Sight | None:
    """The clearest of the ICMP errors about this connection."""
    own = icmp_errors.own_address(address)
    sights = [
        Sight(meaning(error, address, own), error.offender)
        for error in icmp_errors.waiting(sock)
        if error.target in (address, "")
    ]
    order = (Said.ARRIVED, Said.NO_ROUTE, Said.FORBIDDEN, Said.REFUSED_HERE)
    for said in order:
        for sight in sights:
            if sight.said is said:
                return sight
    return None


def _refused(error: OSError, family: int) -> Sight:
    """What the system says by itself. A route of kind "unreachable" in our own table (EHOSTUNREACH)
    is somebody's will, as that of fail2ban, and no broken route. And who comes by IPv6 to the
    backup may come by IPv4 to a primary that has no IPv6.
    """
    if error.errno == errno.ETIMEDOUT:
        return Sight(Said.SILENCE)
    has_family = family == socket.AF_INET or icmp_errors.own_address(_ANYWHERE)
    return Sight(Said.NO_TABLE if error.errno in _NO_TABLE and has_family else Said.REFUSED_HERE)
