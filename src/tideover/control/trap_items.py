"""Items of answers about the trap; see `control.protocol`."""

from msgspec import Struct


class TrapInfo(Struct, frozen=True, kw_only=True, tag="trap"):
    """How the trap stands: "open", "silent" (`reason` says why) or "off"; None: no daemon runs.
    `waiting` counts clients of which it is not known yet whether they had a better host.
    """

    state: str | None
    since: float | None = None
    reason: str = ""
    connections: int = 0
    waiting: int = 0


class Trapped(Struct, frozen=True, kw_only=True, tag="trapped"):
    """A client that was caught, an IPv4 address or an IPv6 /64. `strong`: it did what no honest
    sender does; otherwise it only came to the last MX first.
    """

    host: str
    strong: bool
    at: float
    until: float
