"""The SQLite spool as the rest of the daemon sees it; see `tideover.spool.interface.Spool`.

Writing goes to the writer's thread, reading to the reader's, so that neither holds up the loop or
the other. What is committed is seen by every read that begins later.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from tideover.events.clock import now as clock
from tideover.message.envelope import QueueId
from tideover.spool.ids import IdSource, id_number
from tideover.spool.interface import (
    CHUNK,
    Claim,
    DomainCount,
    DomainHold,
    Filter,
    Lost,
    MessageDamaged,
    Settlement,
    State,
    StoredMessage,
)
from tideover.spool.sqlite import admin, claims, reads
from tideover.spool.sqlite.accept import SqliteIntake
from tideover.spool.sqlite.background import Background
from tideover.spool.sqlite.connection import PAGE_SIZE
from tideover.spool.sqlite.files import Lock
from tideover.spool.sqlite.quarantine import Quarantined, list_quarantine, quarantine, restore
from tideover.spool.sqlite.reader import Reader
from tideover.spool.sqlite.rows import Corrupt
from tideover.spool.sqlite.settle import Settle
from tideover.spool.sqlite.work import Call, Transaction, Work
from tideover.spool.sqlite.writer import Writer

T = TypeVar("T")

_READ_AHEAD: Final = 4
"""Chunks fetched at a time by `read`."""


class SqliteSpool:
    """A durable queue in one file. `tideover.spool.sqlite.open_spool` makes it."""

    def __init__(
        self,
        path: Path,
        lock: Lock,
        writer: Writer,
        reader: Reader,
        ids: IdSource,
        background: Background,
    ) -> None:
        self.path = path
        self.new_id: Callable[[float], QueueId] = ids.next
        self._lock = lock
        self._writer = writer
        self._reader = reader
        self._background = background

    @property
    def failing(self) -> bool:
        """Whether the last attempt to write failed for want of room or by I/O error."""
        return self._writer.failing

    def free_space(self) -> int:
        """Octets that new mail can use: free disk, and pages of the file that are not in use."""
        disk = os.statvfs(self.path.parent)
        return disk.f_bavail * disk.f_frsize + self._writer.upkeep.free_pages * PAGE_SIZE

    # Taking in

    def open(self, queue_id: QueueId) -> SqliteIntake:
        """Start taking in the body of a message."""
        return SqliteIntake(self._writer, queue_id)

    # Going home

    async def claim(self, domain: str, *, limit: int, lease: float, now: float) -> Sequence[Claim]:
        """Lease the oldest queued messages of a domain."""
        future: asyncio.Future[Sequence[Claim]] = self._writer.loop.create_future()
        return await self._do(claims.Lease(future, domain, limit, now + lease, now))

    async def settle(self, settlements: Sequence[Settlement], *, now: float) -> Sequence[QueueId]:
        """Store the ends of attempts; durable when this returns (I4)."""
        future: asyncio.Future[Sequence[QueueId]] = self._writer.loop.create_future()
        return await self._do(Settle(future, settlements, now))

    async def extend(self, queue_ids: Sequence[QueueId], *, lease: float, now: float) -> None:
        """Lengthen leases that we hold."""
        await self._call(partial(claims.extend, queue_ids=queue_ids, until=now + lease))

    async def lost(self, *, now: float, all_leases: bool = False) -> Sequence[Lost]:
        """Leases that ran out, or all."""
        return await self._call(partial(claims.lost, now=now, all_leases=all_leases))

    async def recover(self, *, now: float, all_leases: bool = False) -> None:
        """Return leases that ran out, or all, to the queue."""
        await self._call(partial(claims.recover, now=now, all_leases=all_leases))

    async def wake(self, *, now: float) -> float | None:
        """Move deferred recipients whose time has come to queued."""
        return await self._call(partial(claims.wake, now=now))

    async def read(self, queue_id: QueueId, start: int = 0) -> AsyncIterator[bytes]:
        """The body from octet `start`, a multiple of CHUNK, in chunks whose checksum is right.

        Raises:
            MessageDamaged: and the message is in quarantine.
            KeyError: no such message.
        """
        number = self._number(queue_id)
        size = await self._reader.ask(partial(reads.body_size, number=number))
        place = start // CHUNK
        while True:
            fetch = partial(
                reads.read_chunks, number=number, size=size, place=place, most=_READ_AHEAD
            )
            try:
                chunks = await self._reader.ask(fetch)
            except Corrupt as damage:
                await self._quarantine(number, str(damage))
                raise MessageDamaged(f"{queue_id}: {damage}") from None
            if not chunks:
                return
            place += len(chunks)
            for chunk in chunks:
                yield chunk

    # Looking

    async def counts(self) -> Sequence[DomainCount]:
        """What lies here, a row a domain."""
        return await self._reader.ask(reads.counts)

    async def show(self, queue_id: QueueId) -> StoredMessage | None:
        """One message, or None."""
        return await self._reader.ask(
            partial(reads.show, queue_id=queue_id, damaged=self._damage_seen)
        )

    async def select(
        self, wanted: Filter, *, after: QueueId | None = None, limit: int = 1000
    ) -> Sequence[StoredMessage]:
        """Messages in arrival order, a page at a time."""
        return await self._reader.ask(
            partial(
                reads.select, wanted=wanted, after=after, limit=limit, damaged=self._damage_seen
            )
        )

    async def due(
        self, *, received_before: float, limit: int = 1000, delay: bool = False
    ) -> Sequence[StoredMessage]:
        """Messages received before that time that are still tried."""
        return await self._reader.ask(
            partial(
                reads.due,
                received_before=received_before,
                limit=limit,
                delay=delay,
                damaged=self._damage_seen,
            )
        )

    async def domain_holds(self) -> Sequence[DomainHold]:
        """All held domains."""
        return await self._reader.ask(reads.domain_holds)

    # A person's orders

    async def hold(self, wanted: Filter, *, reason: str, now: float) -> int:
        """Queued and deferred recipients → held. Returns how many."""
        order = partial(admin.hold, reason=reason, now=now)
        return sum([n async for n in self._by_page(wanted, admin.CAN_HOLD, order)])

    async def release(self, wanted: Filter, *, now: float) -> int:
        """Held, deferred and dead recipients → queued. Returns how many."""
        order = partial(admin.release, now=now)
        return sum([n async for n in self._by_page(wanted, admin.CAN_RELEASE, order)])

    async def remove(self, wanted: Filter) -> Sequence[QueueId]:
        """Delete what matches. Returns the messages that lost recipients."""
        states: Sequence[State] = admin.CAN_REMOVE
        if wanted.states is not None:  # what changed meanwhile, as by a release, is not meant
            states = tuple(state for state in states if state in wanted.states)
        order = partial(admin.remove, states=states)
        pages = [page async for page in self._by_page(wanted, states, order)]
        return list(dict.fromkeys(queue_id for page in pages for queue_id in page))

    async def hold_domain(self, hold: DomainHold) -> None:
        """Remember that a domain is held."""
        await self._call(partial(admin.hold_domain, hold=hold))

    async def release_domain(self, domain: str) -> bool:
        """Forget it. Returns whether the domain was held."""
        return await self._call(partial(admin.release_domain, domain=domain))

    async def quarantined(self) -> Sequence[Quarantined]:
        """The damaged messages, oldest first."""
        return await self._reader.ask(list_quarantine)

    async def restore(self, queue_id: QueueId, *, now: float) -> None:
        """Put what is left of a damaged message back, held, with checksums of what is there.

        Raises:
            KeyError: not in quarantine.
            ValueError: too little is left of it.
        """
        await self._call(partial(restore, number=self._number(queue_id), now=now))

    async def close(self) -> None:
        """Finish what was asked for, then close. No call may follow."""
        await self._background.close()
        await self._reader.close()  # before the writer, which as the last one clears the WAL
        await self._writer.close()
        self._lock.release()

    async def _do(self, work: Work[T]) -> T:
        self._writer.submit(work)
        return await work.future

    async def _call(self, function: Callable[[Transaction], T]) -> T:
        return await self._do(Call(self._writer.loop.create_future(), function))

    async def _by_page(
        self,
        wanted: Filter,
        states: Iterable[State],
        order: Callable[[Transaction, admin.Pairs], T],
    ) -> AsyncIterator[T]:
        """Give an order to all recipients that match, page by page."""
        after = (-1, -1)
        while True:
            pairs = await self._reader.ask(
                partial(
                    reads.matching_recipients,
                    wanted=wanted,
                    states=states,
                    after=after,
                    limit=admin.PAGE,
                )
            )
            if not pairs:
                return
            after = pairs[-1]
            yield await self._call(partial(_with_pairs, order=order, pairs=pairs))

    def _number(self, queue_id: QueueId) -> int:
        try:
            return id_number(queue_id)
        except ValueError:
            raise KeyError(queue_id) from None

    async def _quarantine(self, number: int, damage: str) -> None:
        await self._call(partial(quarantine, number=number, damage=damage, now=clock()))

    def _damage_seen(self, number: int, damage: str) -> None:
        """From the reader's thread: a list came upon a damaged message."""
        move = partial(quarantine, number=number, damage=damage, now=clock())
        self._writer.loop.call_soon_threadsafe(self._submit_quietly, move)

    def _submit_quietly(self, function: Callable[[Transaction], Any]) -> None:
        """Work whose end nobody waits for."""
        future: asyncio.Future[Any] = self._writer.loop.create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._writer.submit(Call(future, function))


def _with_pairs(
    tx: Transaction, order: Callable[[Transaction, admin.Pairs], T], pairs: admin.Pairs
) -> T:
    return order(tx, pairs)
