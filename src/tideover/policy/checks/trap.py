"""What a client has earned in traps: at the last MX, or with honeypots (`tideover.trap`).

From memory. Who is known to send mail that is taken is not held to account for a weak mark.
"""

from typing import Final

from tideover.policy.interface import NOTHING, About, Check, Found, Result
from tideover.policy.memory import Kind
from tideover.policy.networks import host_of, network_of
from tideover.policy.services import Services

_TRAPPED: Final = Result(found=(Found(name="trapped"),), evidence={"trap": "caught"})
_LAST_FIRST: Final = Result(found=(Found(name="last-mx-first"),), evidence={"trap": "last first"})


def make(services: Services) -> Check:
    """The check of stage connect."""
    memory = services.memory

    async def check(about: About) -> Result:
        address = about.client.address
        key = host_of(address).encode()
        if memory.get(Kind.TRAPPED, key, about.now) is not None:
            return _TRAPPED
        if memory.get(Kind.SIDE_DOOR, key, about.now) is None:
            return NOTHING
        return NOTHING if memory.is_known(network_of(address)) else _LAST_FIRST

    return check
