"""A connection that is kept from one transaction to the next, and how many may be kept in all."""

import math
from typing import Final

from tideover.outbound.connection import Connection, host_text
from tideover.outbound.room import Room

TRANSACTIONS: Final = 80
"""Transactions on one connection; Postfix minds more than 100 RSETs."""

REFUSALS: Final = 8
"""Refusals on one connection; Postfix answers slowly from the tenth error on."""

IN_USE: Final = 1000
"""Connections in use at once, to all primaries together."""

IDLE_IN_ALL: Final = 300
"""Connections to all primaries together that wait for the next transaction."""


class Kept:
    """A connection in use, or waiting. `offered`: by the host to us, before it knew of a client."""

    __slots__ = ("connection", "hop", "host", "offered", "refusals", "since", "transactions")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.hop = connection.hop
        self.host = host_text(connection.hop)
        self.offered = connection.capabilities
        self.transactions = 0
        self.refusals = 0
        self.since = math.inf  # when it began to wait, by the loop's clock

    @property
    def waited(self) -> bool:
        """Whether it was ready before it was needed, so that it may have gone stale."""
        return self.since != math.inf

    def worn(self) -> bool:
        """Whether it has been used enough."""
        most = min(TRANSACTIONS, self.offered.mail_max or TRANSACTIONS)
        return self.refusals >= REFUSALS or self.transactions >= most


def new_room() -> Room[Kept]:
    """What all primaries share that transactions pass through to."""
    return Room(IN_USE, IDLE_IN_ALL)
