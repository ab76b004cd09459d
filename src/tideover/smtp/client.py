"""The client side of SMTP as a sans-I/O core: bytes in, bytes out, events out (RFC 5321).

A `ClientSession` is one connection; a transaction is one message on it. It never does I/O, reads
no clock and decides no policy: whether to ask for TLS, how long to wait and what to do with a
verdict are its owner's matter.

The owner's loop::

    receive_data(bytes) / connection_lost(why)  ->  events
    after each call: data_to_send()             ->  bytes for the wire

    Ready            begin(mail) | inquire(mail) | start_tls() | quit()
    TlsGoAhead       do the handshake, then tls_established()
    SendBody         send_body(piece) …, send_body(piece, last=True)
    TransactionEnded begin(next mail) | quit()
    InquiryEnded     the same
    SessionEnded     close the connection

By hand, for one who passes on what somebody else says (see `client_talk`)::

    converse(commands) ->  Replied for each; after DATA's 354, or for chunks,
    send_octets(…)     ->  Replied to the end of data; then `ready` again

How replies find their commands: every command sent puts its `Command` on a queue; each reply
answers the oldest. What follows from it is said in `client_hello`, `client_transaction` and
`client_talk`. With PIPELINING (RFC 2920) MAIL, all RCPTs and DATA leave in one piece; without it
each waits for the reply to the one before. All else is the same for both.

DATA is the default and BDAT is used only where DATA can't express the message (its last line lacks
CRLF): with DATA a refusal of all recipients is known before any of the body is sent, and the body
takes no more round trips than with BDAT, which can't be sent before the replies to RCPT either.

Invariants:
- A verdict `Taken` comes only from a 2xx to the end of data.
- The end of data leaves only after all of the body (see `client_body`).
- Nothing that arrived in clear is used after STARTTLS (RFC 3207 §6).
- Each transaction ends with exactly one `TransactionEnded` that has a verdict for each recipient,
  whatever the server does; each inquiry with one `InquiryEnded`. (By hand the owner counts.)
- An inquiry never sends DATA.
"""

from collections import deque
from collections.abc import Sequence

from tideover.smtp.capabilities import Capabilities
from tideover.smtp.client_hello import Fail, Introduction, Say
from tideover.smtp.client_talk import BY_HAND, Line, Talk
from tideover.smtp.client_transaction import RSET, Step, Transaction
from tideover.smtp.client_values import (
    ClientEvent,
    Command,
    Declined,
    Lost,
    Mail,
    Replied,
    SendBody,
    SessionEnded,
)
from tideover.smtp.replies import Reply
from tideover.smtp.reply_parser import ReplyParser

_SEND_BODY = SendBody()

_CLOSES = "the server closes the connection"
# RFC 3207 §6, CVE-2011-0411: sent in clear in order to be taken for a reply under TLS.
_INJECTED = "octets in clear after STARTTLS"


class WrongOrder(RuntimeError):  # noqa: N818 - says what happened, not that it is an error
    """The owner called a method that the session's state doesn't allow: a fault in our code."""


class ClientSession:
    """One connection to a server, seen from the client. `hostname` is our name in EHLO."""

    def __init__(self, hostname: str) -> None:
        self.answered = 0  # replies taken in so far
        self.hello = Introduction(hostname)
        self._parser = ReplyParser()
        self._expected: deque[Command] = deque((Command.GREETING,))
        self._waiting: deque[Line] = deque()  # commands not sent yet
        self._out: list[bytes] = []
        self._events: list[ClientEvent] = []
        self._transaction: Transaction | None = None
        self._talk = Talk()
        self._ready = False
        self._closed = False

    # What the owner asks

    @property
    def capabilities(self) -> Capabilities:
        """What the server offers, as it said last."""
        return self.hello.capabilities

    @property
    def ready(self) -> bool:
        """Whether a transaction may begin now."""
        return self._ready and not (self._closed or self._transaction or self._talk.under_way)

    @property
    def needs_reset(self) -> bool:
        """Whether a transaction is open at the server that is over for us (or is by hand)."""
        return self._talk.opened

    @property
    def closed(self) -> bool:
        """Whether the session has ended."""
        return self._closed

    @property
    def sending(self) -> bool:
        """Whether the server waits for (more of) the body."""
        part = self._transaction or self._talk
        return part.body is not None and not part.body_sent

    @property
    def body_left(self) -> bool:
        """Whether a body by hand and its end have left, as far as is known, and none knows what
        became of it.
        """
        return self._talk.body_sent

    @property
    def awaited(self) -> Command | None:
        """The command whose reply is due next, None when none is."""
        return self._expected[0] if self._expected else None

    def data_to_send(self) -> bytes:
        """What to write to the connection now. Each octet is given out once."""
        out = self._out
        if not out:
            return b""
        self._out = []
        return out[0] if len(out) == 1 else b"".join(out)

    # What the owner tells: the wire

    def receive_data(self, data: bytes) -> list[ClientEvent]:
        """Take in what arrived, and say what it means."""
        events = self._new_events()
        if self._closed:
            return events
        for reply in self._parser.feed(data):
            self._on_reply(reply)
            if self.closed:
                return events
        if self._parser.error is not None:
            self._end(self._parser.error)
        elif self.hello.handshaking and self._parser.pending:
            self._end(_INJECTED)
        return events

    def receive_eof(self) -> list[ClientEvent]:
        """The server closed the connection."""
        return self.connection_lost("connection closed by the other side")

    def connection_lost(self, text: str, *, unsent: bool = False) -> list[ClientEvent]:
        """The connection is gone, or its owner gives it up (timeout, shutdown); `text` says why.

        `unsent`: some of what `data_to_send` gave is known not to have left.
        """
        events = self._new_events()
        if not self._closed:
            if unsent:
                (self._transaction or self._talk).body_sent = False
            self._end(text)
        return events

    # What the owner tells: intentions

    def start_tls(self) -> None:
        """Ask for TLS (RFC 3207). Leads to `TlsGoAhead`, `TlsRefused` or `SessionEnded`."""
        if not self.ready or self._expected or self.hello.secure or not self.capabilities.starttls:
            raise WrongOrder("STARTTLS now")
        self._ready = False
        self._send(Command.STARTTLS, b"STARTTLS\r\n")

    def tls_established(self) -> None:
        """The handshake is done. All knowledge of the server is dropped and EHLO said again."""
        if not self.hello.handshaking:
            raise WrongOrder("TLS without STARTTLS")
        self._parser = ReplyParser()
        say = self.hello.tls_established()
        self._send(say.command, say.line)

    def begin(self, mail: Mail, preface: Sequence[Line] = ()) -> None:
        """Start a transaction. Check `client_commands.unmet_need` before.

        `preface`: lines of XFORWARD to go before it; the mail goes whatever their replies, of each
        of which a `Replied` tells.

        Raises:
            WrongOrder: not `ready`.
            ValueError: no recipients, or an address with a line break. Nothing was sent then.
        """
        if not self.ready:
            raise WrongOrder("MAIL now")
        if not mail.recipients:
            raise ValueError("no recipients")
        self._open(Transaction(mail, self.capabilities), preface)

    def inquire(self, mail: Mail) -> None:
        """Ask whether mail for one recipient would be taken: MAIL, RCPT, RSET, and no message.

        RSET is pipelined too (RFC 2920 §3.1), so that nothing stays open on the server's side.

        Raises:
            WrongOrder: not `ready`.
            ValueError: not one recipient, or an address with a line break. Nothing was sent then.
        """
        if not self.ready:
            raise WrongOrder("MAIL now")
        (_,) = mail.recipients
        self._open(Transaction(mail, self.capabilities, inquiry=True))

    def send_body(self, data: bytes, *, last: bool = False) -> None:
        """The next piece of the body, after `SendBody`; with `last` the end of data follows it.

        After the session has ended pieces are dropped: the owner may learn of it later.

        Raises:
            WrongOrder: the server doesn't wait for a body.
            BodySizeError: not what `Mail.size` announced; drop the connection.
        """
        if self._closed:
            return
        transaction = self._transaction
        if transaction is None or transaction.body is None or transaction.body_sent:
            raise WrongOrder("body now")
        self._out.append(transaction.body.encode(data, last=last))
        transaction.body_sent = last

    def converse(self, commands: Sequence[Line]) -> None:
        """Say these commands by hand. Leads to a `Replied` for each, or to `SessionEnded`.

        Raises:
            WrongOrder: not `ready`, or not a command to be said by hand.
        """
        if not self.ready or any(command not in BY_HAND for command, _ in commands):
            raise WrongOrder("commands by hand now")
        self._talk.say(commands)
        self._send_group()

    def send_octets(self, data: bytes, *, chunk: bool = False, last: bool = False) -> None:
        """Octets of a body by hand, as they go over the wire; with `last` up to the end of data.

        After DATA and 354 they are dot-stuffed by the owner, whose matter the final dot is; as a
        `chunk` they are one whole BDAT with its octets. Dropped after the session has ended.

        Raises:
            WrongOrder: the server doesn't wait for that.
        """
        if self._closed:
            return
        if not self._talk.may_send(chunk=chunk):
            raise WrongOrder("body now")
        self._out.append(data)
        command = self._talk.sent(chunk=chunk, last=last)
        if chunk and command is not None:
            self._expected.append(command)

    def quit(self) -> None:
        """Say goodbye. Leads to `SessionEnded`."""
        if self._closed or self._transaction is not None or self.hello.handshaking:
            raise WrongOrder("QUIT now")
        self._ready = False
        self._send(Command.QUIT, b"QUIT\r\n")

    # Replies

    def _on_reply(self, reply: Reply) -> None:
        self.answered += 1
        if not self._expected:
            if self.hello.handshaking:
                self._end(_INJECTED)
            elif reply.code == 421:  # RFC 5321 §3.8: before it closes an idle connection
                self._end(_CLOSES, reply)
            else:
                self._end("reply to no command", reply)
            return
        command = self._expected.popleft()
        if reply.code == 421 and command is not Command.QUIT:
            self._shutting_down(command, reply)
        elif self._transaction is not None:
            self._on_transaction(self._transaction, command, reply)
        elif self._talk.under_way:
            self._on_talk(command, reply)
        elif command is Command.QUIT:
            self._end("quit", reply, expected=True)
        else:
            self._on_introduction(command, reply)

    def _shutting_down(self, command: Command, reply: Reply) -> None:
        """421 may answer any command (RFC 5321 §3.8): nothing that is open was accepted."""
        if self._transaction is not None:
            self._transaction.settle(Declined(reply, command))
        self._talk.body_sent = False
        self._end(_CLOSES, reply)

    def _on_introduction(self, command: Command, reply: Reply) -> None:
        step = self.hello.on_reply(command, reply)
        if isinstance(step, Say):
            self._send(step.command, step.line)
        elif isinstance(step, Fail):
            self._end(step.text, reply)
        else:
            self._ready = not self.hello.handshaking
            self._events.append(step)

    def _on_talk(self, command: Command, reply: Reply) -> None:
        wrong = self._talk.on_reply(command, reply)
        if wrong is not None:
            self._end(wrong, reply)
            return
        if reply.code // 100 == 2 and command is Command.EHLO:
            self.hello.again(reply)
        if reply.code == 354:
            self._expected.append(Command.BODY)
        self._events.append(Replied(command, reply))
        self._send_group()

    def _on_transaction(self, transaction: Transaction, command: Command, reply: Reply) -> None:
        step = transaction.on_reply(command, reply)
        if step is Step.GO_ON:
            self._send_next()
        elif step is Step.BODY:
            self._expected.append(Command.BODY)
            self._events.append(_SEND_BODY)
        elif step is Step.END:
            self._waiting.clear()
            self._finish(transaction)
        elif step is Step.NO_BODY:
            self._send(Command.BODY, b".\r\n")
        elif isinstance(step, Replied):
            self._events.append(step)
            self._send_next()
        else:
            self._end(step.text, step.reply)

    # Ends

    def _finish(self, transaction: Transaction) -> None:
        """The transaction has come to its end and the session can go on."""
        self._talk.opened = transaction.opened
        self._transaction = None
        self._events.append(transaction.end())

    def _end(self, text: str, reply: Reply | None = None, *, expected: bool = False) -> None:
        """Nothing more can be said on this connection."""
        self._closed = True
        transaction = self._transaction
        if transaction is not None:
            transaction.settle(Lost(text, transaction.body_sent and transaction.accepted > 0))
            self._finish(transaction)
        self._expected.clear()
        self._waiting.clear()
        self._out.clear()
        self._events.append(SessionEnded(text, reply, expected))

    # Parts of the above

    def _new_events(self) -> list[ClientEvent]:
        self._events = []
        return self._events

    def _send(self, command: Command, line: bytes) -> None:
        self._expected.append(command)
        self._out.append(line)

    def _open(self, transaction: Transaction, preface: Sequence[Line] = ()) -> None:
        """Send a transaction's commands: in one piece, or one by one without PIPELINING."""
        commands = [*preface, *transaction.commands()]
        if self._talk.opened:
            commands.insert(0, RSET)
            self._talk.opened = False
        self._transaction = transaction
        if self.capabilities.pipelining:
            for command, line in commands:
                self._send(command, line)
        else:
            self._waiting.extend(commands)
            self._send_next()

    def _send_group(self) -> None:
        """By hand: the next group of commands, once those before are answered."""
        for command, line in self._talk.group(pipelining=self.capabilities.pipelining):
            self._send(command, line)

    def _send_next(self) -> None:
        """Without PIPELINING: the next command of the transaction. With it all are sent."""
        if self._waiting:
            self._send(*self._waiting.popleft())
