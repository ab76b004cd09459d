"""Messages that go in circles, as their Received fields tell (RFC 5321 §6.3)."""

import re
from typing import Final

from tideover.message.fields import Field
from tideover.policy.interface import NOTHING, About, Check, Found, Result
from tideover.policy.services import Services

MAX_HOPS: Final = 100
"""RFC 5321 §6.3: a large threshold, at least 100, tells a loop from a long way."""

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
        hops: list[Field] = list(about.message.header.all(b"received"))
        ours = sum(by_us.search(field.value) is not None for field in hops)
        evidence = {"hops": str(len(hops))}
        if len(hops) > MAX_HOPS:
            found = Found(name="loop-hops", reason=f"{len(hops)} Received fields")
        elif ours > MAX_OURS:
            found = Found(name="loop-ours", reason=f"{ours} Received fields by us")
        else:
            return Result(evidence=evidence)
        return Result(found=(found,), evidence=evidence)

    return check
