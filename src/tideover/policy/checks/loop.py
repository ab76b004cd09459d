"""Messages that go in circles through us, as their Received fields tell (RFC 5321 §6.3).

Too many hops in all are refused whatever a profile says: see `inbound.transaction`.
"""

import re
from typing import Final

from tideover.policy.interface import NOTHING, About, Check, Found, Result
from tideover.policy.services import Services

MAX_OURS: Final = 2
"""So often a message may have come through us: to one address, and on from it to another. The
field that we add now is not among them.
"""


def make(services: Services) -> Check:
    """The check "loop" (stage message)."""
    name = re.escape(services.config.hostname.encode())
    by_us = re.compile(rb"(?:^|\s)by\s+" + name + rb"(?=[\s;(]|$)", re.IGNORECASE)

    async def check(about: About) -> Result:
        if about.message is None:
            return NOTHING
        hops = list(about.message.header.all(b"received"))
        ours = sum(by_us.search(field.value) is not None for field in hops)
        evidence = {"hops": str(len(hops))}
        if ours <= MAX_OURS:
            return Result(evidence=evidence)
        reason = f"{ours} Received fields by us"
        return Result(found=(Found(name="loop-ours", reason=reason),), evidence=evidence)

    return check
