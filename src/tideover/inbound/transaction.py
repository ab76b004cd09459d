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
from tideover.inbound.rewriting import first_fields, rewritten
from tideover.inbound.transaction_log import TransactionLog
from tideover.message.edits import changes_header
from tideover.message.envelope import Client, Envelope, NewMessage, Recipient
from tideover.message.fields import HeaderSection
from tideover.message.received import received
from tideover.policy.body import BodyCopy
from tideover.policy.interface import Message
from tideover.policy.session import SessionPolicy
from tideover.policy.transaction import TransactionPolicy, Verdict
from tideover.recipients.answer import answer
from tideover.recipients.interface import Confidence, Finding
from tideover.recipients.interface import Verdict as Known
from tideover.smtp.events import MailFrom, RcptTo
from tideover.smtp.receipt import Receipt
from tideover.smtp.replies import Reply, reply
from tideover.spool.interface import Intake, SpoolError

MAX_HOPS: Final = 100
"""RFC 5321 §6.3: a large threshold, at least 100, tells a loop from a long way."""

LOOP = reply(554, "5.4.6", "Too many hops; this message is going in circles")
TOO_LARGE = reply(552, "5.3.4", "Message too large for this recipient")
APART = reply(452, "4.5.3", "This recipient takes another size; send it apart")


class Transaction:
    """State of one transaction. `failure` is what its end will be answered whatever follows."""

    __slots__ = ("_client", "_copy", "_house", "_intake", "_log", "_mail", "_max_size", "_policy",
                 "_recipients", "_sender", "_trace", "_trapped", "_verdict", "failure",
                 "honeypots", "queue_id", "size")  # fmt: skip

    def __init__(
        self, house: House, client: Client, mail: MailFrom, session: SessionPolicy, trapped: int
    ) -> None:
        """Begin. `trapped` says how many honeypots the session wrote to before."""
        self._house = house
        self._client = client
        self._mail = mail.parameters
        self._sender = mail.sender.text if mail.sender else ""
        self._recipients: dict[str, Recipient] = {}
        self._intake: Intake | None = None
        self._copy: BodyCopy | None = None
        self._max_size: int | None = None
        self._verdict = Verdict()
        self._trace = b""
        self._trapped = trapped
        self.honeypots: list[str] = []
        self.size = 0
        self.queue_id = house.spool.new_id(house.clock())
        self.failure: Reply | None = None
        self._log = TransactionLog(house.sink, client, self.queue_id, self._sender)
        self._policy = TransactionPolicy(
            session, sender=self._sender, smtputf8=mail.parameters.smtputf8
        )

    def check_sender(self) -> Reply | None:
        """Whether mail can be taken at all now."""
        return self._house.admission.refusal(self._mail.size or 0)

    def add_recipient(self, event: RcptTo) -> Awaitable[Reply | None] | Reply | None:
        """Take a recipient in, or say why not (I8: only addresses of configured domains).

        Awaitable where a source has to be asked first, or a check is not done.
        """
        house, mailbox = self._house, event.recipient
        address, domain = mailbox.text, mailbox.domain
        if not domain:
            domain = house.postmaster_domain
            address = f"{mailbox.text}@{domain}"
        finding = house.directory.lookup(mailbox.local, domain)
        if isinstance(finding, Finding):
            return self._judge(event, address, finding)
        return self._judge_later(event, address, finding)

    async def _judge_later(
        self, event: RcptTo, address: str, finding: Awaitable[Finding]
    ) -> Reply | None:
        try:
            found = await finding
        except Exception as error:  # a bug in a source must not cost the client its session
            found = Finding(verdict=Known.DEFER, reason=f"a bug: {type(error).__name__}")
        answer = self._judge(event, address, found)
        return answer if answer is None or isinstance(answer, Reply) else await answer

    def _judge(
        self, event: RcptTo, address: str, finding: Finding
    ) -> Awaitable[Reply | None] | Reply | None:
        """Act on what is known of a recipient, then ask policy."""
        if finding.confidence is Confidence.HONEYPOT:
            self.honeypots.append(address)
            self._log.trapped(address, finding.source or "")
        refusal = answer(finding)
        limit = finding.max_size
        if refusal is None and limit is not None and (self._mail.size or 0) > limit:
            refusal = TOO_LARGE
        elif refusal is None and self._goes_apart(finding):
            refusal = APART
        if refusal is not None:
            reason = finding.reason or finding.confidence.value
            self._log.recipient_refused(address, refusal, reason)
            return refusal
        if finding.verdict is Known.SWALLOW or address.lower() in self._recipients:
            return None  # the same mailbox named twice gets the message once
        recipient = Recipient(
            address=address,
            domain=finding.domain,
            notify=event.parameters.notify,
            orcpt=event.parameters.orcpt,
        )
        verdict = self._policy.recipient(
            recipient, event.recipient.local, self._trapped + len(self.honeypots)
        )
        if verdict is None or isinstance(verdict, Reply):
            return self._take(recipient, finding, verdict)
        return self._take_later(recipient, finding, verdict)

    async def _take_later(
        self, recipient: Recipient, finding: Finding, verdict: Awaitable[Reply | None]
    ) -> Reply | None:
        return self._take(recipient, finding, await verdict)

    def _take(self, recipient: Recipient, finding: Finding, refusal: Reply | None) -> Reply | None:
        if refusal is not None:
            self._log.recipient_refused(recipient.address, refusal, "policy")
            return refusal
        limit = finding.max_size
        if limit is not None:
            self._max_size = limit if self._max_size is None else min(limit, self._max_size)
        self._recipients[recipient.address.lower()] = recipient
        return None

    def _goes_apart(self, finding: Finding) -> bool:
        """Whether the body, whose size nobody has said, might be refused at its end for one
        recipient's sake and lost for the others'.
        """
        return (
            self._mail.size is None
            and bool(self._recipients)
            and finding.verdict is Known.ACCEPT
            and finding.max_size != self._max_size
        )

    def start_body(self) -> Awaitable[Reply | None] | Reply | None:
        """The body is about to come."""
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
        if refusal is None and self._recipients:
            self._intake = self._house.spool.open(self.queue_id)
            self._copy = self._house.chain.copies.new()
        return refusal

    def add_body(self, piece: bytes) -> Awaitable[None] | None:
        """A piece of the body; await what is returned before the next one."""
        self.size += len(piece)
        if self.failure is not None or self._intake is None or self._copy is None:
            return None
        if self._max_size is not None and self.size > self._max_size:
            self.failure = TOO_LARGE
            self.abort()
            return None
        # again for each piece: many long bodies of unsaid size could use up what must stay free
        self.failure = self._house.admission.refusal(0)
        if self.failure is not None:
            self.abort()
            return None
        stored, copied = self._intake.write(piece), self._copy.write(piece)
        if copied is None:
            return stored
        return self._both(stored, copied)

    async def _both(self, stored: Awaitable[None] | None, copied: Awaitable[None]) -> None:
        """Wait for spool and copy. A copy that fails is trouble with the disk, as the spool's."""
        try:
            await copied
        except OSError as error:
            raise spool_error(error) from error
        finally:
            if stored is not None:
                await stored

    def write_failed(self, error: SpoolError) -> None:
        """A piece could not be stored: read on to the end of the body, then say so."""
        self.failure = reply_to(error)
        self.abort()

    def judge(self) -> Awaitable[Reply | None] | Reply | None:
        """The body is complete: whether the message is taken. Then `commit` it. Never raises."""
        if self.failure is not None or self._intake is None or self._copy is None:
            self.abort()
            return self.refused(self.failure or TROUBLE, self._why_refused())
        return run(self._judge_whole(self._intake, self._copy))

    async def _judge_whole(self, intake: Intake, copy: BodyCopy) -> Reply | None:
        try:
            return await self._judge_message(intake, copy)
        except SpoolError as error:
            return self.commit_failed(error)
        except OSError as error:
            return self.commit_failed(spool_error(error))
        except Exception as error:  # nobody may lose a message, or an answer, by a bug
            self.abort()
            return self.refused(self.failed(error), "a bug")

    async def _judge_message(self, intake: Intake, copy: BodyCopy) -> Reply | None:
        header = await first_fields(copy)
        if sum(1 for _ in header.all(b"received")) > MAX_HOPS:
            self.abort()
            return self.refused(LOOP, "loop")
        self._trace = received(
            self.queue_id, self._envelope, self._client,
            hostname=self._house.config.hostname, time=self._house.clock(),
        )  # fmt: skip
        self._verdict = await self._policy.message(
            Message(
                queue_id=self.queue_id,
                header=header,
                body=copy,
                recipients=self._envelope.recipients,
                trace=self._trace,
            )
        )
        if self._verdict.reply is not None:
            self.abort()
            return self.refused(self._verdict.reply, f"policy: {self._verdict.because}")
        if changes_header(self._verdict.edits):
            await self._write_again(intake, copy, header)
        self._trace = _in_order(self._trace, self._verdict.trace, header)
        return None

    async def _write_again(self, intake: Intake, copy: BodyCopy, header: HeaderSection) -> None:
        """Store the message anew, with the header section that filters want it to have."""
        if (forgotten := intake.abort()) is not None:
            await forgotten
        self._intake = again = self._house.spool.open(self.queue_id)
        async for piece in rewritten(copy, header, self._verdict.edits):
            if (stored := again.write(piece)) is not None:
                await stored

    @property
    def _envelope(self) -> Envelope:
        return Envelope(
            sender=self._sender,
            recipients=tuple(self._recipients.values()),
            body=self._mail.body,
            smtputf8=self._mail.smtputf8,
            ret=self._mail.ret,
            envid=self._mail.envid,
        )

    def commit(self) -> Awaitable[Receipt]:
        """Store the message that `judge` had nothing against."""
        if self._intake is None:
            raise AssertionError("judge refuses what has no body")
        verdict = self._verdict
        notes = tuple(f"honeypot: {one}" for one in self.honeypots)
        message = NewMessage(
            queue_id=self.queue_id,
            received_at=self._house.clock(),
            envelope=self._envelope,
            client=self._client,
            trace=self._trace,
            evidence=replace(verdict.evidence, notes=verdict.evidence.notes + notes),
            held=verdict.held,
        )
        return self._intake.commit(message)

    @property
    def swallowed(self) -> bool:
        """Whether all that it is for are honeypots whose mail is swallowed."""
        return not self._recipients and self.failure is None

    def swallow(self) -> None:
        """The body has come, and nobody wants it: say so in the log."""
        self._log.swallowed(self.honeypots, self.size)

    def _why_refused(self) -> str:
        return "size" if self.failure is TOO_LARGE else "spool"

    def accepted(self) -> None:
        """The spool holds the message: tell the log, and those who bring it home."""
        recipients = self._recipients.values()
        self._policy.taken()
        size = self._intake.size if self._intake is not None else 0
        self._log.accepted(recipients, size, self._verdict.held)
        self._house.on_accepted({one.domain for one in recipients})
        self._intake = None  # it is the spool's now
        self.close()

    def commit_failed(self, error: SpoolError) -> Reply:
        """The spool could not store the message."""
        self.abort()
        return self.refused(reply_to(error), str(error))

    def refused(self, why: Reply, reason: str) -> Reply:
        """Log that the message as a whole was not taken."""
        self._log.refused(self._recipients.values(), why, reason)
        return why

    def abort(self) -> None:
        """Forget the body. May be called at any time, more than once."""
        if self._intake is not None:
            self._intake.abort()
            self._intake = None
        if self._copy is not None:
            self._copy.close()
            self._copy = None

    def failed(self, error: BaseException) -> Reply:
        """A bug of ours must not cost the client its session, nor anybody the message."""
        self._log.failed(error)
        return TROUBLE

    def leave(self) -> None:
        """The client has gone: no check need go on, only what is being stored."""
        self._policy.close()

    def close(self) -> None:
        """The transaction is over: forget what is not stored. May be called more than once."""
        self.abort()
        self._policy.close()


def _in_order(received_field: bytes, found_out: bytes, header: HeaderSection) -> bytes:
    """Received on top; but lowest where the message begins with white space, which goes on with the
    field above it: that must not be one of evidence.
    """
    if header.begins_folded:
        return found_out + received_field
    return received_field + found_out
