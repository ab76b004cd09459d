"""Clients that do not wait for us to speak: bots that play back a script."""

from tideover.policy.interface import NOTHING, About, Check, Found, Result
from tideover.policy.services import Services


def make(_: Services) -> Check:
    """The check "early-talker" (stages helo, mail and data: commands come ahead at any time)."""
    return check


async def check(about: About) -> Result:
    """What the connection has noticed so far."""
    if not about.early and not about.pipelined:
        return NOTHING
    names = ("early-talker",) * about.early + ("early-pipelining",) * about.pipelined
    return Result(found=tuple(Found(name=name) for name in names))
