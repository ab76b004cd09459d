"""A body on its way into the spool, and the copy of it by which it is judged."""

from collections.abc import Awaitable
from typing import Self

from tideover.inbound.admission import spool_error
from tideover.inbound.rewriting import rewritten
from tideover.message.edits import Edits
from tideover.message.envelope import NewMessage, QueueId
from tideover.message.fields import HeaderSection
from tideover.policy.body import BodyCopy
from tideover.smtp.receipt import Receipt
from tideover.spool.interface import Intake, Spool


class Keeping:
    """Intake and copy of one message. I6: `close` it, however it ends, but after a commit."""

    __slots__ = ("_intake", "_queue_id", "_spool", "copy")

    def __init__(self, spool: Spool, queue_id: QueueId, copy: BodyCopy) -> None:
        self._spool = spool
        self._queue_id = queue_id
        self._intake: Intake = spool.open(queue_id)
        self.copy = copy

    @classmethod
    async def of(cls, spool: Spool, queue_id: QueueId, copy: BodyCopy) -> Self:
        """The body that a copy holds as a whole.

        Raises:
            SpoolError: it can't be stored.
            OSError: the copy can't be read.
        """
        kept = cls(spool, queue_id, copy)
        try:
            async for piece in copy.read():
                if (stored := kept._intake.write(piece)) is not None:
                    await stored
        except BaseException:
            kept.close()
            raise
        return kept

    @property
    def size(self) -> int:
        """Octets that lie in the spool."""
        return self._intake.size

    def write(self, piece: bytes) -> Awaitable[None] | None:
        """Add a piece; await what is returned before the next one. It raises SpoolError."""
        stored, copied = self._intake.write(piece), self.copy.write(piece)
        return stored if copied is None else self._both(stored, copied)

    async def _both(self, stored: Awaitable[None] | None, copied: Awaitable[None]) -> None:
        """Wait for spool and copy. A copy that fails is trouble with the disk, as the spool's."""
        try:
            await copied
        except OSError as error:
            raise spool_error(error) from error
        finally:
            if stored is not None:
                await stored

    async def write_again(self, header: HeaderSection, edits: Edits) -> None:
        """Store the message anew, with the header section that filters want it to have.

        Raises:
            SpoolError: it can't be stored.
            OSError: the copy can't be read.
        """
        if (forgotten := self._intake.abort()) is not None:
            await forgotten
        self._intake = self._spool.open(self._queue_id)
        async for piece in rewritten(self.copy, header, edits):
            if (stored := self._intake.write(piece)) is not None:
                await stored

    def commit(self, message: NewMessage) -> Awaitable[Receipt]:
        """Make it durable."""
        return self._intake.commit(message)

    def close(self, *, committed: bool = False) -> None:
        """Forget the copy, and what is not the spool's."""
        if not committed:
            self._intake.abort()
        self.copy.close()
