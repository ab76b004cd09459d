"""What is told of one transaction: to the event log, for operators and `explain`."""

from collections.abc import Iterable, Sequence

from tideover.events.event import EventSink
from tideover.events.pass_records import (
    ClientCutOff,
    PassedRefused,
    PassedThrough,
    PassThroughLost,
)
from tideover.events.policy_records import CheckFailed
from tideover.events.recipient_records import HoneypotHit, MessageSwallowed
from tideover.events.records import CommandRefused, MessageAccepted, MessageRefused
from tideover.message.envelope import Client, QueueId, Recipient
from tideover.primary.relay import Gone
from tideover.smtp.receipt import Receipt
from tideover.smtp.replies import Reply


class TransactionLog:
    """Tells what happens to the message `queue_id` of a client and sender."""

    __slots__ = ("_client", "_queue_id", "_sender", "_sink")

    def __init__(self, sink: EventSink, client: Client, queue_id: QueueId, sender: str) -> None:
        self._sink = sink
        self._client = client
        self._queue_id = queue_id
        self._sender = sender

    def trapped(self, address: str, source: str) -> None:
        """The client wrote to a honeypot: a fact for whoever judges it later."""
        self._sink(
            HoneypotHit(
                session=self._client.session,
                client=self._client.address,
                sender=self._sender,
                recipient=address,
                source=source,
            )
        )

    def recipient_refused(self, address: str, refusal: Reply, reason: str) -> None:
        """A RCPT was answered with no."""
        self._sink(
            CommandRefused(
                session=self._client.session,
                client=self._client.address,
                command="RCPT",
                sender=self._sender,
                recipient=address,
                reply=str(refusal),
                reason=reason,
            )
        )

    def refused(self, recipients: Iterable[Recipient], why: Reply, reason: str) -> None:
        """The message as a whole was not taken."""
        self._sink(
            MessageRefused(
                session=self._client.session,
                client=self._client.address,
                message=self._queue_id,
                sender=self._sender,
                recipients=tuple([one.address for one in recipients]),
                reply=str(why),
                reason=reason,
            )
        )

    def swallowed(self, honeypots: Sequence[str], size: int) -> None:
        """The body has come, and nobody wanted it."""
        self._sink(
            MessageSwallowed(
                session=self._client.session,
                client=self._client.address,
                message=self._queue_id,
                sender=self._sender,
                recipients=tuple(honeypots),
                size=size,
            )
        )

    def accepted(self, recipients: Iterable[Recipient], size: int, held: str | None) -> None:
        """The spool holds the message."""
        client = self._client
        self._sink(
            MessageAccepted(
                message=self._queue_id,
                session=client.session,
                client=client.address,
                helo=client.helo,
                protocol=client.protocol,
                sender=self._sender,
                recipients=tuple([one.address for one in recipients]),
                size=size,
                tls=client.tls,
                held=held,
            )
        )

    def passed(
        self, recipients: tuple[str, ...], size: int, host: str, told: str, receipt: Receipt
    ) -> None:
        """The primary has the message."""
        client = self._client
        self._sink(
            PassedThrough(
                message=self._queue_id,
                session=client.session,
                client=client.address,
                helo=client.helo,
                protocol=client.protocol,
                sender=self._sender,
                recipients=recipients,
                size=size,
                host=host,
                told=told,
                reply=str(receipt.reply or ""),
                tls=client.tls,
            )
        )

    def pass_refused(
        self, recipients: tuple[str, ...], domain: str, host: str, stage: str, why: Reply
    ) -> None:
        """The primary said no."""
        self._sink(
            PassedRefused(
                message=self._queue_id,
                session=self._client.session,
                client=self._client.address,
                domain=domain,
                sender=self._sender,
                recipients=recipients,
                host=host,
                reply=str(why),
                stage=stage,
            )
        )

    def pass_lost(
        self, recipients: tuple[str, ...], domain: str, host: str, stage: str, gone: Gone
    ) -> None:
        """The primary has no verdict."""
        said, reason = str(gone.reply or ""), gone.text
        self._sink(
            PassThroughLost(
                message=self._queue_id,
                session=self._client.session,
                client=self._client.address,
                domain=domain,
                recipients=recipients,
                host=host,
                stage=stage,
                reason=reason if said in reason else f"{reason}: {said}",
                maybe_delivered=gone.after_dot,
            )
        )

    def cut_off(self, recipient: str, domain: str, why: str) -> None:
        """The client is served although the primary is up."""
        self._sink(
            ClientCutOff(
                message=self._queue_id,
                session=self._client.session,
                client=self._client.address,
                domain=domain,
                sender=self._sender,
                recipient=recipient,
                reason=why,
            )
        )

    def failed(self, error: BaseException) -> None:
        """There is a bug of ours."""
        reason = f"{type(error).__name__}: {error}"[:200]
        self._sink(CheckFailed(check="transaction", reason=reason))
