"""The MX set of a domain as DNS names it, and what is wrong with one. Values only."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

from tideover.primary.found import Found
from tideover.primary.interface import NoRoute, Trouble

Hosts = tuple[tuple[int, str], ...]
"""(preference, lower-case name), the best first; the name is "" in a null MX (RFC 7505)."""

PATIENCE: Final = 3
"""So often in a row DNS may fail before it is a problem: look-ups are lost every day."""


class MxSet(Struct, frozen=True, kw_only=True):
    """All hosts of a set, no hosts when the domain has no MX. `own` is our preference, None when
    it does not name us; `others`: it names a host that is not us.
    """

    hosts: Hosts
    own: int | None = None
    others: bool = True

    @property
    def is_null(self) -> bool:
        """Whether the domain says that it takes no mail (RFC 7505 §3)."""
        return bool(self.hosts) and not any(name for _, name in self.hosts)


class Look(Struct, frozen=True, kw_only=True):
    """What one look-up brought: a route or none, and the set; None when DNS did not say it."""

    found: Found | NoRoute
    mx: MxSet | None = None


class Difference(Struct, frozen=True, kw_only=True):
    """What changed from one set to the next. Each host is written as in `texts`, in `reordered`
    with its new preference.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    reordered: tuple[str, ...] = ()


class Problem(StrEnum):
    """Why a set can't be followed as it is. Mail waits; nothing is refused but for NULL_MX."""

    BEST = "best"  # we are the best of several hosts
    ALONE = "alone"  # no other host is named
    MISSING = "missing"  # the set does not name us
    VANISHED = "vanished"  # no MX any more, no such domain, or no host has an address
    UNRESOLVED = "unresolved"  # DNS does not answer
    NULL_MX = "null-mx"


class Alarm(Struct, frozen=True, kw_only=True):
    """A problem, and the text for the operator."""

    problem: Problem
    text: str


def texts(hosts: Iterable[tuple[int, str]]) -> tuple[str, ...]:
    """Hosts as people write them: `("10 mail.example.com",)`."""
    return tuple(f"{preference} {name or '.'}" for preference, name in hosts)


def parse_texts(lines: Sequence[str]) -> Hosts:
    """The hosts that `texts` wrote.

    Raises:
        ValueError: it did not write this.
    """
    pairs = (line.split(" ", 1) for line in lines)
    return tuple((int(preference), "" if name == "." else name) for preference, name in pairs)


def difference(before: Hosts, after: Hosts) -> Difference:
    """What changed."""
    old, new = ({name: preference for preference, name in hosts} for hosts in (before, after))
    return Difference(
        added=texts(host for host in after if host[1] not in old),
        removed=texts(host for host in before if host[1] not in new),
        reordered=texts(host for host in after if old.get(host[1], host[0]) != host[0]),
    )


def is_unresolved(look: Look) -> bool:
    """Whether DNS failed, so that nothing new is known."""
    found = look.found
    return isinstance(found, NoRoute) and found.trouble is Trouble.TEMPORARY


def problem(domain: str, look: Look, *, had_mx: bool) -> Alarm | None:
    """What is wrong with a set that DNS named plainly, not `is_unresolved`. `had_mx`: the last
    good route came from MX records.
    """
    found, mx = look.found, look.mx
    if isinstance(found, Found):
        if mx is not None and not mx.hosts:
            word = Problem.VANISHED if had_mx else Problem.MISSING
            return Alarm(problem=word, text=f"{domain} has no MX records")
        if mx is not None and mx.own is None:
            return Alarm(problem=Problem.MISSING, text=f"we are not in the MX set of {domain}")
        return None
    match found.trouble:
        case Trouble.NULL_MX:
            word = Problem.NULL_MX
        case Trouble.BEST_MX:
            word = Problem.BEST if mx is not None and mx.others else Problem.ALONE
        case Trouble.NO_SUCH_DOMAIN:
            word = Problem.VANISHED
        case Trouble.TEMPORARY:
            word = Problem.UNRESOLVED
    return Alarm(problem=word, text=found.text)
