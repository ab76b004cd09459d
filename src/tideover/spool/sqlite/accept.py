"""Taking in: bodies piece by piece, and the rows that make a message of them.

A body up to one chunk costs three rows in the batch's transaction. Of a longer one, each full
chunk goes to the writer when it is full (staged: a row of `chunk` without a message), at most
`_IN_FLIGHT` of them waiting at a time; a row in `staging` says so. The commit deletes that row,
an abort the chunks too, again and again where the disk has no room even for that, and after a
crash the next start does.

Invariants
    I1: `Receipt` is made from the result of `Accept`, which comes after the durable commit.
    I6: message, recipients and last chunk are one transaction; staged chunks alone are nothing,
    and a message is refused when one of its staged chunks was.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Any, Final, Protocol, Self

from tideover.message.envelope import NewMessage, QueueId
from tideover.smtp.receipt import Receipt
from tideover.spool.ids import id_number
from tideover.spool.interface import CHUNK, SpoolFull
from tideover.spool.sqlite.rows import (
    CHUNK_BITS,
    ENCODE,
    MAX_CHUNKS,
    ChunkRow,
    MessageRow,
    RecipientInsert,
    chunk_row,
    message_row,
    recipient_rows,
)
from tideover.spool.sqlite.statements import INSERT_ROWS, insert, queries
from tideover.spool.sqlite.work import Transaction, Work

_IN_FLIGHT: Final = 2
_MOST_PIECES: Final = 256
_DISCARD_AGAIN: Final = 10.0  # seconds
_DELETE_RANGE: Final = queries()["delete_chunk_range"]
_STAGE: Final = queries()["staging_insert"]
_HOLD: Final = queries()["message_hold"]
_UNSTAGE: Final = queries()["staging_delete"]


class Submitter(Protocol):
    """The writer as an intake sees it."""

    loop: asyncio.AbstractEventLoop

    def submit(self, work: Work[Any]) -> None:
        """Hand work over to the writer. Never blocks."""


def insert_rows(tx: Transaction, table: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert rows, many a statement."""
    for start in range(0, len(rows), INSERT_ROWS):
        part = rows[start : start + INSERT_ROWS]
        values = [value for row in part for value in row]
        tx.execute(insert(table, len(part)), values)


def delete_chunks_of(tx: Transaction, number: int) -> None:
    """Delete all chunks of a message."""
    first = number << CHUNK_BITS
    tx.execute(_DELETE_RANGE, {"first": first, "last": first + MAX_CHUNKS - 1})


def delete_staged(tx: Transaction, number: int) -> None:
    """Delete what has come of a body that is still coming in, if it is."""
    if tx.execute(_UNSTAGE, (f"[{number}]",)):
        delete_chunks_of(tx, number)


class Stage(Work[None]):
    """A full chunk of a body that is still coming in."""

    __slots__ = ("row",)
    rank = 0

    def __init__(self, future: asyncio.Future[None], row: ChunkRow) -> None:
        super().__init__(future)
        self.row = row

    @classmethod
    def apply(cls, tx: Transaction, works: Sequence[Self]) -> None:
        """Insert the chunks, and the mark that their bodies are coming in.

        Not with the first chunk only: that one may fail where the next one finds room.
        """
        chunks = [work.row for work in works]
        bodies = {row[0] >> CHUNK_BITS for row in chunks}
        tx.execute(_STAGE, (ENCODE(tuple(bodies)).decode(),))
        insert_rows(tx, "chunk", chunks)
        for work in works:
            work.result = None


class Accept(Work[Receipt]):
    """A message's rows and its last chunk.

    `staged` are the chunks that were still on their way when the body ended: where one of them
    failed, so does the message.

    When the waiter has gone before the batch begins, the message is not stored; when it goes
    later, the message is stored whole.
    """

    __slots__ = ("body", "held", "message", "queue_id", "recipients", "staged")
    rank = 1

    def __init__(
        self,
        future: asyncio.Future[Receipt],
        message: MessageRow,
        recipients: list[RecipientInsert],
        body: list[ChunkRow],
        queue_id: QueueId,
        staged: Sequence[Stage] = (),
        held: str | None = None,
    ) -> None:
        super().__init__(future)
        self.held = held
        self.message = message
        self.recipients = recipients
        self.body = body
        self.queue_id = queue_id
        self.staged = staged

    @classmethod
    def apply(cls, tx: Transaction, works: Sequence[Self]) -> None:
        """Insert the messages."""
        wanted = [work for work in works if not work.future.cancelled()]
        for error in [stage.error for work in wanted for stage in work.staged]:
            if error is not None:
                raise error
        staged = [work.message[0] for work in wanted if work.message[2] > CHUNK]
        if staged:
            tx.execute(_UNSTAGE, (ENCODE(staged).decode(),))
        insert_rows(tx, "message", [work.message for work in wanted])
        insert_rows(tx, "recipient", [row for work in wanted for row in work.recipients])
        insert_rows(tx, "chunk", [row for work in wanted for row in work.body])
        for work in wanted:
            if work.held is not None:
                tx.execute(_HOLD, {"message": work.message[0], "reason": work.held})

    @classmethod
    def single_statement(cls, works: Sequence[Self]) -> tuple[str, list[object]] | None:
        """One INSERT for small messages with one recipient each, as most are."""
        if len(works) > INSERT_ROWS:
            return None
        values: list[object] = []
        for work in works:
            if len(work.recipients) != 1 or len(work.body) != 1 or work.future.cancelled():
                return None
            if work.message[2] > CHUNK or work.held is not None:
                return None
            _, _, address, domain, _, _ = work.recipients[0]
            _, crc, data = work.body[0]
            values += (*work.message, address, domain, crc, data)
        return insert("small_message", len(works)), values

    def resolve(self) -> None:
        """Give out the receipt: here, and only here, is a message known to be durable (I1)."""
        if self.error is None:
            self.result = Receipt(self.queue_id)
        super().resolve()


class Discard(Work[None]):
    """Delete the staged chunks of a body that was given up. Where that fails it is tried again, by
    itself: they would fill the disk that may have been the reason. Nobody needs to wait for it.
    """

    __slots__ = ("_writer", "number")
    rank = 3

    def __init__(self, writer: Submitter, number: int) -> None:
        super().__init__(writer.loop.create_future())
        self.future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._writer = writer
        self.number = number

    @classmethod
    def apply(cls, tx: Transaction, works: Sequence[Self]) -> None:
        """Delete them, unless they have become a message after all."""
        for work in works:
            delete_staged(tx, work.number)
            work.result = None

    def resolve(self) -> None:
        """Tell who waits, and see to it that it is done in the end."""
        super().resolve()
        if self.error is not None:
            again = Discard(self._writer, self.number)
            self._writer.loop.call_later(_DISCARD_AGAIN, self._writer.submit, again)


class SqliteIntake:
    """One body on its way in; see `tideover.spool.interface.Intake`."""

    __slots__ = (
        "_commit",
        "_failed",
        "_held",
        "_in_flight",
        "_number",
        "_pieces",
        "_place",
        "_queue_id",
        "_stored",
        "_writer",
        "size",
    )

    def __init__(self, writer: Submitter, queue_id: QueueId) -> None:
        self.size = 0
        self._writer = writer
        self._queue_id = queue_id
        self._number = id_number(queue_id)
        self._pieces: list[bytes] = []
        self._held = 0  # octets in _pieces
        self._place = 0  # chunks given to the writer
        self._in_flight: list[Stage] = []
        self._stored = False  # whether any chunk may lie in the spool
        self._failed: BaseException | None = None
        self._commit: asyncio.Future[Receipt] | None = None

    def write(self, data: bytes) -> Awaitable[None] | None:
        """Add a piece; await what is returned before the next one."""
        self.size += len(data)
        self._held += len(data)
        pieces = self._pieces
        pieces.append(data)
        if self._held > CHUNK:
            return self._stage()
        if len(pieces) > _MOST_PIECES:  # a client that sends octet by octet
            self._pieces = [b"".join(pieces)]
        return None

    def commit(self, message: NewMessage) -> Awaitable[Receipt]:
        """Store the message. Await it; the receipt comes after the durable commit."""
        self._commit = future = self._writer.loop.create_future()
        if self._failed is not None:
            future.set_exception(self._failed)
            return future
        number, size = self._number, self.size
        rest = b"".join(self._pieces)
        self._pieces = []
        self._writer.submit(
            Accept(
                future,
                message_row(number, size, message),
                recipient_rows(number, size, message),
                [chunk_row(number, self._place, rest)] if rest else [],
                self._queue_id,
                tuple(self._in_flight),
                message.held,
            )
        )
        return future

    def abort(self) -> Awaitable[None] | None:
        """Forget what was written. No effect on a message whose commit has succeeded."""
        self._pieces = []
        if self._commit is not None:
            self._commit.cancel()
        if not (self._stored or self._in_flight):
            return None
        self._stored = False
        forgotten = Discard(self._writer, self._number)
        self._writer.submit(forgotten)
        return forgotten.future

    def _stage(self) -> Awaitable[None] | None:
        """Give full chunks to the writer, but not the last octet: it belongs to the commit."""
        held = b"".join(self._pieces)
        start = 0
        while len(held) - start > CHUNK:
            future = self._writer.loop.create_future()
            if self._place + 1 >= MAX_CHUNKS:
                self._failed = SpoolFull("the body is longer than a spool can hold")
                future.set_exception(self._failed)
                return future
            row = chunk_row(self._number, self._place, held[start : start + CHUNK])
            stage = Stage(future, row)
            self._in_flight.append(stage)
            future.add_done_callback(partial(self._staged, stage))
            self._writer.submit(stage)
            self._place += 1
            start += CHUNK
        self._pieces = [held[start:]]
        self._held = len(held) - start
        return self._in_flight[0].future if len(self._in_flight) >= _IN_FLIGHT else None

    def _staged(self, stage: Stage, future: asyncio.Future[None]) -> None:
        self._in_flight.remove(stage)
        error = None if future.cancelled() else future.exception()
        if error is None:  # also when its waiter has gone: it may be stored by now
            self._stored = True
        elif self._failed is None:
            self._failed = error
