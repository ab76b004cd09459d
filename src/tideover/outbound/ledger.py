"""What this process has leased, so that no lease runs out at work and memory stays bounded.

Invariant: each claim is here from the moment it is made until its end is settled.
"""

from tideover.message.envelope import QueueId
from tideover.spool.interface import Claim

LEASE = 300.0
"""Seconds a claim is ours. Longer than a crash may go unnoticed; long transfers extend it."""

BATCH = 64
"""Messages in one claim."""

HEADS = 32 * 1024 * 1024
"""Octets of claimed messages in memory beyond which claims are made one message at a time."""


class Ledger:
    """All claims in hand."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[Claim, float]] = {}
        self.octets = 0

    def __len__(self) -> int:
        return len(self._held)

    def add(self, claim: Claim, now: float) -> None:
        """A claim was made at `now` (Unix time)."""
        self._held[id(claim)] = (claim, now)
        self.octets += len(claim.head)

    def remove(self, claim: Claim) -> None:
        """Its end is settled."""
        if self._held.pop(id(claim), None) is not None:
            self.octets -= len(claim.head)

    def limit(self) -> int:
        """How many messages the next claim may take. Never 0: each destination makes progress."""
        return BATCH if self.octets < HEADS else 1

    def aged(self, now: float) -> list[QueueId]:
        """Messages whose lease has lost a third of its time or more, and is to be lengthened."""
        before = now - LEASE / 3
        return [claim.message.queue_id for claim, made in self._held.values() if made <= before]
