"""Storing the ends of attempts, and removing messages whose last recipient is closed.

Invariants
    I2: a message is removed only when every recipient is delivered or bounced.
    I4: the change is durable before `settle` returns.
    I5: a report is inserted in the transaction that closes what it reports.

A change applies to any recipient that is not closed, whoever holds the lease: what the next hop
took is delivered even when the lease had run out. A settlement made without a lease
(`leased=False`) is skipped whole when one of its recipients is leased or closed by now.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Self

from msgspec.json import Decoder

from tideover.message.envelope import QueueId
from tideover.spool.ids import id_number
from tideover.spool.interface import Change, Settlement, State
from tideover.spool.sqlite.accept import delete_chunks_of, insert_rows
from tideover.spool.sqlite.rows import (
    CHUNK_BITS,
    ENCODE,
    body_rows,
    chunk_count,
    message_row,
    recipient_rows,
)
from tideover.spool.sqlite.statements import queries
from tideover.spool.sqlite.work import Transaction, Work

_Q: Final = queries()
_STATES: Final = _Q["settle_states"]
_CHANGE: Final = _Q["settle_change"]
_NOTIFIED: Final = _Q["settle_delay_notified"]
_DELETE_RECIPIENTS: Final = _Q["delete_recipients"]
_DELETE_MESSAGES: Final = _Q["delete_messages"]
_DELETE_CHUNKS: Final = _Q["delete_chunks"]
_FEW_CHUNKS: Final = 4
_CLOSED: Final = frozenset({State.DELIVERED, State.BOUNCED})
_GONE: Final = State.DELIVERED

_decode_states = Decoder(list[tuple[int, int, State, int]]).decode


class Settle(Work[Sequence[QueueId]]):
    """Settlements of one caller. The result names those that were skipped."""

    __slots__ = ("now", "settlements")
    rank = 2

    def __init__(
        self,
        future: asyncio.Future[Sequence[QueueId]],
        settlements: Sequence[Settlement],
        now: float,
    ) -> None:
        super().__init__(future)
        self.settlements = settlements
        self.now = now

    @classmethod
    def apply(cls, tx: Transaction, works: Sequence[Self]) -> None:
        """Settle all; what several settlements say about one message is done one by one."""
        for work in works:
            work.result = []
        waiting = [(work, settlement) for work in works for settlement in work.settlements]
        while waiting:
            turn: dict[int, tuple[Self, Settlement]] = {}
            later = []
            for work, settlement in waiting:
                number = id_number(settlement.queue_id)
                if turn.setdefault(number, (work, settlement))[1] is not settlement:
                    later.append((work, settlement))
            skipped = _settle(tx, {number: item[1] for number, item in turn.items()}, works[0].now)
            for number in skipped:
                work, settlement = turn[number]
                work.result = [*work.result, settlement.queue_id]
            waiting = later


class _Round:
    """At most one settlement a message, gathered into few statements."""

    def __init__(self, states: dict[int, dict[int, State]]) -> None:
        self.states = states
        self.changes: list[object] = []
        self.notified: list[object] = []
        self.finished: list[int] = []
        self.skipped: list[int] = []
        self.reports: list[Settlement] = []

    def add(self, number: int, settlement: Settlement) -> None:
        """Take in one settlement, or skip it."""
        known = self.states.get(number)
        if known is None:
            self.skipped.append(number)
            return
        open_ones = [c for c in settlement.changes if known.get(c.index, _GONE) not in _CLOSED]
        if not open_ones or not (settlement.leased or _may_apply(settlement, open_ones, known)):
            self.skipped.append(number)
            return
        if settlement.report is not None:
            self.reports.append(settlement)
        before = len(self.changes)
        for change in open_ones:
            if change.delay_notified is not None:
                self.notified.append((number, change.index, int(change.delay_notified)))
                continue
            known[change.index] = change.state
            self.changes.append(
                (
                    number,
                    change.index,
                    change.state,
                    int(change.counted),
                    change.not_before,
                    change.reply,
                    change.host,
                    change.reason,
                )
            )
        if _CLOSED.issuperset(known.values()):
            del self.changes[before:]  # the rows go anyway
            self.finished.append(number)


def _may_apply(settlement: Settlement, open_ones: list[Change], known: dict[int, State]) -> bool:
    """Whether a settlement made without a lease still fits what is stored."""
    return len(open_ones) == len(settlement.changes) and not any(
        known[change.index] is State.LEASED and change.delay_notified is None
        for change in open_ones
    )


def _settle(tx: Transaction, settlements: dict[int, Settlement], now: float) -> Sequence[int]:
    """Apply at most one settlement a message. Returns the messages whose settlement was skipped."""
    ids = {"ids_json": ENCODE(list(settlements)).decode()}
    states: dict[int, dict[int, State]] = {}
    sizes: dict[int, int] = {}
    for number, index, state, size in _decode_states(str(tx.value(_STATES, ids))):
        states.setdefault(number, {})[index] = state
        sizes[number] = size
    done = _Round(states)
    for number, settlement in settlements.items():
        done.add(number, settlement)
    for settlement in done.reports:
        _insert_report(tx, settlement)
    if done.changes:
        tx.execute(_CHANGE, {"now": now, "changes_json": ENCODE(done.changes).decode()})
    if done.notified:
        tx.execute(_NOTIFIED, {"changes_json": ENCODE(done.notified).decode()})
    if done.finished:
        remove_messages(tx, {number: sizes[number] for number in done.finished})
    return done.skipped


def _insert_report(tx: Transaction, settlement: Settlement) -> None:
    report = settlement.report
    if report is None:
        return
    number, size = id_number(report.queue_id), len(settlement.report_body)
    insert_rows(tx, "message", [message_row(number, size, report)])
    insert_rows(tx, "recipient", recipient_rows(number, size, report))
    insert_rows(tx, "chunk", body_rows(number, settlement.report_body))


def remove_messages(tx: Transaction, sizes: dict[int, int]) -> None:
    """Delete messages with all that belongs to them. `sizes`: number → octets of the body."""
    ids = {"ids_json": ENCODE(list(sizes)).decode()}
    tx.execute(_DELETE_RECIPIENTS, ids)
    tx.execute(_DELETE_MESSAGES, ids)
    chunk_ids: list[int] = []
    for number, size in sizes.items():
        if (count := chunk_count(size)) <= _FEW_CHUNKS:
            first = number << CHUNK_BITS
            chunk_ids += range(first, first + count)
        else:
            delete_chunks_of(tx, number)
    if chunk_ids:
        tx.execute(_DELETE_CHUNKS, {"ids_json": ENCODE(chunk_ids).decode()})
