"""What a session has earned by writing to honeypots."""

from typing import Final

from tideover.policy.interface import NOTHING, About, Check, Found, Result
from tideover.policy.services import Services

MOST: Final = 3
"""Hits that count: a long list must not outweigh all else in a score."""


def make(_: Services) -> Check:
    """The check "honeypots" (stages rcpt and message)."""
    return check


async def check(about: About) -> Result:
    """Each honeypot is a finding of its own."""
    if not about.honeypots:
        return NOTHING
    hits = range(1, min(about.honeypots, MOST) + 1)
    return Result(
        found=tuple(Found(name="honeypot", reason=f"honeypot {number}") for number in hits),
        evidence={"honeypots": str(about.honeypots)},
    )
