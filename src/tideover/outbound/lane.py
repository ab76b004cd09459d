"""One domain on its way home: its route, its hold, and whether mail waits for it."""

from typing import TYPE_CHECKING

from tideover.primary.interface import NoRoute, Route
from tideover.spool.interface import DomainHold

if TYPE_CHECKING:
    from tideover.outbound.destination import Destination


class Lane:
    """Kept for each domain that has ever had mail since the start; small, and without a task.

    `mail` says that there may be queued mail which no claim has taken yet; it is set by the arrival
    of mail and cleared before a claim, so that nothing which arrives meanwhile is overlooked.
    `arrivals` counts notices. `asking`: its route is being looked up; `ask_at` is when to look it
    up again (Unix time), `stale` that this time has passed while no mail waited.
    """

    __slots__ = ("arrivals", "ask_at", "asking", "destination", "domain", "hold", "mail",
                 "route", "stale", "trouble")  # fmt: skip

    def __init__(self, domain: str) -> None:
        self.domain = domain
        self.destination: Destination | None = None
        self.route: Route | None = None
        self.trouble: NoRoute | None = None
        self.hold: DomainHold | None = None
        self.mail = False
        self.arrivals = 0
        self.asking = False
        self.ask_at: float | None = None
        self.stale = True
