"""A transaction at the primary, while it lasts: what the client sends goes on to it.

What the primary took, and a copy of the body, are kept, so that the message can go on without it.
"""

from collections.abc import Awaitable
from dataclasses import replace
from typing import Final

from tideover.inbound.admission import Admission
from tideover.inbound.posture import DEFERRED, Gate, Way
from tideover.inbound.transaction_log import TransactionLog
from tideover.message.envelope import Client, Envelope, QueueId, Recipient
from tideover.policy.body import BodyCopy
from tideover.primary.relay import Crowded, Gone, LiveMail
from tideover.smtp.receipt import Receipt
from tideover.smtp.replies import Reply, reply

_WORDS: Final = {2: "OK", 4: "Try again later", 5: "Refused"}


class Passing:
    """One `LiveMail`, with those whom the primary took (`taken`, with their local parts).

    Answers are the primary's, as the client may hear them; `Gone` once it has none.
    """

    __slots__ = ("_asked", "_gone", "_live", "_log", "copy", "stage", "taken", "way")

    def __init__(self, live: LiveMail, way: Way, log: TransactionLog) -> None:
        self._live = live
        self._log = log
        self._asked: Recipient | None = None
        self._gone: Gone | None = None
        self.way = way
        self.taken: list[tuple[Recipient, str]] = []
        self.copy: BodyCopy | None = None
        self.stage = "RCPT"

    async def recipient(self, recipient: Recipient, local: str) -> Reply | Gone:
        """Ask for a recipient."""
        self._asked = recipient
        answer = await self._live.recipient(recipient)
        if isinstance(answer, Gone):
            return answer
        self._asked = None
        if answer.positive:
            self.taken.append((recipient, local))
            return self._said(answer)
        return self._refused((recipient.address,), recipient.domain, answer)

    async def start(self, trace: bytes, copy: BodyCopy, *, chunking: bool) -> Reply | Gone | None:
        """Ask for the body, and send what goes before it. None: it may come."""
        self.stage = "DATA"
        answer = await self._live.start(chunking=chunking)
        if isinstance(answer, Gone):
            return answer
        if not answer.positive:
            return self._refused_all(answer)
        self.stage = "BODY"
        self.copy = copy
        await self._written(self._sent(trace))
        return None

    def write(self, piece: bytes, admission: Admission) -> Awaitable[None] | None:
        """A piece of the body: to the primary, as long as it is there, and into the copy."""
        if self.copy is not None and admission.refusal(0) is not None:
            self.forget_copy()  # the disk is full: the primary takes the message, or nobody
        copied = self.copy.write(piece) if self.copy is not None else None
        written = self._sent(piece)
        return None if copied is None and written is None else self._both(copied, written)

    async def _both(
        self, copied: Awaitable[None] | None, written: Awaitable[Gone | None] | None
    ) -> None:
        try:
            if copied is not None:
                await copied
        except OSError:
            self.forget_copy()
        finally:
            await self._written(written)

    def _sent(self, piece: bytes) -> Awaitable[Gone | None] | None:
        if self._gone is not None:
            return None
        try:
            return self._live.write(piece)
        except Exception as error:
            self._broken(error)
            return None

    async def _written(self, written: Awaitable[Gone | None] | None) -> None:
        try:
            if written is not None and (gone := await written) is not None:
                self._gone = gone
        except Exception as error:
            self._broken(error)

    def _broken(self, error: Exception) -> None:
        """There is a bug of ours on the way to the primary: the message goes on by its copy."""
        self._log.failed(error)
        self._gone = Gone(text=f"a bug: {type(error).__name__}")

    async def end(self, queue_id: QueueId) -> Receipt | Reply | Gone:
        """The body is whole."""
        answer = self._gone or await self._live.end(queue_id)
        if isinstance(answer, Reply):
            return self._refused_all(answer)
        if isinstance(answer, Receipt) and answer.reply is not None:
            return replace(answer, reply=self._said(answer.reply))
        return answer

    def lost(self, gone: Gone) -> None:
        """The message goes on without the primary."""
        self._live.abandon()
        asked = (self._asked,) if self._asked is not None else ()
        whose = (*(one for one, _ in self.taken), *asked)
        addresses = tuple(one.address for one in whose)
        self._log.pass_lost(addresses, whose[0].domain, self._live.host, self.stage, gone)

    def passed(self, size: int, receipt: Receipt) -> None:
        """The primary has the message: tell the log."""
        recipients = tuple(one.address for one, _ in self.taken)
        self._log.passed(recipients, size, self._live.host, self._live.told, receipt)

    def forget_copy(self) -> None:
        """Without it the message can't go on if the primary dies now."""
        if self.copy is not None:
            self.copy.close()
            self.copy = None

    def close(self) -> None:
        """The client is done, or gave up. May be called more than once."""
        self._live.abandon()
        self.forget_copy()

    def _refused_all(self, answer: Reply) -> Reply:
        addresses = tuple(one.address for one, _ in self.taken)
        return self._refused(addresses, self.taken[0][0].domain, answer)

    def _refused(self, addresses: tuple[str, ...], domain: str, answer: Reply) -> Reply:
        self._log.pass_refused(addresses, domain, self._live.host, self.stage, answer)
        return self._said(answer)

    def _said(self, answer: Reply) -> Reply:
        return said(answer, hidden=self.way.hidden)


async def opened(
    gate: Gate, way: Way, recipient: Recipient, client: Client, envelope: Envelope, size: int,
    log: TransactionLog,
) -> Passing | Reply | Gone:  # fmt: skip
    """A transaction at the primary of the recipient's domain. A Reply is the primary's to this
    client, or ours: it has no more room.
    """
    live = await gate.relay.open(recipient.domain, client, envelope, size=size)
    match live:
        case Crowded():
            log.recipient_refused(recipient.address, DEFERRED, "too many pass through")
            return DEFERRED
        case Reply():
            log.pass_refused((recipient.address,), recipient.domain, "", "CONNECT", live)
            return said(live, hidden=way.hidden)
        case Gone():
            log.pass_lost((recipient.address,), recipient.domain, "", "CONNECT", live)
            return live
    return Passing(live, way, log)


def said(answer: Reply, *, hidden: bool) -> Reply:
    """A reply of the primary as the client hears it: as it is, or in words of our own."""
    if not hidden:
        return answer
    return reply(answer.code, answer.enhanced, _WORDS.get(answer.code // 100, "Refused"))
