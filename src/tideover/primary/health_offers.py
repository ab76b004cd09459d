"""What the hosts of a route offer: of several, no more than each of them does."""

from collections.abc import Collection
from dataclasses import fields, replace
from typing import Any, Final

from tideover.smtp.capabilities import Capabilities

_HOSTS: Final = 64  # that are remembered; a route has fewer

_SWITCHES: Final = {
    "eight_bit_mime": "8BITMIME",
    "pipelining": "PIPELINING",
    "chunking": "CHUNKING",
    "starttls": "STARTTLS",
    "dsn": "DSN",
    "smtputf8": "SMTPUTF8",
    "enhanced_status_codes": "ENHANCEDSTATUSCODES",
}


class Offers:
    """`together` is what a client may rely on, None while no host was ever met."""

    __slots__ = ("_by_host", "together", "written_at")

    def __init__(self) -> None:
        self.together: Capabilities | None = None
        self.written_at = 0.0
        self._by_host: dict[str, Capabilities] = {}

    def note(self, host: str, offered: Capabilities) -> bool:
        """A host offers this. Returns whether that changes what can be relied on."""
        known = self._by_host.get(host)
        if known is offered or known == offered:
            return False
        if known is None and len(self._by_host) >= _HOSTS:
            del self._by_host[next(iter(self._by_host))]
        self._by_host[host] = offered
        return self._put_together()

    def keep(self, hosts: Collection[str]) -> bool:
        """Forget all other hosts; returns as `note`."""
        gone = [host for host in self._by_host if host not in hosts]
        for host in gone:
            del self._by_host[host]
        return bool(gone) and bool(self._by_host) and self._put_together()

    def _put_together(self) -> bool:
        first, *others = self._by_host.values()
        for one in others:
            first = narrower(first, one)
        before, self.together = self.together, first
        return before != first


def narrower(one: Capabilities, other: Capabilities) -> Capabilities:
    """What both offer."""
    both: dict[str, Any] = {}
    for field in fields(Capabilities):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, bool | frozenset):
            both[field.name] = mine & theirs
        else:  # a limit, None when there is none
            both[field.name] = min((n for n in (mine, theirs) if n is not None), default=None)
    # a limit that one of them sets holds, although the other does not say any
    return replace(one, **both | {"size_offered": one.size_offered or other.size_offered})


def words(offered: Capabilities) -> tuple[str, ...]:
    """As EHLO would say it."""
    found = [word for name, word in _SWITCHES.items() if getattr(offered, name)]
    if offered.size_offered:
        found.append(f"SIZE {offered.size}" if offered.size is not None else "SIZE")
    limits = [f"{name}={most}" for name, most in
              (("RCPTMAX", offered.rcpt_max), ("MAILMAX", offered.mail_max)) if most]  # fmt: skip
    if limits:
        found.append(" ".join(("LIMITS", *limits)))
    for name, attributes in (("XCLIENT", offered.xclient), ("XFORWARD", offered.xforward)):
        found += [" ".join((name, *sorted(attributes)))] if attributes else []
    return tuple(sorted(found))
