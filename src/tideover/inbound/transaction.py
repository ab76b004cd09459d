"""One mail transaction, from MAIL to the verdict: who it is for, and its way into the spool.

Answers are values: None for yes, a Reply for no, an awaitable where something must be waited for.
Invariants: I1, success is only ever a spool's Receipt. I6, whatever ends a transaction early
aborts its intake, so nothing half written stays.
"""

from collections.abc import Awaitable
from typing import Final

from msgspec.structs import replace

from tideover.eager import run
from tideover.inbound.admission import TROUBLE, reply_to, spool_error
from tideover.inbound.house import House
from tideover.inbound.keeping import Keeping
from tideover.inbound.passing import Passing
from tideover.inbound.recipients import TOO_LARGE, Recipients
from tideover.inbound.rewriting import first_fields
from tideover.inbound.transaction_log import TransactionLog
from tideover.message.edits import changes_header
from tideover.message.envelope import Client, NewMessage
from tideover.message.fields import HeaderSection
from tideover.policy.interface import Message
from tideover.policy.session import SessionPolicy
from tideover.policy.transaction import TransactionPolicy, Verdict
from tideover.primary.relay import Gone
from tideover.smtp.events import MailFrom
from tideover.smtp.receipt import Receipt
from tideover.smtp.replies import Reply, reply
from tideover.spool.interface import SpoolError

MAX_HOPS: Final = 100
"""RFC 5321 §6.3: a large threshold, at least 100, tells a loop from a long way."""

LOOP = reply(554, "5.4.6", "Too many hops; this message is going in circles")


class Transaction:
    """State of one transaction; `to` is whom it is for. `failure` is what its end will be answered
    whatever follows.
    """

    __slots__ = ("_client", "_house", "_kept", "_log", "_mail", "_passed", "_policy", "_trace",
                 "_verdict", "failure", "queue_id", "size", "to")  # fmt: skip

    def __init__(
        self, house: House, client: Client, mail: MailFrom, session: SessionPolicy, trapped: int
    ) -> None:
        """Begin. `trapped` says how many honeypots the session wrote to before."""
        sender = mail.sender.text if mail.sender else ""
        self._house = house
        self._client = client
        self._mail = mail.parameters
        self._kept: Keeping | None = None
        self._passed: Receipt | None = None
        self._verdict = Verdict()
        self._trace = b""
        self.size = 0
        self.queue_id = house.spool.new_id(house.clock())
        self.failure: Reply | None = None
        self._log = TransactionLog(house.sink, client, self.queue_id, sender)
        self._policy = TransactionPolicy(session, sender=sender, smtputf8=self._mail.smtputf8)
        self.to = Recipients(house, client, mail, self.queue_id, self._policy, self._log, trapped)

    def check_sender(self) -> Reply | None:
        """Whether mail can be taken at all now. What goes through to a primary needs no room."""
        refusal = self._house.admission.refusal(self._mail.size or 0)
        return None if refusal is not None and self._house.may_pass else refusal

    async def _start_passing(self, passing: Passing, *, chunking: bool) -> Reply | None:
        self._trace = self.to.received()
        copy = self._house.chain.copies.new()
        answer = await passing.start(self._trace, copy, chunking=chunking)
        if not isinstance(answer, Gone):
            return answer
        self.failure = await self.to.go_on_without(passing, answer)
        begun = self.start_body(chunking=chunking)
        return begun if begun is None or isinstance(begun, Reply) else await begun

    async def _judge_passing(self, passing: Passing) -> Reply | None:
        """The primary's verdict; when it has none, ours."""
        if passing.copy is not None and _in_circles(await first_fields(passing.copy)):
            passing.close()  # without its end the body is nothing
            return self.refused(LOOP, "loop")
        answer = await passing.end(self.queue_id)
        if isinstance(answer, Receipt):
            # told now: the primary has it, whether the client still hears of it or not
            passing.passed(self.size, answer)
            self._passed = answer
            return None
        if isinstance(answer, Reply):
            return answer
        self.failure = await self.to.go_on_without(passing, answer)
        copy, passing.copy = passing.copy, None
        refusal = self.failure or self._house.admission.refusal(self.size)
        if refusal is None and (verdict := self._policy.data()) is not None:
            refusal = verdict if isinstance(verdict, Reply) else await verdict
        if copy is None or refusal is not None:
            if copy is not None:
                copy.close()
            return self.refused(refusal or TROUBLE, "in place of the primary")
        self._kept = await Keeping.of(self._house.spool, self.queue_id, copy)
        return await self._judge_message(self._kept)

    def start_body(self, *, chunking: bool) -> Awaitable[Reply | None] | Reply | None:
        """The body is about to come. `chunking`: by BDAT."""
        if (passing := self.to.answered) is not None:
            return self._start_passing(passing, chunking=chunking)
        self.failure = self.to.failure
        refusal = self._house.admission.refusal(self._mail.size or 0)
        if refusal is not None:
            return refusal
        verdict = self._policy.data()
        if verdict is None or isinstance(verdict, Reply):
            return self._open(verdict)
        return self._open_later(verdict)

    async def _open_later(self, verdict: Awaitable[Reply | None]) -> Reply | None:
        return self._open(await verdict)

    def _open(self, refusal: Reply | None) -> Reply | None:
        if refusal is None and self.to.taken:
            copy = self._house.chain.copies.new()
            self._kept = Keeping(self._house.spool, self.queue_id, copy)
        return refusal

    def add_body(self, piece: bytes) -> Awaitable[None] | None:
        """A piece of the body; await what is returned before the next one."""
        self.size += len(piece)
        if (passing := self.to.answered) is not None:
            return passing.write(piece, self._house.admission)
        kept = self._kept
        if self.failure is not None or kept is None:
            return None
        if self.to.max_size is not None and self.size > self.to.max_size:
            self.failure = TOO_LARGE
            self.abort()
            return None
        # again for each piece: many long bodies of unsaid size could use up what must stay free
        self.failure = self._house.admission.refusal(0)
        if self.failure is not None:
            self.abort()
            return None
        return kept.write(piece)

    def write_failed(self, error: Exception) -> None:
        """A piece could not be stored: read on to the end of the body, then say so."""
        self.failure = reply_to(error) if isinstance(error, SpoolError) else self.failed(error)
        self.abort()

    def judge(self) -> Awaitable[Reply | None] | Reply | None:
        """The body is complete: whether the message is taken. Then `commit` it. Never raises."""
        if (passing := self.to.answered) is not None:
            return self._safely(self._judge_passing(passing))
        if self.failure is not None or self._kept is None:
            self.abort()
            return self.refused(self.failure or TROUBLE, self._why_refused())
        return run(self._safely(self._judge_message(self._kept)))

    async def _safely(self, judging: Awaitable[Reply | None]) -> Reply | None:
        try:
            return await judging
        except SpoolError as error:
            return self.commit_failed(error)
        except OSError as error:
            return self.commit_failed(spool_error(error))
        except Exception as error:  # nobody may lose a message, or an answer, by a bug
            self.abort()
            return self.refused(self.failed(error), "a bug")

    async def _judge_message(self, kept: Keeping) -> Reply | None:
        header = await first_fields(kept.copy)
        if _in_circles(header):
            self.abort()
            return self.refused(LOOP, "loop")
        self._trace = self.to.received()
        self._verdict = await self._policy.message(
            Message(
                queue_id=self.queue_id,
                header=header,
                body=kept.copy,
                recipients=tuple(self.to.taken.values()),
                trace=self._trace,
            )
        )
        if self._verdict.reply is not None:
            self.abort()
            return self.refused(self._verdict.reply, f"policy: {self._verdict.because}")
        if changes_header(self._verdict.edits):
            await kept.write_again(header, self._verdict.edits)
        self._trace = _in_order(self._trace, self._verdict.trace, header)
        return None

    def commit(self) -> Awaitable[Receipt]:
        """Store the message that `judge` had nothing against; the primary may have it already."""
        if self._passed is not None:
            return _ready(self._passed)
        if self._kept is None:
            raise AssertionError("judge refuses what has no body")
        verdict = self._verdict
        notes = tuple(f"honeypot: {one}" for one in self.to.honeypots)
        message = NewMessage(
            queue_id=self.queue_id,
            received_at=self._house.clock(),
            envelope=self.to.envelope,
            client=self._client,
            trace=self._trace,
            evidence=replace(verdict.evidence, notes=verdict.evidence.notes + notes),
            held=verdict.held,
        )
        return self._kept.commit(message)

    @property
    def swallowed(self) -> bool:
        """Whether all that it is for are honeypots whose mail is swallowed."""
        return not self.to.taken and self.failure is None

    def swallow(self) -> None:
        """The body has come, and nobody wants it: say so in the log."""
        self._log.swallowed(self.to.honeypots, self.size)

    def _why_refused(self) -> str:
        return "size" if self.failure is TOO_LARGE else "spool"

    def accepted(self) -> None:
        """The spool holds the message, or the primary: tell the log, and who brings it home."""
        recipients = self.to.taken.values()
        self._policy.taken()
        if self._passed is not None:
            self.close()
            return
        size = self._kept.size if self._kept is not None else 0
        self._log.accepted(recipients, size, self._verdict.held)
        self._house.on_accepted({one.domain for one in recipients})
        if self._kept is not None:  # it is the spool's now
            self._kept.close(committed=True)
            self._kept = None
        self.close()

    def commit_failed(self, error: SpoolError) -> Reply:
        """The spool could not store the message."""
        self.abort()
        return self.refused(reply_to(error), str(error))

    def refused(self, why: Reply, reason: str) -> Reply:
        """Log that the message as a whole was not taken."""
        self._log.refused(self.to.taken.values(), why, reason)
        return why

    def abort(self) -> None:
        """Forget the body. May be called at any time, more than once."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def failed(self, error: BaseException) -> Reply:
        """A bug of ours must not cost the client its session, nor anybody the message."""
        self._log.failed(error)
        return TROUBLE

    def leave(self) -> None:
        """The client has gone: no check need go on, only what is being stored."""
        self._policy.close()

    def close(self) -> None:
        """The transaction is over: forget what is not stored. May be called more than once."""
        if self.to.passing is not None:
            self.to.passing.close()
            self.to.passing = None
        self.abort()
        self._policy.close()


def _in_circles(header: HeaderSection) -> bool:
    return sum(1 for _ in header.all(b"received")) > MAX_HOPS


async def _ready(receipt: Receipt) -> Receipt:
    return receipt


def _in_order(received_field: bytes, found_out: bytes, header: HeaderSection) -> bytes:
    """Received on top; but lowest where the message begins with white space, which goes on with the
    field above it: that must not be one of evidence.
    """
    if header.begins_folded:
        return found_out + received_field
    return received_field + found_out
