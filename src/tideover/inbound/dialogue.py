"""What a client says, answered: events of `smtp.ServerSession` go in, answers go out.

Knows no socket. The spool, a source of recipients or policy is waited for by a future with a
callback, so that an ordinary message costs no task.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from msgspec.structs import replace

from tideover.events.records import CommandRefused
from tideover.inbound.house import House
from tideover.inbound.patience import Patience
from tideover.inbound.transaction import Transaction
from tideover.message.envelope import Client
from tideover.policy.session import SessionPolicy
from tideover.smtp.events import (
    BodyChunk,
    BodyEnd,
    BodyRejected,
    BodyStart,
    Closing,
    CommandRejected,
    Event,
    Hello,
    MailFrom,
    RcptTo,
    Reset,
    StartTls,
)
from tideover.smtp.receipt import Receipt
from tideover.smtp.replies import Reply
from tideover.smtp.server import ServerSession
from tideover.smtp.states import State
from tideover.spool.interface import SpoolError


class Line(Protocol):
    """The connection, as the dialogue needs it."""

    @property
    def gone(self) -> bool:
        """Whether nothing can be said any more."""

    def go_on(self) -> None:
        """What was waited for is there: look at the next event."""

    def start_tls(self) -> None:
        """Say yes to STARTTLS and begin the handshake."""

    def finish(self, reason: str) -> None:
        """The session is over: send what is still to be said and close."""


class Dialogue:
    """One client's session. `close` it when the connection is gone."""

    def __init__(
        self, house: House, session: ServerSession, client: Client, line: Line, patience: Patience,
        *, early: bool,
    ) -> None:  # fmt: skip
        self._house = house
        self._session = session
        self._line = line
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._policy = SessionPolicy(house.chain, client, early=early)
        self._transaction: Transaction | None = None
        self._waiting_since = 0.0
        self.client = client
        self.waiting: asyncio.Future[object] | None = None
        self.accepted = 0
        self.refused = 0
        self.honeypots = 0

    def handle(self, event: Event) -> None:
        """Answer an event, now or when what it needs is there."""
        match event:
            case RcptTo():
                self._answer_when_known(self._current.to.add(event))
            case MailFrom():
                self._begin(event)
            case BodyStart(chunking=chunking):
                if not chunking and self._session.buffered:
                    self._policy.pipelined()  # DATA ends a group of commands (RFC 2920 §3.1)
                self._answer_when_known(self._current.start_body(chunking=chunking))
            case BodyChunk(data=data):
                stored = self._current.add_body(data)
                if stored is not None:
                    self._wait(stored, self._piece_stored)
            case BodyEnd():
                self._end_of_body(self._current)
            case BodyRejected(reply=why):
                self.refused += 1
                self._current.refused(why, "body")
                self._current.close()
            case CommandRejected():
                self._log_rejected(event)
            case Hello(name=name, extended=extended):
                self._hello(name, extended=extended)
            case StartTls():
                self._line.start_tls()
            case Reset():
                self._current.close()
            case Closing(reason=reason):
                self._line.finish(reason)

    def secured(self, tls: str) -> None:
        """The session begins anew, by TLS."""
        self.client = replace(self.client, helo="", protocol="ESMTPS", tls=tls)

    def give_up(self) -> None:
        """The session ends early. What is awaited goes on: it may be durable already."""
        if self._transaction is not None and self.waiting is None:
            self._transaction.close()

    def close(self) -> None:
        """The connection is gone."""
        self.give_up()
        if self._transaction is not None:
            self._transaction.leave()
        self._count_honeypots()
        self._policy.close()

    # Answers

    def _begin(self, event: MailFrom) -> None:
        self._count_honeypots()
        if self._transaction is not None:
            self._transaction.close()
        if self.client.protocol == "SMTP" and self._session.buffered:
            self._policy.pipelined()  # HELO offers no PIPELINING
        self._transaction = Transaction(
            self._house, self.client, event, self._policy, self.honeypots
        )
        self._answer(self._transaction.check_sender())

    def _hello(self, name: str, *, extended: bool) -> None:
        protocol = ("ESMTPS" if self._session.secure else "ESMTP") if extended else "SMTP"
        self.client = replace(self.client, helo=name, protocol=protocol)
        # EHLO ends a group of commands (RFC 2920 §3.1): what is offered is not known before
        self._policy.hello(self.client, pipelined=bool(self._session.buffered))
        self._session.accept()

    def _answer(self, answer: Reply | None) -> None:
        """None is yes; a 2xx is the primary's own yes."""
        if answer is None or answer.positive:
            self._session.accept(answer)
        else:
            self.refused += 1
            self._session.reply(answer)
            if self._session.state is State.READY and self._transaction is not None:
                self._transaction.close()  # a BDAT that is refused ends it (RFC 3030 §2)

    def _answer_when_known(self, answer: Awaitable[Reply | None] | Reply | None) -> None:
        if answer is None or isinstance(answer, Reply):
            self._answer(answer)
        else:
            self._wait(answer, self._known)

    def _end_of_body(self, transaction: Transaction) -> None:
        if transaction.swallowed:
            transaction.swallow()
            self._session.swallow_message(transaction.queue_id)
            return
        refusal = transaction.judge()
        if refusal is None:
            self._wait(transaction.commit(), self._committed)
        elif isinstance(refusal, Reply):
            transaction.close()
            self._answer(refusal)
        else:
            self._wait(refusal, self._judged)

    def _count_honeypots(self) -> None:
        """Those of the transaction before: a fact on the session, for whoever judges the client."""
        if self._transaction is not None:
            self.honeypots += len(self._transaction.to.honeypots)
            self._transaction.to.honeypots.clear()

    @property
    def _current(self) -> Transaction:
        if self._transaction is None:
            raise AssertionError("the session reports no such event outside a transaction")
        return self._transaction

    def _log_rejected(self, event: CommandRejected) -> None:
        self.refused += 1
        self._house.sink(
            CommandRefused(
                session=self.client.session,
                client=self.client.address,
                command=event.verb,
                recipient=event.argument if event.verb == "RCPT" else None,
                sender=event.argument if event.verb == "MAIL" else None,
                reply=str(event.reply),
                reason="syntax",
            )
        )

    # Waiting for the spool, for a source of recipients, or for policy

    def _wait(self, what: Awaitable[object], then: Callable[..., None]) -> None:
        self.waiting = asyncio.ensure_future(what)
        self._waiting_since = self._loop.time()
        self.waiting.add_done_callback(then)

    def _waited(self, future: "asyncio.Future[Any]") -> bool:
        """False: all ends, and nobody is left to be answered."""
        self.waiting = None
        if future.cancelled():
            return False
        self._patience.held_up(self._waiting_since, self._loop.time())
        return True

    def _known(self, future: "asyncio.Future[Reply | None]") -> None:
        if not self._waited(future):
            return
        error = future.exception()
        if self._line.gone:
            self._current.close()
        elif error is None:
            self._answer(future.result())
        else:
            self._answer(self._current.failed(error))
        self._line.go_on()

    def _piece_stored(self, future: "asyncio.Future[None]") -> None:
        if not self._waited(future):
            return
        try:
            future.result()
        except Exception as error:  # trouble with the disk, or a bug of ours
            self._current.write_failed(error)
        if self._line.gone:
            self._current.close()
        self._line.go_on()

    def _judged(self, future: "asyncio.Future[Reply | None]") -> None:
        """What policy says of the message. Whoever has gone meanwhile will come again with it."""
        if not self._waited(future):
            return
        refusal = future.result()
        if self._line.gone:
            self._current.close()
            return
        if refusal is None:
            self._wait(self._current.commit(), self._committed)
            return
        self._current.close()
        self._answer(refusal)
        self._line.go_on()

    def _committed(self, future: "asyncio.Future[Receipt]") -> None:
        """I1: the message is durable (or is not); only now is it answered."""
        if not self._waited(future):
            return
        try:
            receipt = future.result()
        except SpoolError as error:
            refusal = self._current.commit_failed(error)
            self._current.close()
            if not self._line.gone:
                self._answer(refusal)
        else:
            self.accepted += 1
            self._current.accepted()
            if not self._line.gone:
                self._session.accept_message(receipt)
        self._line.go_on()
