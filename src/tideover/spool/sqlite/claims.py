"""Leasing recipients to be tried, and giving back the leases of the dead.

Invariant: a lease is durable before its holder hears of it, so after a crash we know which
attempts have an unknown end.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, Self

from msgspec.json import Decoder

from tideover.message.envelope import QueueId
from tideover.spool.ids import id_number, id_text
from tideover.spool.interface import Claim, Lost
from tideover.spool.sqlite.quarantine import quarantine
from tideover.spool.sqlite.rows import ENCODE, Corrupt, check_chunk, stored_message
from tideover.spool.sqlite.statements import queries
from tideover.spool.sqlite.work import Transaction, Work

_Q: Final = queries()
_PICK: Final = _Q["claim_pick"]
_LEASE: Final = _Q["claim_lease"]
_MESSAGES: Final = _Q["claim_messages"]

_WAKE_LIMIT: Final = 5000
_MOST_ROUNDS: Final = 100  # a disk may have spoilt so many messages that it would take too long

_decode_picked = Decoder(list[tuple[int, int]]).decode
_decode_lost = Decoder(list[tuple[int, str, int, str]]).decode


class Lease(Work[Sequence[Claim]]):
    """Lease the oldest queued messages of a domain."""

    __slots__ = ("_domain", "_limit", "_now", "_until")
    rank = 5

    def __init__(
        self,
        future: asyncio.Future[Sequence[Claim]],
        domain: str,
        limit: int,
        until: float,
        now: float,
    ) -> None:
        super().__init__(future)
        self._domain = domain
        self._limit = limit
        self._until = until
        self._now = now

    @classmethod
    def apply(cls, tx: Transaction, works: Sequence[Self]) -> None:
        """Lease for each caller, the earliest first."""
        for work in works:
            work.result = work.lease(tx)

    def lease(self, tx: Transaction) -> Sequence[Claim]:
        """Lease them; damaged ones go to quarantine, and the next take their place: that there are
        fewer than asked for means to the caller that there are no more. Nothing when he has gone.
        """
        claims: list[Claim] = []
        for _ in range(_MOST_ROUNDS):
            missing = self._limit - len(claims)
            if missing <= 0 or self.future.cancelled() or not self._lease(tx, missing, claims):
                break
        return claims

    def _lease(self, tx: Transaction, limit: int, claims: list[Claim]) -> bool:
        """Lease at most so many, and add them. Returns whether some were damaged."""
        picked = tx.value(_PICK, {"domain": self._domain, "limit": limit})
        indexes: dict[int, list[int]] = defaultdict(list)
        for number, index in _decode_picked(str(picked)):
            indexes[number].append(index)
        if not indexes:
            return False
        found = len(indexes)
        ids_json = ENCODE(list(indexes)).decode()
        tx.execute(
            _LEASE,
            {"until": self._until, "domain": self._domain, "ids_json": ids_json},
        )
        before = len(claims)
        for row in tx.conn.execute(_MESSAGES, {"ids_json": ids_json}).fetchall():
            number, size = row[0], row[2]
            leased = indexes.pop(number)
            try:
                message = stored_message(*row[:7])
                head = check_chunk(size, 0, row[7], row[8]) if size else b""
            except Corrupt as damage:
                quarantine(tx, number, str(damage), self._now)
                continue
            claims.append(
                Claim(
                    message=message,
                    indexes=tuple(sorted(leased)),
                    head=head,
                    lease_until=self._until,
                )
            )
        for number in indexes:
            quarantine(tx, number, "its metadata are missing", self._now)
        return len(claims) - before < found


def extend(tx: Transaction, queue_ids: Sequence[QueueId], until: float) -> None:
    """Lengthen leases."""
    ids_json = ENCODE([id_number(queue_id) for queue_id in queue_ids]).decode()
    tx.execute(_Q["lease_extend"], {"ids_json": ids_json, "until": until})


def lost(tx: Transaction, *, now: float, all_leases: bool) -> Sequence[Lost]:
    """Leases that ran out."""
    rows = _decode_lost(str(tx.value(_Q["lost"], {"now": now, "all": all_leases})))
    addressed: dict[tuple[int, str], list[str]] = defaultdict(list)
    for number, domain, _, address in sorted(rows):
        addressed[number, domain].append(address)
    return [
        Lost(queue_id=id_text(number), domain=domain, addresses=tuple(addresses))
        for (number, domain), addresses in addressed.items()
    ]


def recover(tx: Transaction, *, now: float, all_leases: bool) -> None:
    """Leases that ran out become queued again."""
    tx.execute(_Q["recover"], {"now": now, "all": all_leases})


def wake(tx: Transaction, now: float) -> float | None:
    """Deferred recipients whose time has come become queued, so many that nobody waits long.

    When there are more, the time returned is past, and the caller comes again at once.
    """
    tx.execute(_Q["wake"], {"now": now, "limit": _WAKE_LIMIT})
    upcoming = tx.value(_Q["wake_next"])
    assert upcoming is None or isinstance(upcoming, float)  # noqa: S101
    return upcoming
