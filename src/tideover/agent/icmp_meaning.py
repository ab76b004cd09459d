"""What ICMP errors say of a route. Pure."""

from typing import Final

from tideover.agent.icmp_errors import IcmpError
from tideover.agent.sights import Said

_UNREACHABLE: Final = {4: 3, 6: 1}
_EXCEEDED: Final = {4: 11, 6: 3}
# RFC 792, RFC 1812 §5.2.7.1: network or host unreachable, unknown or isolated, also for this TOS;
# the others are refusals (9, 10, 13 to 15) or of the host (2, 3). RFC 4443 §3.1: no route, address
# unreachable, reject route.
_NO_ROUTE: Final = {4: {0, 1, 6, 7, 8, 11, 12}, 6: {0, 3, 6}}


def meaning(error: IcmpError, target: str, own: str) -> Said:
    """What this error says of a packet to `target`; `own` is the address from which we sent it."""
    version = 6 if ":" in target else 4
    if error.type == _EXCEEDED[version] and error.code == 0:
        return Said.PASSING
    if error.offender == target:
        return Said.ARRIVED
    if error.offender == own:  # a filter here, or a neighbour that does not answer
        return Said.REFUSED_HERE
    if error.type != _UNREACHABLE[version]:
        return Said.SILENCE
    return Said.NO_ROUTE if error.code in _NO_ROUTE[version] else Said.FORBIDDEN
