"""The queue in memory: for tests of what uses a spool. Durable for nothing, else the same.

Passes the conformance suite like every spool. Bodies are whole in memory; checksums are not kept,
so nothing is ever damaged. `trouble`, when set, is raised by everything that would write.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence

from msgspec.structs import replace

from tideover.message.envelope import NewMessage, QueueId
from tideover.smtp.receipt import Receipt
from tideover.spool.ids import IdSource
from tideover.spool.interface import (
    CHUNK,
    Change,
    Claim,
    DomainCount,
    DomainHold,
    Filter,
    Lost,
    RecipientRow,
    Settlement,
    SpoolError,
    State,
    StoredMessage,
)

_CLOSED = frozenset({State.DELIVERED, State.BOUNCED})
_TRIED = frozenset({State.QUEUED, State.LEASED, State.DEFERRED})


class _Held:
    """A message in memory; `leases` by index of recipient."""

    def __init__(self, message: StoredMessage, body: bytes) -> None:
        self.message = message
        self.body = body
        self.leases: dict[int, float] = {}

    def change(self, index: int, **fields: object) -> None:
        """Replace a recipient's row by one with these fields."""
        self.message = replace(
            self.message,
            recipients=tuple(
                replace(row, **fields) if row.index == index else row
                for row in self.message.recipients
            ),
        )
        if fields.get("state", State.LEASED) is not State.LEASED:
            self.leases.pop(index, None)


class MemoryIntake:
    """One body on its way in."""

    def __init__(self, spool: "MemorySpool", queue_id: QueueId) -> None:
        self.size = 0
        self._spool = spool
        self._queue_id = queue_id
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> Awaitable[None] | None:
        """Add a piece; never asks to wait."""
        self.size += len(data)
        self._pieces.append(data)
        return None

    def commit(self, message: NewMessage) -> Awaitable[Receipt]:
        """Store the message."""
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        if self._spool.trouble is not None:
            future.set_exception(self._spool.trouble)
        else:
            self._spool.store(message, b"".join(self._pieces))
            future.set_result(Receipt(self._queue_id))
        return future

    def abort(self) -> None:
        """Forget what was written."""
        self._pieces.clear()


class MemorySpool:
    """A queue in memory; see `tideover.spool.interface.Spool`."""

    def __init__(self) -> None:
        self.trouble: SpoolError | None = None
        self._ids = IdSource()
        self._messages: dict[QueueId, _Held] = {}
        self._holds: dict[str, DomainHold] = {}

    def new_id(self, now: float) -> QueueId:
        """A fresh id."""
        return self._ids.next(now)

    def open(self, queue_id: QueueId) -> MemoryIntake:
        """Start taking in the body of a message."""
        return MemoryIntake(self, queue_id)

    def store(self, message: NewMessage, body: bytes) -> None:
        """Put a message into the queue."""
        stored = StoredMessage(
            queue_id=message.queue_id,
            received_at=message.received_at,
            size=len(body),
            envelope=message.envelope,
            client=message.client,
            evidence=message.evidence,
            trace=message.trace,
            recipients=tuple(
                RecipientRow(
                    index=index,
                    address=recipient.address,
                    domain=recipient.domain,
                    state=State.QUEUED if message.held is None else State.HELD,
                    reason=message.held,
                    changed_at=message.received_at,
                )
                for index, recipient in enumerate(message.envelope.recipients)
            ),
        )
        self._messages[message.queue_id] = _Held(stored, body)

    async def claim(self, domain: str, *, limit: int, lease: float, now: float) -> Sequence[Claim]:
        """Lease the oldest queued messages of a domain."""
        self._check()
        claims: list[Claim] = []
        for held in self._in_order():
            rows = held.message.recipients
            wanted = [r for r in rows if r.domain == domain and r.state is State.QUEUED]
            if len(claims) == limit:
                break
            if not wanted:
                continue
            for row in wanted:
                held.change(row.index, state=State.LEASED)
                held.leases[row.index] = now + lease
            claims.append(
                Claim(
                    message=held.message,
                    indexes=tuple(row.index for row in wanted),
                    head=held.body[:CHUNK],
                    lease_until=now + lease,
                )
            )
        return claims

    async def settle(self, settlements: Sequence[Settlement], *, now: float) -> Sequence[QueueId]:
        """Store the ends of attempts."""
        self._check()
        return [s.queue_id for s in settlements if not self._settle(s, now)]

    def _settle(self, settlement: Settlement, now: float) -> bool:
        held = self._messages.get(settlement.queue_id)
        if held is None:
            return False
        states = {row.index: row.state for row in held.message.recipients}
        open_ones = [
            change
            for change in settlement.changes
            if states.get(change.index, State.DELIVERED) not in _CLOSED
        ]
        complete = len(open_ones) == len(settlement.changes)
        in_the_way = any(
            states[change.index] is State.LEASED and change.delay_notified is None
            for change in open_ones
        )
        if not open_ones or not (settlement.leased or (complete and not in_the_way)):
            return False
        if settlement.report is not None:
            self.store(settlement.report, settlement.report_body)
        for change in open_ones:
            self._change(held, change, now)
        self._drop_finished(held)
        return True

    def _change(self, held: _Held, change: Change, now: float) -> None:
        if change.delay_notified is not None:
            held.change(change.index, delay_notified=change.delay_notified)
            return
        row = next(row for row in held.message.recipients if row.index == change.index)
        untried = row.state is State.LEASED and change.state is State.QUEUED and not change.counted
        held.change(
            change.index,
            state=change.state,
            attempts=row.attempts + change.counted,
            not_before=change.not_before,
            last_reply=row.last_reply if change.reply is None else change.reply,
            last_host=row.last_host if change.host is None else change.host,
            reason=change.reason,
            changed_at=row.changed_at if untried else now,
        )

    async def extend(self, queue_ids: Sequence[QueueId], *, lease: float, now: float) -> None:
        """Lengthen leases that we hold."""
        self._check()
        for queue_id in queue_ids:
            if held := self._messages.get(queue_id):
                held.leases = dict.fromkeys(held.leases, now + lease)

    async def lost(self, *, now: float, all_leases: bool = False) -> Sequence[Lost]:
        """Leases that ran out, or all."""
        lost: dict[tuple[QueueId, str], list[str]] = {}
        for held, row in self._overdue(now, all_leases):
            lost.setdefault((held.message.queue_id, row.domain), []).append(row.address)
        return [
            Lost(queue_id=queue_id, domain=domain, addresses=tuple(addresses))
            for (queue_id, domain), addresses in sorted(lost.items())
        ]

    async def recover(self, *, now: float, all_leases: bool = False) -> None:
        """Return leases that ran out, or all, to the queue."""
        for held, row in self._overdue(now, all_leases):
            held.change(row.index, state=State.QUEUED)

    def _overdue(self, now: float, all_leases: bool) -> list[tuple[_Held, RecipientRow]]:
        self._check()
        return [
            (held, row)
            for held in self._in_order()
            for row in held.message.recipients
            if row.state is State.LEASED and (all_leases or held.leases[row.index] <= now)
        ]

    async def wake(self, *, now: float) -> float | None:
        """Move deferred recipients whose time has come to queued."""
        self._check()
        upcoming: list[float] = []
        for held in self._in_order():
            for row in held.message.recipients:
                if row.state is not State.DEFERRED:
                    continue
                if row.not_before <= now:
                    held.change(row.index, state=State.QUEUED, not_before=0.0, changed_at=now)
                else:
                    upcoming.append(row.not_before)
        return min(upcoming, default=None)

    async def read(self, queue_id: QueueId, start: int = 0) -> AsyncIterator[bytes]:
        """The body from octet `start`."""
        body = self._messages[queue_id].body
        for place in range(start, len(body), CHUNK):
            yield body[place : place + CHUNK]

    async def counts(self) -> Sequence[DomainCount]:
        """What lies here, a row a domain."""
        found: dict[str, DomainCount] = {}
        for held in self._in_order():
            message = held.message
            for row in message.recipients:
                if row.state in _CLOSED:
                    continue
                count = found.get(row.domain) or DomainCount(
                    domain=row.domain, oldest=message.received_at
                )
                number = getattr(count, row.state) + 1
                found[row.domain] = replace(
                    count, **{row.state: number}, octets=count.octets + message.size
                )
        return [found[domain] for domain in sorted(found)]

    async def show(self, queue_id: QueueId) -> StoredMessage | None:
        """One message, or None."""
        held = self._messages.get(queue_id)
        return held.message if held else None

    async def select(
        self, wanted: Filter, *, after: QueueId | None = None, limit: int = 1000
    ) -> Sequence[StoredMessage]:
        """Messages in arrival order, a page at a time."""
        found = [
            held.message
            for held in self._in_order()
            if (after is None or held.message.queue_id > after)
            and _message_matches(held.message, wanted)
            and (
                _says_nothing_of_recipients(wanted)
                or any(_recipient_matches(row, wanted) for row in held.message.recipients)
            )
        ]
        return found[:limit]

    async def due(
        self, *, received_before: float, limit: int = 1000, delay: bool = False
    ) -> Sequence[StoredMessage]:
        """Messages received before that time that are still tried."""
        found = [
            held.message
            for held in self._in_order()
            if held.message.received_at < received_before
            and any(
                row.state in _TRIED and not (delay and row.delay_notified)
                for row in held.message.recipients
            )
        ]
        return found[:limit]

    async def hold(self, wanted: Filter, *, reason: str, now: float) -> int:
        """Queued and deferred recipients → held."""
        rows = self._matching(wanted, {State.QUEUED, State.DEFERRED})
        for held, row in rows:
            held.change(row.index, state=State.HELD, reason=reason, changed_at=now)
        return len(rows)

    async def release(self, wanted: Filter, *, now: float) -> int:
        """Held, deferred and dead recipients → queued."""
        rows = self._matching(wanted, {State.HELD, State.DEFERRED, State.DEAD})
        for held, row in rows:
            held.change(row.index, state=State.QUEUED, reason=None, not_before=0.0, changed_at=now)
        return len(rows)

    async def remove(self, wanted: Filter) -> Sequence[QueueId]:
        """Delete what matches."""
        states = {State.QUEUED, State.DEFERRED, State.HELD, State.DEAD}
        rows = self._matching(wanted, states)
        for held, row in rows:
            held.message = replace(
                held.message,
                recipients=tuple(r for r in held.message.recipients if r.index != row.index),
            )
            self._drop_finished(held)
        return list(dict.fromkeys(held.message.queue_id for held, _ in rows))

    async def hold_domain(self, hold: DomainHold) -> None:
        """Remember that a domain is held."""
        self._check()
        self._holds[hold.domain] = hold

    async def release_domain(self, domain: str) -> bool:
        """Forget it. Returns whether the domain was held."""
        self._check()
        return self._holds.pop(domain, None) is not None

    async def domain_holds(self) -> Sequence[DomainHold]:
        """All held domains."""
        return [self._holds[domain] for domain in sorted(self._holds)]

    async def close(self) -> None:
        """Nothing to finish."""

    def _check(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    def _in_order(self) -> list[_Held]:
        return [self._messages[queue_id] for queue_id in sorted(self._messages)]

    def _drop_finished(self, held: _Held) -> None:
        if all(row.state in _CLOSED for row in held.message.recipients):
            self._messages.pop(held.message.queue_id, None)

    def _matching(
        self, wanted: Filter, states: Iterable[State]
    ) -> list[tuple[_Held, RecipientRow]]:
        self._check()
        return [
            (held, row)
            for held in self._in_order()
            if _message_matches(held.message, wanted)
            for row in held.message.recipients
            if row.state in states and _recipient_matches(row, wanted)
        ]


def _message_matches(message: StoredMessage, wanted: Filter) -> bool:
    return (
        (wanted.ids is None or message.queue_id in wanted.ids)
        and (wanted.received_before is None or message.received_at < wanted.received_before)
        and (wanted.received_after is None or message.received_at > wanted.received_after)
        and (wanted.sender is None or _same(message.envelope.sender, wanted.sender))
    )


def _recipient_matches(row: RecipientRow, wanted: Filter) -> bool:
    return (
        (wanted.domain is None or row.domain == wanted.domain)
        and (wanted.states is None or row.state in wanted.states)
        and (wanted.recipient is None or _same(row.address, wanted.recipient))
        and (wanted.changed_before is None or row.changed_at < wanted.changed_before)
    )


def _says_nothing_of_recipients(wanted: Filter) -> bool:
    return (
        wanted.domain is None
        and wanted.states is None
        and wanted.recipient is None
        and wanted.changed_before is None
    )


def _same(one: str, other: str) -> bool:
    return one.encode().lower() == other.encode().lower()  # bytes: ASCII only
