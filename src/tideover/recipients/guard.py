"""Which new lists may replace the old ones: none that lost too much, none that is empty.

Pure. A list that is not taken leaves the old one in use, and its silence is no longer trusted.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from tideover.recipients.listing import ANY_DOMAIN, Listing

ALWAYS_FINE: Final = 1
"""So many entries may go at once whatever their share is: one person leaves a team of three."""

_TOLD: Final = 3


class Passed(Struct, frozen=True):
    """The lists to use from now on, and why some domains keep their old one."""

    lists: Mapping[str, Listing]
    refused: Mapping[str, str]
    confirmable: bool


def passed(
    old: Mapping[str, Listing],
    new: Mapping[str, Listing],
    *,
    max_shrink: int,
    confirmed: bool = False,
) -> Passed:
    """Compare domain by domain. `max_shrink` in percent; `confirmed`: an operator knows that it
    shrank. An empty list never replaces a full one, confirmed or not.
    """
    lists = dict(new)
    refused: dict[str, str] = {}
    confirmable = False
    for domain, before in old.items():
        had, has = _count(old, domain), _count(new, domain)
        lost = had - has
        if lost <= 0 or len(before) <= len(new.get(domain, ())):
            continue
        if not has:
            refused[domain] = f"it is empty, and had {had} entries; the last good list stays"
        elif not confirmed and lost_too_much(lost, had, max_shrink):
            confirmable = True
            refused[domain] = (
                f"it shrank from {had} to {has} entries, by more than {max_shrink} %; the last "
                "good list stays until `tideover recipients refresh --confirm`"
            )
        else:
            continue
        lists[domain] = before
        if ANY_DOMAIN in old:
            lists[ANY_DOMAIN] = old[ANY_DOMAIN]
    return Passed(lists, refused, confirmable)


def lost_too_much(lost: int, had: int, max_shrink: int) -> bool:
    """Whether so many entries of a list are not lost by a usual change. `max_shrink` in percent."""
    return lost > max(ALWAYS_FINE, had * max_shrink / 100)


def summary(refused: Mapping[str, str], own: str | None) -> str:
    """Why domains keep their old lists, in one line: the first few in words. `own` is the one
    whose source it is, which needs no name.
    """
    told = [
        why if domain in (own, ANY_DOMAIN) else f"{domain}: {why}"
        for domain, why in list(refused.items())[:_TOLD]
    ]
    count = f"{len(refused)} domains: " if len(refused) > _TOLD else ""
    return count + "; ".join(dict.fromkeys(told))


def _count(lists: Mapping[str, Listing], domain: str) -> int:
    """How many entries count for a domain; bare local parts count for each. Of bare local parts
    themselves: all that there is, since one day they may be written as addresses.
    """
    if domain == ANY_DOMAIN:
        return sum(map(len, lists.values()))
    return sum(len(lists[name]) for name in (domain, ANY_DOMAIN) if name in lists)
