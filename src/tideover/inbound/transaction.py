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
from tideover.inbound.passing import Passing, opened
from tideover.inbound.posture import DEFERRED, QUEUED, Mode, Way
from tideover.inbound.rewriting import first_fields
from tideover.inbound.transaction_log import TransactionLog
from tideover.message.edits import changes_header
from tideover.message.envelope import Client, Envelope, NewMessage, Recipient
from tideover.message.fields import HeaderSection
from tideover.message.received import received
from tideover.policy.interface import Message
from tideover.policy.session import SessionPolicy
from tideover.policy.transaction import TransactionPolicy, Verdict
from tideover.primary.relay import Gone
from tideover.recipients.answer import answer
from tideover.recipients.interface import Confidence, Finding
from tideover.recipients.interface import Verdict as Known
from tideover.smtp.events import MailFrom, RcptTo
from tideover.smtp.receipt import Receipt
from tideover.smtp.replies import Reply, reply
from tideover.spool.interface import SpoolError

MAX_HOPS: Final = 100
"""RFC 5321 §6.3: a large threshold, at least 100, tells a loop from a long way."""

LOOP = reply(554, "5.4.6", "Too many hops; this message is going in circles")
TOO_LARGE = reply(552, "5.3.4", "Message too large for this recipient")
APART = reply(452, "4.5.3", "This recipient takes another size; send it apart")


class Transaction:
    """State of one transaction. `failure` is what its end will be answered whatever follows."""

    __slots__ = ("_client", "_house", "_kept", "_log", "_mail", "_max_size", "_passed",
                 "_passing", "_policy", "_recipients", "_sender", "_trace", "_trapped", "_verdict",
                 "_without", "failure", "honeypots", "queue_id", "size")  # fmt: skip

    def __init__(
        self, house: House, client: Client, mail: MailFrom, session: SessionPolicy, trapped: int
    ) -> None:
        """Begin. `trapped` says how many honeypots the session wrote to before."""
        self._house = house
        self._client = client
        self._mail = mail.parameters
        self._sender = mail.sender.text if mail.sender else ""
        self._recipients: dict[str, Recipient] = {}
        self._kept: Keeping | None = None
        self._max_size: int | None = None
        self._passing: Passing | None = None
        self._passed: Receipt | None = None
        self._without: str | None = None  # the primary that had no verdict
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
        """Take a recipient in, or say why not (I8: only addresses of configured domains). A 2xx
        Reply is the primary's own yes.

        Awaitable where the primary or a source has to be asked first, or a check is not done.
        """
        house, mailbox = self._house, event.recipient
        address, domain = mailbox.text, mailbox.domain
        if not domain:
            domain = house.postmaster_domain
            address = f"{mailbox.text}@{domain}"
        name, way = house.way(domain)
        if way.key is not None:  # who has the same primary goes the same way, however it stands now
            if self._answered is not None and self._answered.way.key == way.key:
                way = self._answered.way
            elif way.key == self._without:
                way = QUEUED
        if way.mode is Mode.PASS:
            trap = house.directory.trap(mailbox.local, name)
            if trap is None:
                return self._pass(event, address, name, way)
            return self._judge(event, address, trap)
        return self._add_to_queue(event, address, name, way)

    def _add_to_queue(
        self, event: RcptTo, address: str, domain: str, way: Way
    ) -> Awaitable[Reply | None] | Reply | None:
        if self._answered is not None:
            return APART
        mailbox = event.recipient
        finding = self._house.directory.lookup(mailbox.local, domain)
        if isinstance(finding, Finding) and (
            way.mode is Mode.QUEUE or finding.verdict is not Known.ACCEPT
        ):
            return self._judge(event, address, finding)
        return self._judge_later(event, address, finding, way)

    async def _judge_later(
        self, event: RcptTo, address: str, finding: Finding | Awaitable[Finding], way: Way
    ) -> Reply | None:
        try:
            found = finding if isinstance(finding, Finding) else await finding
        except Exception as error:  # a bug in a source must not cost the client its session
            found = Finding(verdict=Known.DEFER, reason=f"a bug: {type(error).__name__}")
        if found.verdict is Known.ACCEPT:
            way = await self._house.looked(found.domain, way)
            if way.mode is Mode.PASS:
                return await self._pass(event, address, found.domain, way)
            if way.mode is Mode.DEFER and not await self._is_cut_off(address, found.domain):
                self._log.recipient_refused(address, DEFERRED, "the primary is up")
                return DEFERRED
        answer = self._judge(event, address, found)
        return answer if answer is None or isinstance(answer, Reply) else await answer

    async def _is_cut_off(self, address: str, domain: str) -> bool:
        """Whether the client evidently can't reach the primary: told as a fact when it is so."""
        gate, recipient = self._house.gate, Recipient(address=address, domain=domain)
        if gate is None:
            return False
        why = await gate.cut_off(self._client.address, self._sender, recipient)
        if why is not None:
            self._log.cut_off(address, domain, why)
        return why is not None

    # While the primary answers

    async def _pass(self, event: RcptTo, address: str, domain: str, way: Way) -> Reply | None:
        """Ask the primary itself; when it has no verdict the rules for an outage hold."""
        recipient = Recipient(
            address=address, domain=domain,
            notify=event.parameters.notify, orcpt=event.parameters.orcpt,
        )  # fmt: skip
        passing = self._passing
        if passing is not None and not passing.taken and (passing.way != way or self._recipients):
            passing.close()
            passing = self._passing = None
        if (passing is not None and passing.way != way) or (passing is None and self._recipients):
            return APART
        gate = self._house.gate
        if passing is None and gate is not None:
            size = (self._mail.size or 0) and self._mail.size + len(self._received())
            found = await opened(
                gate, way, recipient, self._client, self._envelope, size, self._log
            )
            if isinstance(found, Reply):
                return found
            passing = self._passing = found if isinstance(found, Passing) else None
        if passing is None:
            self._without = way.key
            return await self._as_in_an_outage(event, address, domain)
        answer = await passing.recipient(recipient, event.recipient.local)
        if isinstance(answer, Gone):
            await self._go_on_without(passing, answer)
            return await self._as_in_an_outage(event, address, domain)
        if answer.positive:
            self._recipients[address.lower()] = recipient
        return answer

    async def _as_in_an_outage(self, event: RcptTo, address: str, domain: str) -> Reply | None:
        answer = self._add_to_queue(event, address, domain, QUEUED)
        return answer if answer is None or isinstance(answer, Reply) else await answer

    async def _go_on_without(self, passing: Passing, gone: Gone) -> None:
        """The primary has no verdict. Whom it took stays taken; what policy has against them now is
        said at the end of the body, as they have heard a yes.
        """
        passing.lost(gone)
        self._passing = None
        self._without = passing.way.key
        for recipient, local in passing.taken:
            verdict = self._policy.recipient(recipient, local, self._trapped + len(self.honeypots))
            if verdict is not None and not isinstance(verdict, Reply):
                verdict = await verdict
            self.failure = self.failure or verdict

    async def _start_passing(self, passing: Passing, *, chunking: bool) -> Reply | None:
        self._trace = self._received()
        copy = self._house.chain.copies.new()
        answer = await passing.start(self._trace, copy, chunking=chunking)
        if not isinstance(answer, Gone):
            return answer
        await self._go_on_without(passing, answer)
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
        await self._go_on_without(passing, answer)
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

    @property
    def _answered(self) -> Passing | None:
        """The transaction at the primary, when the message goes there."""
        passing = self._passing
        return passing if passing is not None and passing.taken else None

    # For the queue

    def _judge(
        self, event: RcptTo, address: str, finding: Finding
    ) -> Awaitable[Reply | None] | Reply | None:
        """Act on what is known of a recipient, then ask policy."""
        if finding.confidence is Confidence.HONEYPOT:
            self.honeypots.append(address)
            self._log.trapped(address, finding.source or "")
        refusal = answer(finding)
        limit = finding.max_size
        if refusal is None and (self._mail.size or self._mail.smtputf8):
            refusal = self._house.unmet(finding.domain, self._mail)
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

    def start_body(self, *, chunking: bool) -> Awaitable[Reply | None] | Reply | None:
        """The body is about to come. `chunking`: by BDAT."""
        if (passing := self._answered) is not None:
            return self._start_passing(passing, chunking=chunking)
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
            copy = self._house.chain.copies.new()
            self._kept = Keeping(self._house.spool, self.queue_id, copy)
        return refusal

    def add_body(self, piece: bytes) -> Awaitable[None] | None:
        """A piece of the body; await what is returned before the next one."""
        self.size += len(piece)
        if (passing := self._answered) is not None:
            return passing.write(piece, self._house.admission)
        kept = self._kept
        if self.failure is not None or kept is None:
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
        return kept.write(piece)

    def write_failed(self, error: Exception) -> None:
        """A piece could not be stored: read on to the end of the body, then say so."""
        self.failure = reply_to(error) if isinstance(error, SpoolError) else self.failed(error)
        self.abort()

    def judge(self) -> Awaitable[Reply | None] | Reply | None:
        """The body is complete: whether the message is taken. Then `commit` it. Never raises."""
        if (passing := self._answered) is not None:
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
        self._trace = self._received()
        self._verdict = await self._policy.message(
            Message(
                queue_id=self.queue_id,
                header=header,
                body=kept.copy,
                recipients=self._envelope.recipients,
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

    def _received(self) -> bytes:
        return received(
            self.queue_id, self._envelope, self._client,
            hostname=self._house.config.hostname, time=self._house.clock(),
        )  # fmt: skip

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
        """Store the message that `judge` had nothing against; the primary may have it already."""
        if self._passed is not None:
            return _ready(self._passed)
        if self._kept is None:
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
        return self._kept.commit(message)

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
        """The spool holds the message, or the primary: tell the log, and who brings it home."""
        recipients = self._recipients.values()
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
        self._log.refused(self._recipients.values(), why, reason)
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
        if self._passing is not None:
            self._passing.close()
            self._passing = None
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
