"""One mail transaction, from MAIL to the verdict: who it is for, and its way into the spool.

Answers are values: None for yes, a Reply for no, an awaitable where the spool must be waited for.
Invariants: I1, success is only ever a spool's Receipt. I6, whatever ends a transaction early
aborts its intake, so nothing half written stays.
"""

from collections.abc import Awaitable

from tideover.events.recipient_records import HoneypotHit, MessageSwallowed
from tideover.events.records import CommandRefused, MessageAccepted, MessageRefused
from tideover.inbound.admission import reply_to
from tideover.inbound.house import House
from tideover.message.envelope import Client, Envelope, Evidence, NewMessage, Recipient
from tideover.message.headers import HopCounter
from tideover.message.received import received
from tideover.recipients.answer import answer
from tideover.recipients.interface import Confidence, Finding, Verdict
from tideover.smtp.events import MailFrom, RcptTo
from tideover.smtp.receipt import Receipt
from tideover.smtp.replies import Reply, reply
from tideover.spool.interface import Intake, SpoolError

LOOP = reply(554, "5.4.6", "Too many hops; this message is going in circles")
TOO_LARGE = reply(552, "5.3.4", "Message too large for this recipient")
APART = reply(452, "4.5.3", "This recipient takes another size; send it apart")


class Transaction:
    """State of one transaction. `failure` is what its end will be answered whatever follows."""

    __slots__ = ("_client", "_hops", "_house", "_intake", "_mail", "_max_size", "_recipients",
                 "_sender", "failure", "honeypots", "queue_id", "size")  # fmt: skip

    def __init__(self, house: House, client: Client, mail: MailFrom) -> None:
        self._house = house
        self._client = client
        self._mail = mail.parameters
        self._sender = mail.sender.text if mail.sender else ""
        self._recipients: dict[str, Recipient] = {}
        self._hops = HopCounter()
        self._intake: Intake | None = None
        self._max_size: int | None = None
        self.honeypots: list[str] = []
        self.size = 0
        self.queue_id = house.spool.new_id(house.clock())
        self.failure: Reply | None = None

    def check_sender(self) -> Reply | None:
        """Whether mail can be taken at all now."""
        return self._house.admission.refusal(self._mail.size or 0)

    def add_recipient(self, event: RcptTo) -> Awaitable[Reply | None] | Reply | None:
        """Take a recipient in, or say why not (I8: only addresses of configured domains).

        Awaitable where a source has to be asked first.
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
            found = Finding(verdict=Verdict.DEFER, reason=f"a bug: {type(error).__name__}")
        return self._judge(event, address, found)

    def _judge(self, event: RcptTo, address: str, finding: Finding) -> Reply | None:
        """Act on what is known of a recipient."""
        if finding.confidence is Confidence.HONEYPOT:
            self._trapped(address, finding)
        refusal = answer(finding)
        limit = finding.max_size
        if refusal is None and limit is not None and (self._mail.size or 0) > limit:
            refusal = TOO_LARGE
        elif refusal is None and self._goes_apart(finding):
            refusal = APART
        if refusal is not None:
            self._refuse_recipient(address, refusal, finding)
            return refusal
        if finding.verdict is Verdict.SWALLOW:
            return None
        if limit is not None:
            self._max_size = limit if self._max_size is None else min(limit, self._max_size)
        # the same mailbox named twice gets the message once
        self._recipients.setdefault(
            address.lower(),
            Recipient(
                address=address,
                domain=finding.domain,
                notify=event.parameters.notify,
                orcpt=event.parameters.orcpt,
            ),
        )
        return None

    def _goes_apart(self, finding: Finding) -> bool:
        """Whether the body, whose size nobody has said, might be refused at its end for one
        recipient's sake and lost for the others'.
        """
        return (
            self._mail.size is None
            and bool(self._recipients)
            and finding.verdict is Verdict.ACCEPT
            and finding.max_size != self._max_size
        )

    def _trapped(self, address: str, finding: Finding) -> None:
        """Note that the client wrote to a honeypot: a fact for whoever judges it later."""
        self.honeypots.append(address)
        self._house.sink(
            HoneypotHit(
                session=self._client.session,
                client=self._client.address,
                sender=self._sender,
                recipient=address,
                source=finding.source or "",
            )
        )

    def _refuse_recipient(self, address: str, refusal: Reply, finding: Finding) -> None:
        self._house.sink(
            CommandRefused(
                session=self._client.session,
                client=self._client.address,
                command="RCPT",
                sender=self._sender,
                recipient=address,
                reply=str(refusal),
                reason=finding.reason or finding.confidence.value,
            )
        )

    def start_body(self) -> Reply | None:
        """The body is about to come."""
        refusal = self._house.admission.refusal(self._mail.size or 0)
        if refusal is None and self._recipients:
            self._intake = self._house.spool.open(self.queue_id)
        return refusal

    def add_body(self, piece: bytes) -> Awaitable[None] | None:
        """A piece of the body; await what is returned before the next one."""
        self.size += len(piece)
        if self.failure is not None or self._intake is None:
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
        self._hops.feed(piece)
        return self._intake.write(piece)

    def write_failed(self, error: SpoolError) -> None:
        """A piece could not be stored: read on to the end of the body, then say so."""
        self.failure = reply_to(error)
        self.abort()

    def commit(self) -> Awaitable[Receipt] | Reply:
        """The body is complete: store the message, or say why not."""
        if self._hops.looping:
            self.failure = LOOP
        if self.failure is not None or self._intake is None:
            self.abort()
            return self.refused(self.failure or LOOP, self._why_refused())
        house = self._house
        now = house.clock()
        envelope = Envelope(
            sender=self._sender,
            recipients=tuple(self._recipients.values()),
            body=self._mail.body,
            smtputf8=self._mail.smtputf8,
            ret=self._mail.ret,
            envid=self._mail.envid,
        )
        message = NewMessage(
            queue_id=self.queue_id,
            received_at=now,
            envelope=envelope,
            client=self._client,
            trace=received(
                self.queue_id, envelope, self._client, hostname=house.config.hostname, time=now
            ),
            evidence=Evidence(notes=tuple(f"honeypot: {one}" for one in self.honeypots)),
        )
        return self._intake.commit(message)

    @property
    def swallowed(self) -> bool:
        """Whether all that it is for are honeypots whose mail is swallowed."""
        return not self._recipients and self.failure is None

    def swallow(self) -> None:
        """The body has come, and nobody wants it: say so in the log."""
        self._house.sink(
            MessageSwallowed(
                session=self._client.session,
                client=self._client.address,
                message=self.queue_id,
                sender=self._sender,
                recipients=tuple(self.honeypots),
                size=self.size,
            )
        )

    def _why_refused(self) -> str:
        if self._hops.looping:
            return "loop"
        return "size" if self.failure is TOO_LARGE else "spool"

    def accepted(self) -> None:
        """The spool holds the message: tell the log, and those who bring it home."""
        house, client = self._house, self._client
        recipients = self._recipients.values()
        house.sink(
            MessageAccepted(
                message=self.queue_id,
                session=client.session,
                client=client.address,
                helo=client.helo,
                protocol=client.protocol,
                sender=self._sender,
                recipients=tuple([r.address for r in recipients]),
                size=self._intake.size if self._intake else 0,
                tls=client.tls,
            )
        )
        house.on_accepted({r.domain for r in recipients})

    def commit_failed(self, error: SpoolError) -> Reply:
        """The spool could not store the message."""
        self.abort()
        return self.refused(reply_to(error), str(error))

    def refused(self, why: Reply, reason: str) -> Reply:
        """Log that the message as a whole was not taken."""
        self._house.sink(
            MessageRefused(
                session=self._client.session,
                client=self._client.address,
                message=self.queue_id,
                sender=self._sender,
                recipients=tuple(r.address for r in self._recipients.values()),
                reply=str(why),
                reason=reason,
            )
        )
        return why

    def abort(self) -> None:
        """Forget the body. May be called at any time, more than once."""
        if self._intake is not None:
            self._intake.abort()
            self._intake = None
