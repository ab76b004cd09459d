"""Whom one message is for: each RCPT asked of the primary, or of our own lists and policy.

A transaction goes one way only: to one primary, or into the queue. Who needs another way is asked
to come apart (RFC 5321 §4.5.3.1.10), as one reply answers a body.
"""

from collections.abc import Awaitable
from typing import Final

from tideover.inbound.house import House
from tideover.inbound.passing import Passing, opened
from tideover.inbound.posture import DEFERRED, QUEUED, Mode, Way
from tideover.inbound.transaction_log import TransactionLog
from tideover.message.envelope import Client, Envelope, QueueId, Recipient
from tideover.message.received import received
from tideover.policy.transaction import TransactionPolicy
from tideover.primary.relay import Gone
from tideover.recipients.answer import answer
from tideover.recipients.interface import Confidence, Finding
from tideover.recipients.interface import Verdict as Known
from tideover.smtp.events import MailFrom, RcptTo
from tideover.smtp.replies import Reply, reply

TOO_LARGE: Final = reply(552, "5.3.4", "Message too large for this recipient")
APART: Final = reply(452, "4.5.3", "This recipient takes another size; send it apart")
ELSEWHERE: Final = reply(452, "4.5.3", "This recipient's mail goes another way; send it apart")


class Recipients:
    """The recipients of the message `queue_id`. Answers are as in `transaction`.

    `passing` is the transaction at the primary, once there is one; `failure` what policy has
    against those whom the primary took before it was lost; `max_size` the least of their limits.
    """

    __slots__ = ("_client", "_house", "_log", "_mail", "_policy", "_queue_id", "_sender",
                 "_trapped", "_without", "failure", "honeypots", "max_size", "passing",
                 "taken")  # fmt: skip

    def __init__(
        self, house: House, client: Client, mail: MailFrom, queue_id: QueueId,
        policy: TransactionPolicy, log: TransactionLog, trapped: int,
    ) -> None:  # fmt: skip
        """`trapped` says how many honeypots the session wrote to before."""
        self._house = house
        self._client = client
        self._mail = mail.parameters
        self._sender = mail.sender.text if mail.sender else ""
        self._queue_id = queue_id
        self._policy = policy
        self._log = log
        self._trapped = trapped
        self._without: str | None = None  # the primary that had no verdict
        self.taken: dict[str, Recipient] = {}
        self.passing: Passing | None = None
        self.failure: Reply | None = None
        self.max_size: int | None = None
        self.honeypots: list[str] = []

    def add(self, event: RcptTo) -> Awaitable[Reply | None] | Reply | None:
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
            if self.answered is not None and self.answered.way.key == way.key:
                way = self.answered.way
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
        if self.answered is not None:
            return ELSEWHERE
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
        passing = self.passing
        if passing is not None and not passing.taken and (passing.way != way or self.taken):
            passing.close()
            passing = self.passing = None
        if (passing is not None and passing.way != way) or (passing is None and self.taken):
            return ELSEWHERE
        gate = self._house.gate
        if passing is None and gate is not None:
            size = (self._mail.size or 0) and self._mail.size + len(self.received())
            found = await opened(gate, way, recipient, self._client, self.envelope, size, self._log)
            if isinstance(found, Reply):
                return found
            passing = self.passing = found if isinstance(found, Passing) else None
        if passing is None:
            self._without = way.key
            return await self._as_in_an_outage(event, address, domain)
        answer = await passing.recipient(recipient, event.recipient.local)
        if isinstance(answer, Gone):
            await self.go_on_without(passing, answer)
            return await self._as_in_an_outage(event, address, domain)
        if answer.positive:
            self.taken[address.lower()] = recipient
        return answer

    async def _as_in_an_outage(self, event: RcptTo, address: str, domain: str) -> Reply | None:
        answer = self._add_to_queue(event, address, domain, QUEUED)
        return answer if answer is None or isinstance(answer, Reply) else await answer

    async def go_on_without(self, passing: Passing, gone: Gone) -> Reply | None:
        """The primary has no verdict. Whom it took stays taken; what policy has against them now is
        returned, to be said at the end of the body, as they have heard a yes.
        """
        passing.lost(gone)
        self.passing = None
        self._without = passing.way.key
        for recipient, local in passing.taken:
            verdict = self._policy.recipient(recipient, local, self._trapped + len(self.honeypots))
            if verdict is not None and not isinstance(verdict, Reply):
                verdict = await verdict
            self.failure = self.failure or verdict
        return self.failure

    @property
    def answered(self) -> Passing | None:
        """The transaction at the primary, when the message goes there."""
        passing = self.passing
        return passing if passing is not None and passing.taken else None

    # For the queue

    def _judge(
        self, event: RcptTo, address: str, finding: Finding
    ) -> Awaitable[Reply | None] | Reply | None:
        """Act on what is known of a recipient, then ask policy."""
        if finding.confidence is Confidence.HONEYPOT:
            self.honeypots.append(address)
            self._log.trapped(address, finding.source or "")
        reason = finding.reason or finding.confidence.value
        refusal = self._refusal(finding)
        if refusal is None:
            # MAIL may have been taken for the sake of domains whose mail goes through
            refusal, reason = self._house.admission.refusal(self._mail.size or 0), "spool"
        if refusal is not None:
            self._log.recipient_refused(address, refusal, reason)
            return refusal
        if finding.verdict is Known.SWALLOW or address.lower() in self.taken:
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

    def _refusal(self, finding: Finding) -> Reply | None:
        """What speaks against a recipient by itself, or in this transaction."""
        refusal = answer(finding)
        limit = finding.max_size
        if refusal is None and (self._mail.size or self._mail.smtputf8):
            refusal = self._house.unmet(finding.domain, self._mail)
        if refusal is None and limit is not None and (self._mail.size or 0) > limit:
            return TOO_LARGE
        if refusal is None and self._goes_apart(finding):
            return APART
        return refusal

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
            self.max_size = limit if self.max_size is None else min(limit, self.max_size)
        self.taken[recipient.address.lower()] = recipient
        return None

    def _goes_apart(self, finding: Finding) -> bool:
        """Whether the body, whose size nobody has said, might be refused at its end for one
        recipient's sake and lost for the others'.
        """
        return (
            self._mail.size is None
            and bool(self.taken)
            and finding.verdict is Known.ACCEPT
            and finding.max_size != self.max_size
        )

    def received(self) -> bytes:
        """The Received field that goes before the message."""
        return received(
            self._queue_id, self.envelope, self._client,
            hostname=self._house.config.hostname, time=self._house.clock(),
        )  # fmt: skip

    @property
    def envelope(self) -> Envelope:
        """As far as it is known."""
        return Envelope(
            sender=self._sender,
            recipients=tuple(self.taken.values()),
            body=self._mail.body,
            smtputf8=self._mail.smtputf8,
            ret=self._mail.ret,
            envid=self._mail.envid,
        )
