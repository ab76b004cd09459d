"""The server side of SMTP, sans I/O: bytes in, events out, answers in, bytes out.

Use: `receive_data` what came from the wire, then call `next_event` until it returns a `Signal`;
answer each event as its docstring says; send `data_to_send`. While an event awaits its answer
`next_event` returns `PAUSED`, so pipelined input waits without locks.

Answered here without asking: NOOP, RSET, HELP, VRFY, EXPN, QUIT, everything out of order, too
long, misspelt or not offered. Never here: I/O, clock, log, policy.

Invariants: I1, the final 250 needs a `Receipt`. I10, only CRLF ends a line and only CRLF.CRLF
a body. I11, nothing sent in clear behind STARTTLS is ever executed.
"""

# mypy: disable-error-code="func-returns-value"
# `return self._error(...)` ends a handler in one line: answered, and no event to report.

from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from tideover.smtp import answers
from tideover.smtp.commands import read_bdat, read_mail, read_name, read_rcpt
from tideover.smtp.events import (
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
    Signal,
    StartTls,
)
from tideover.smtp.incoming import MAX_DISCARD, IncomingBody, Progress
from tideover.smtp.offer import ServerOptions, ehlo_reply, helo_reply
from tideover.smtp.receipt import Receipt
from tideover.smtp.replies import Reply, reply
from tideover.smtp.states import IN_ORDER, TRANSITIONS, State, Step

# RFC 5321 §4.5.3.1.4 allows 512 octets; extensions lengthen MAIL (SIZE 26, BODY 17, SMTPUTF8 10,
# DSN 113) and RCPT (DSN 543), and RFC 6531 §3.4 lengthens both for UTF-8 addresses.
LINE_LIMIT: Final = 512
MAIL_LIMIT: Final = 512 + 26 + 17 + 10 + 113 + 256
RCPT_LIMIT: Final = 512 + 543 + 256
MAX_ERRORS: Final = 20
MAX_JUNK: Final = 100
# Recipients beyond the limit, or that can't be checked now, before a message is taken. No error of
# a client with a long list, since the others must get their mail (RFC 5321 §4.5.3.1.10).
MAX_DEFERRED: Final = 1000
# Where without input there can't be an event: looked at first, as most looks end there.
_IDLE: Final = frozenset({State.NEW, State.READY, State.MAIL, State.RCPT})
_LINE_LIMITS: Final = {b"MAIL": MAIL_LIMIT, b"RCPT": RCPT_LIMIT}

_NOT_SMTP = frozenset({b"GET", b"POST", b"HEAD", b"PUT", b"CONNECT", b"OPTIONS", b"HOST:"})


class ServerSession:
    """One connection's dialogue. Its transaction ends with RSET, EHLO or the end of data."""

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.state = State.CONNECTED
        self.secure = False
        self._buffer = bytearray()
        self._out: list[bytes] = []
        self._pending: Event | None = None
        self._queued: Event | None = None
        self._closing: Closing | None = None
        self._eof = False
        self._skipping_line = False
        self._skip_octets = 0
        self._skip_reply = answers.OUT_OF_ORDER
        self._errors = 0
        self._junk = 0
        self._refused_recipients = 0
        self._deferred_recipients = 0
        self._recipients = 0
        self._smtputf8 = False
        self._body: IncomingBody | None = None

    # What came from the wire and what goes there

    def receive_data(self, data: bytes) -> None:
        """Store what was read. After this you must call `next_event`."""
        self._buffer += data

    def receive_eof(self) -> None:
        """The peer closed its side. After this you must call `next_event`."""
        self._eof = True

    def data_to_send(self) -> bytes:
        """All that is to be written now; empty when nothing is."""
        out = self._out
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    @property
    def unsent(self) -> int:
        """Replies that wait in `data_to_send`: send them before the pile grows high."""
        return len(self._out)

    @property
    def buffered(self) -> int:
        """Octets received and not looked at yet: stop reading the socket when it grows."""
        return len(self._buffer)

    @property
    def receiving_body(self) -> bool:
        """Whether octets of a body are awaited, for the choice of the time limit; also those that
        are only read past, as their BDAT is refused.
        """
        return self.state is State.DATA or self.state is State.CHUNK or self._skip_octets > 0

    @property
    def body_under_way(self) -> bool:
        """Whether a body has begun, for its least rate: also between two of its chunks."""
        return self.receiving_body or self.state is State.CHUNKS

    def next_event(self) -> Event | Signal:
        """The next thing that happened, or why there is none. Never raises, whatever came in."""
        if self._pending is not None:
            return Signal.PAUSED
        if not self._buffer and self.state in _IDLE and not self._eof and self._queued is None:
            return Signal.NEED_DATA
        while True:
            event = self._advance()
            if event is Signal.NEED_DATA and self._eof and self.state is not State.CLOSED:
                self._close("eof")
            elif event is not None:
                return event

    def _advance(self) -> Event | Signal | None:
        """One step forward: an event, NEED_DATA, or None when there may be more at once."""
        if self.state is State.CLOSED:
            closing, self._closing = self._closing, None
            return closing or Signal.NEED_DATA
        if self._queued is not None:
            queued, self._queued = self._queued, None
            return self._ask(queued)
        if self._skip_octets:
            return self._skip()
        if self._body is not None and self.receiving_body:
            return self._read_body(self._body)
        if self.state is State.TLS:
            return Signal.NEED_DATA
        return self._read_command()

    # Answers

    def greet(self) -> None:
        """Send the greeting (RFC 5321 §4.2). Once, before any event."""
        self._step(Step.GREET)
        self._out.append(b"220 %s ESMTP\r\n" % self.options.hostname.encode())

    def accept(self, passed: Reply | None = None) -> None:
        """Say yes to the pending event; for `BodyEnd` there is `accept_message`. `passed` is the
        next hop's 2xx to a RCPT that it was asked for.
        """
        match self._pending:
            case RcptTo():
                self._step(Step.RCPT)
                self._recipients += 1
                self._send(passed or answers.RECIPIENT_OK)
            case MailFrom():
                self._step(Step.MAIL)
                self._send(answers.SENDER_OK)
            case BodyStart(chunking=chunking):
                if not chunking:
                    self._step(Step.DATA)
                    self._body = IncomingBody(self.options.max_size)
                    self._send(answers.START_BODY)
            case Hello(extended=extended):
                self._step(Step.HELLO)
                options = self.options
                self._send(
                    ehlo_reply(options, secure=self.secure) if extended else helo_reply(options)
                )
            case StartTls():
                self._step(Step.STARTTLS)
                self._send(answers.READY_FOR_TLS)
            case event:
                raise ValueError(f"nothing to accept: {event}")
        self._pending = None

    def accept_message(self, receipt: Receipt) -> None:
        """Say 250 to the pending `BodyEnd`: the message is in our custody (I1)."""
        if not isinstance(self._pending, BodyEnd):
            raise ValueError("accept_message answers BodyEnd only")  # noqa: TRY004  not a type
        self._say_queued(receipt.queue_id, receipt.reply)

    def swallow_message(self, queue_id: str) -> None:
        """Say to the pending `BodyEnd` what `accept_message` says, of a message that was for
        honeypots alone and that the operator wants swallowed: nobody has it in custody.
        """
        if not isinstance(self._pending, BodyEnd):
            raise ValueError("swallow_message answers BodyEnd only")  # noqa: TRY004  not a type
        self._say_queued(queue_id)

    def _say_queued(self, queue_id: str, passed: Reply | None = None) -> None:
        self._pending = None
        queued = b"250 2.0.0 Queued as %s\r\n" % queue_id.encode()
        self._out.append(queued if passed is None else passed.to_wire())
        self._junk = self._deferred_recipients = 0
        self._end_transaction(Step.DONE)

    def reply(self, answer: Reply) -> None:
        """Say no to the pending event with a 4xx or 5xx; 421 also ends the session."""
        event, self._pending = self._pending, None
        if answer.positive or event is None:
            raise ValueError("a refusal is needed, and an event to refuse")
        if answer.code == 421:
            self.shut_down(answer, "refused")
        elif isinstance(event, BodyStart) and event.chunking and self._body is not None:
            octets = self._body.chunk_left
            self._end_transaction(Step.FAIL)
            self._skip_then(octets, answer)
        else:
            self._send(answer)
            if isinstance(event, BodyEnd):
                self._end_transaction(Step.DONE)
            elif isinstance(event, RcptTo) and answer.permanent:
                self._refused_recipients += 1
                if self._refused_recipients > self.options.max_recipients:
                    self.shut_down(answers.TOO_MANY_ERRORS, "junk")
            elif isinstance(event, RcptTo):
                self._count_deferred()

    def tls_established(self) -> None:
        """The handshake is done: forget all that was said before (RFC 3207 §4.2)."""
        self._step(Step.SECURED)
        self.secure = True
        self._buffer.clear()

    def shut_down(self, answer: Reply, reason: str) -> None:
        """End the session with `answer` whatever goes on; `next_event` then gives `Closing`."""
        self._pending = None
        self._fatal(answer, reason)

    # Commands

    def _read_command(self) -> Event | Signal | None:
        buffer = self._buffer
        end = buffer.find(b"\n")
        if end < 0:
            if len(buffer) > RCPT_LIMIT:
                self._skipping_line = True
            if self._skipping_line:
                buffer.clear()
            return Signal.NEED_DATA
        line = bytes(buffer[: end + 1])
        del buffer[: end + 1]
        if self._skipping_line:
            self._skipping_line = False
            return self._error(answers.LINE_TOO_LONG)
        if line.find(b"\r") != end - 1 or not end:
            return self._error(answers.BAD_LINE_END)
        verb, _, argument = line[:-2].partition(b" ")
        verb = verb.upper()
        handler = self._HANDLERS.get(verb)
        if handler is None:
            if verb in _NOT_SMTP:
                # another protocol was tricked into talking to us: what follows is not for us
                return self._fatal(answers.NOT_SMTP, "not-smtp")
            return self._error(answers.UNKNOWN_COMMAND)
        if end >= _LINE_LIMITS.get(verb, LINE_LIMIT):
            return self._error(answers.LINE_TOO_LONG)
        in_order = IN_ORDER.get(verb)
        if in_order is not None and self.state not in in_order:
            return self._out_of_order(verb, argument)
        return handler(self, argument)

    def _out_of_order(self, verb: bytes, argument: bytes) -> Event | None:
        no_recipients = self.state is State.MAIL and verb in (b"DATA", b"BDAT")
        answer = answers.NO_RECIPIENTS if no_recipients else answers.OUT_OF_ORDER
        if verb == b"BDAT":
            # its octets follow whatever we say, so they are skipped first (RFC 3030 §2)
            if (size := read_bdat(argument)) is None:
                return self._fatal(answers.BAD_BDAT, "protocol")
            return self._skip_then(size[0], answer)
        return self._error(answer)

    def _on_ehlo(self, argument: bytes) -> Event | None:
        return self._hello(argument, extended=True)

    def _on_helo(self, argument: bytes) -> Event | None:
        return self._hello(argument, extended=False)

    def _hello(self, argument: bytes, *, extended: bool) -> Event | None:
        name = read_name(argument)
        if name is None:
            return self._error(answers.NEEDS_NAME)
        self._junk += 1
        if self._junk > MAX_JUNK:
            return self._fatal(answers.TOO_MANY_ERRORS, "junk")
        hello = Hello(name, extended)
        if self.state in (State.NEW, State.READY):
            return self._ask(hello)
        # EHLO gives the transaction up (RFC 5321 §4.1.4): that is told before it is asked
        self._end_transaction(Step.RESET)
        self._queued = hello
        return Reset()

    def _on_mail(self, argument: bytes) -> Event | None:
        found = read_mail(argument, self.options)
        if isinstance(found, Reply):
            return self._reject("MAIL", argument, found)
        self._smtputf8 = found.parameters.smtputf8
        return self._ask(found)

    def _on_rcpt(self, argument: bytes) -> Event | None:
        found = read_rcpt(argument, smtputf8=self._smtputf8)
        if isinstance(found, Reply):
            return self._reject("RCPT", argument, found)
        if self._recipients >= self.options.max_recipients:
            self._send(answers.TOO_MANY_RECIPIENTS)
            self._count_deferred()
            return _rejected("RCPT", argument, answers.TOO_MANY_RECIPIENTS)
        return self._ask(found)

    def _on_data(self, argument: bytes) -> Event | None:
        if argument:
            return self._error(answers.NO_PARAMETERS)
        return self._ask(BodyStart(chunking=False))

    def _on_bdat(self, argument: bytes) -> Event | None:
        size = read_bdat(argument)
        if size is None:
            return self._fatal(answers.BAD_BDAT, "protocol")
        octets, last = size
        first = self._body is None
        body = self._body or IncomingBody(self.options.max_size)
        if body.size + octets > self.options.max_size:
            self._end_transaction(Step.FAIL)
            self._skip_then(octets, answers.TOO_BIG)
            return BodyRejected(answers.TOO_BIG)
        self._step(Step.BDAT)
        self._body = body
        body.begin_chunk(octets, last=last)
        return self._ask(BodyStart(chunking=True)) if first else None

    def _on_rset(self, argument: bytes) -> Event | None:
        if argument:
            return self._error(answers.NO_PARAMETERS)
        in_transaction = self.state not in (State.NEW, State.READY)
        self._end_transaction(Step.RESET)
        self._say_junk(answers.OK)
        return Reset() if in_transaction else None

    def _on_noop(self, _argument: bytes) -> Event | None:
        return self._say_junk(answers.OK)

    def _on_help(self, _argument: bytes) -> Event | None:
        return self._say_junk(answers.HELP)

    def _on_vrfy(self, argument: bytes) -> Event | None:
        if not argument:
            return self._error(answers.NEEDS_ADDRESS)
        return self._say_junk(answers.CANNOT_VERIFY)

    def _on_expn(self, _argument: bytes) -> Event | None:
        return self._error(answers.NO_EXPN)

    def _on_quit(self, argument: bytes) -> Event | None:
        if argument:
            return self._error(answers.NO_PARAMETERS)
        return self._fatal(answers.GOODBYE, "quit")

    def _on_starttls(self, argument: bytes) -> Event | None:
        if argument:
            return self._error(answers.NO_PARAMETERS)
        if self.secure:
            return self._error(answers.TLS_ALREADY)
        if not self.options.tls:
            return self._error(answers.NO_TLS)
        self._buffer.clear()  # I11: what was pipelined in clear behind STARTTLS never counts
        return self._ask(StartTls())

    _HANDLERS: ClassVar[Mapping[bytes, Callable[["ServerSession", bytes], Event | None]]] = {
        b"EHLO": _on_ehlo,
        b"HELO": _on_helo,
        b"MAIL": _on_mail,
        b"RCPT": _on_rcpt,
        b"DATA": _on_data,
        b"BDAT": _on_bdat,
        b"RSET": _on_rset,
        b"NOOP": _on_noop,
        b"HELP": _on_help,
        b"VRFY": _on_vrfy,
        b"EXPN": _on_expn,
        b"QUIT": _on_quit,
        b"STARTTLS": _on_starttls,
    }

    # Bodies

    def _read_body(self, body: IncomingBody) -> Event | Signal | None:
        read = body.read_data if self.state is State.DATA else body.read_chunk
        match read(self._buffer):
            case Progress.NEED_DATA:
                return Signal.NEED_DATA
            case Progress.FLOOD:
                return self._fatal(answers.TOO_BIG, "protocol")
            case Progress.CHUNK_END if body.rejected is not None:
                self._end_transaction(Step.FAIL)
                return self._error(body.rejected)
            case Progress.CHUNK_END:
                self._step(Step.CHUNK_END)
                self._send(reply(250, "2.0.0", f"{body.chunk_size} octets received"))
                return None
            case Progress.BODY_END if body.rejected is not None:
                self._step(Step.BODY_END)
                self._end_transaction(Step.DONE)
                return self._error(body.rejected)
            case Progress.BODY_END:
                self._step(Step.BODY_END)
                return self._ask(BodyEnd(body.size))
            case event:
                return event

    def _skip_then(self, octets: int, answer: Reply) -> None:
        """Read past octets that belong to a refused BDAT, then answer it."""
        if octets > self.options.max_size + MAX_DISCARD:
            return self._fatal(answer, "protocol")
        if not octets:
            return self._error(answer)
        self._skip_octets, self._skip_reply = octets, answer
        return None

    def _skip(self) -> Signal | None:
        dropped = min(self._skip_octets, len(self._buffer))
        del self._buffer[:dropped]
        self._skip_octets -= dropped
        if self._skip_octets:
            return Signal.NEED_DATA
        return self._error(self._skip_reply)

    # Small steps

    def _step(self, step: Step) -> None:
        self.state = TRANSITIONS[self.state, step]

    def _end_transaction(self, step: Step) -> None:
        self._step(step)
        self._recipients = 0
        self._smtputf8 = False
        self._body = None

    def _send(self, answer: Reply) -> None:
        self._out.append(answer.to_wire())

    def _ask(self, event: Event) -> Event:
        self._pending = event
        return event

    def _error(self, answer: Reply) -> None:
        self._send(answer)
        self._errors += 1
        if self._errors > MAX_ERRORS:
            self._fatal(answers.TOO_MANY_ERRORS, "junk")

    def _say_junk(self, answer: Reply) -> None:
        """Answer a command that does nothing for mail; too many of them end the session."""
        self._send(answer)
        self._junk += 1
        if self._junk > MAX_JUNK:
            self._fatal(answers.TOO_MANY_ERRORS, "junk")

    def _reject(self, verb: str, argument: bytes, answer: Reply) -> Event:
        self._error(answer)
        return _rejected(verb, argument, answer)

    def _count_deferred(self) -> None:
        self._deferred_recipients += 1
        if self._deferred_recipients > MAX_DEFERRED:
            self._fatal(answers.TOO_MANY_ERRORS, "junk")

    def _fatal(self, answer: Reply, reason: str) -> None:
        self._send(answer)
        self._close(reason)

    def _close(self, reason: str) -> None:
        if self.state is not State.CLOSED:
            self._step(Step.CLOSE)
            self._closing = Closing(reason)
            self._buffer.clear()


def _rejected(verb: str, argument: bytes, answer: Reply) -> CommandRejected:
    return CommandRejected(verb, argument.decode("utf-8", "replace"), answer)
