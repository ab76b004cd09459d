"""One SMTP connection to a next hop: the asyncio shell around `smtp.ClientSession`.

Moves bytes, keeps the deadlines of RFC 5321 §4.5.3.2 and holds a body back while the socket is
full. It decides nothing about mail: a transaction goes in, verdicts come out.

A small message costs its owner one future: the body is sent from the callback in which the
server's 354 arrives.

Invariants:
- Every wait ends: by an answer, by the loss of the connection or by a deadline.
- A transaction always returns one verdict for each recipient; it never raises for what the server
  or the network does.
- Of a large body no more is held than one piece and the transport's buffer.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import cast

from tideover.config.model import Outbound
from tideover.dns.client_names import LookUp
from tideover.message.envelope import Client
from tideover.outbound.deadline import Deadline, patience, timeout_text
from tideover.outbound.identity import Speaker, WrongClient
from tideover.primary.interface import NextHop
from tideover.smtp.capabilities import Capabilities
from tideover.smtp.client import ClientSession
from tideover.smtp.client_values import (
    ClientEvent,
    Command,
    InquiryEnded,
    Lost,
    Mail,
    Replied,
    SendBody,
    SessionEnded,
    TlsGoAhead,
    TransactionEnded,
    Verdict,
    Welcome,
)
from tideover.smtp.replies import Reply

HANDSHAKE = 60.0
"""Seconds for a TLS handshake."""

FAREWELL = 5.0
"""Seconds to wait for the answer to QUIT. Nothing depends on it."""


class ConnectionFailed(Exception):  # noqa: N818 - says what happened
    """No usable connection came about; `reply` is the server's, if it gave one."""

    def __init__(self, text: str, reply: Reply | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.reply = reply

    def __str__(self) -> str:
        return f"{self.text}: {self.reply}" if self.reply is not None else self.text


class HandshakeFailed(ConnectionFailed):
    """STARTTLS was agreed on and then TLS did not come about."""


def host_text(hop: NextHop) -> str:
    """How a next hop is named in logs, states and DSNs: `name[address]:port`."""
    name = "" if hop.name == hop.address else hop.name
    return f"{name}[{hop.address}]:{hop.port}"


class Connection(asyncio.Protocol):
    """A connection to `hop`. Made by `transport.connect`; one owner uses it, one call at a time."""

    def __init__(self, hop: NextHop, *, hostname: str, settings: Outbound) -> None:
        self.hop = hop
        self.host = host_text(hop)
        self.tls: str | None = None
        self.transactions = 0
        self.ended: SessionEnded | None = None
        self._settings = settings
        self._session = ClientSession(hostname)
        self.speaker = Speaker(hostname)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bool] | None = None
        self._content: bytes | None = None
        self._verdicts: tuple[Verdict, ...] = ()
        self._answered: Welcome | Verdict = Lost("not asked", after_dot=False)
        self._replies: list[Reply] = []
        self._due = 0  # replies that `converse` waits for
        self._body: Reply | None = None  # the answer to a body by hand
        self._writable: asyncio.Future[None] | None = None  # set while the socket is full
        self._closed: asyncio.Future[None] = self._loop.create_future()
        tick = min(30.0, settings.command_timeout / 4, settings.data_timeout / 4)
        self._deadline = Deadline(tick, self._give_up)

    # What the owner asks

    def usable(self) -> bool:
        """Whether another transaction may begin."""
        return self._session.ready and not self.speaker.spent

    @property
    def capabilities(self) -> Capabilities:
        """What the server offers; after STARTTLS, what it offers under TLS."""
        return self._session.capabilities

    @property
    def needs_reset(self) -> bool:
        """Whether a transaction is open at the server; the next one begins with RSET."""
        return self._session.needs_reset

    @property
    def xclient_again(self) -> bool:
        """Whether XCLIENT is still offered after the last one."""
        return self._session.hello.xclient_again

    @property
    def told(self) -> str:
        """How the server learnt of the client given last: "XCLIENT", "XFORWARD" or ""."""
        return self.speaker.told

    def may_tell(self, client: Client | None) -> bool:
        """Whether `identify` can tell of this client: Postfix takes one client a connection."""
        return self.speaker.may_tell(self, client)

    async def identify(
        self, client: Client | None, *, look_up: LookUp | None = None, pipelined: bool = False
    ) -> Reply | None:
        """Tell whose mail follows, once before each transaction; costs nothing where it can't be.

        A `Reply` is the server's refusal of that client: this connection is not `usable` then.
        `look_up` is asked what DNS calls it. `pipelined`: XFORWARD leaves with the messages that
        follow.

        Raises:
            ConnectionFailed: the session ended, or speaks for another client (see `may_tell`).
        """
        try:
            return await self.speaker.identify(self, client, look_up=look_up, pipelined=pipelined)
        except WrongClient as error:
            self.abort(str(error))
            raise ConnectionFailed(str(error)) from None

    async def introduced(self) -> None:
        """Wait for greeting and EHLO.

        Raises:
            ConnectionFailed: the server gave no service, or none in time.
        """
        await self._wait()

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """STARTTLS, handshake, EHLO. Returns in clear when the server declines STARTTLS.

        Raises:
            HandshakeFailed: the handshake failed, or nothing was said under TLS; the connection is
                gone.
            ConnectionFailed: the session ended.
        """
        self._session.start_tls()
        self._answer = None
        self._flush()
        went_ahead = await self._wait()
        if self.ended is not None:  # in the same moment: the go-ahead came with an attack
            raise ConnectionFailed(self.ended.text, self.ended.reply)
        if not went_ahead:
            return
        self._deadline.suspend()  # start_tls has its own
        limit = min(HANDSHAKE, self._settings.command_timeout)
        try:
            secured = await self._loop.start_tls(
                self._live_transport(),
                self,
                context,
                server_hostname=self.hop.name,
                ssl_handshake_timeout=limit,
            )
        except (OSError, TimeoutError, RuntimeError, ValueError) as error:
            # ssl.SSLError is an OSError; uvloop says RuntimeError for a transport just closed;
            # ValueError: DNS may name a host as TLS can't.
            self.abort(f"TLS handshake failed: {error}")
            raise HandshakeFailed(f"TLS handshake failed: {error}") from error
        if secured is None or self._session.closed:
            raise HandshakeFailed("connection lost in the TLS handshake")
        self._transport = secured
        self.tls = _tls_text(secured)
        self._session.tls_established()
        self._answer = None
        self._flush()
        answered = self._session.answered
        try:
            await self._wait()
        except ConnectionFailed as error:
            # By TLS 1.3 our side is done before the server has judged: it may fail there yet.
            if self._session.answered == answered:
                raise HandshakeFailed(f"no answer under TLS: {error.text}") from error
            raise

    async def transact(self, mail: Mail, content: bytes) -> tuple[Verdict, ...]:
        """Send a message that is in memory as a whole."""
        self._content = content
        self._begin(mail)
        await self._wait()
        return self._verdicts

    async def inquire(self, mail: Mail) -> Welcome | Verdict:
        """Ask whether mail for one recipient would be taken; sends none."""
        self._answer = None
        self.transactions += 1
        self._session.inquire(mail)
        self._flush()
        await self._wait()
        return self._answered

    async def transact_pieces(
        self, mail: Mail, content: AsyncIterator[bytes]
    ) -> tuple[Verdict, ...]:
        """Send a message piece by piece; nothing is read from `content` before the go-ahead.

        Raises:
            Exception: whatever `content` raises; the connection has been dropped then, without an
                end of data, and nothing was delivered.
        """
        self._content = None
        self._begin(mail)
        await self._wait()
        if self._verdicts:
            return self._verdicts
        self._answer = self._loop.create_future()
        try:
            await self._send_pieces(mail.size, content)
        except BaseException:
            self.abort("sending was broken off")
            raise
        await self._answer
        return self._verdicts

    # By hand, for who passes on what somebody else says

    async def converse(self, commands: Sequence[tuple[Command, bytes]]) -> list[Reply]:
        """Say single commands, and return the reply to each. May be called while `usable`.

        Raises:
            ConnectionFailed: the session ended before all replies came; `reply` is its last word.
        """
        self._check_alive()
        self._answer = self._body = None
        self._replies = []
        self._due = len(commands)
        self._session.converse(commands)
        self._flush()
        await self._wait()
        return self._replies

    def send_body_octets(
        self, data: bytes, *, chunk: bool = False, last: bool = False
    ) -> Awaitable[None] | None:
        """Octets of a body as they go over the wire, up to its end with `last`; as a `chunk` one
        whole BDAT command with its octets. Returns what to wait for before the next, or None.

        After the session has ended, or has refused a chunk, they are dropped: `body_reply` tells.
        """
        if self._body is None:
            self._session.send_octets(data, chunk=chunk, last=last)
            self._flush()
        return self._writable

    async def body_reply(self) -> Reply:
        """Wait for the reply to the end of data, or to a chunk that was refused before.

        Raises:
            ConnectionFailed: there is none; whether the body may have been taken all the same,
                `body_left` says.
        """
        while self._body is None:
            self._answer = None
            await self._wait()
        return self._body

    @property
    def body_left(self) -> bool:
        """Whether a body by hand and its end have left, and no reply to it has come."""
        return self._session.body_left

    async def quit(self) -> None:
        """Say goodbye, wait a little for the answer, close."""
        if self._session.ready:
            self._session.quit()
            self._flush()
            self._deadline.set(FAREWELL, exact=True)
            try:
                await asyncio.shield(self._closed)
            except asyncio.CancelledError:
                self.abort("closed by us")
                raise
        else:
            self.abort("closed by us")

    def abort(self, text: str) -> None:
        """Drop the connection now. An open transaction ends with verdicts that say `text`."""
        self._handle(self._session.connection_lost(text, unsent=self._writable is not None))
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TCP connection is open."""
        # Not by isinstance: uvloop's transports are of no common class.
        self._transport = cast("asyncio.Transport", transport)
        self._deadline.set(self._settings.command_timeout)

    def data_received(self, data: bytes) -> None:
        """Replies arrived."""
        answered = self._session.answered
        self._handle(self._session.receive_data(data))
        # A reply that comes in drips doesn't win time; each whole one does.
        if self._session.answered != answered:
            self._move_deadline()

    def eof_received(self) -> bool:
        """The server closed its side; SMTP has no half-open connections."""
        self._handle(self._session.receive_eof())
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        text = f"connection lost: {exc}" if exc else "connection closed by the other side"
        self._handle(self._session.connection_lost(text, unsent=self._writable is not None))
        self.resume_writing()
        self._deadline.stop()
        if not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        """The socket is full."""
        self._writable = self._loop.create_future()
        if self._session.sending:
            self._move_deadline()

    def resume_writing(self) -> None:
        """The socket takes more."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None
        if self._session.sending:
            self._move_deadline()

    # Parts of the above

    def _begin(self, mail: Mail) -> None:
        self._answer = None
        self._verdicts = ()
        self.transactions += 1
        self._session.begin(mail, self.speaker.preface)
        self._flush()

    async def _send_pieces(self, size: int, content: AsyncIterator[bytes]) -> None:
        left = size
        async for piece in content:
            left -= len(piece)
            self._session.send_body(piece, last=left == 0)
            self._flush()
            if self._writable is not None:
                await self._writable
            if self._session.closed:
                return
        if left:
            raise ValueError(f"{left} octets of the stored message are missing")

    async def _wait(self) -> bool:
        """Until the server's next word to us; True says that it is the go-ahead for TLS."""
        if self._answer is None:
            self._answer = self._loop.create_future()
            if self.ended is not None:
                self._fail(self.ended)
        return await self._answer

    def _handle(self, events: list[ClientEvent]) -> None:
        for event in events:
            kind = type(event)
            if kind is SendBody:
                if self._content is None:
                    self._resolve(handshake=False)
                else:
                    self._session.send_body(self._content, last=True)
                    self._content = None
            elif isinstance(event, TransactionEnded):
                self._content = None
                self._verdicts = event.verdicts
                self._resolve(handshake=False)
            elif isinstance(event, InquiryEnded):
                self._answered = event.verdict
                self._resolve(handshake=False)
            elif isinstance(event, Replied):
                self._on_replied(event)
            elif isinstance(event, SessionEnded):
                self.ended = event
                self._fail(event)
                if self._transport is not None:
                    self._transport.abort()
            else:
                self._resolve(handshake=kind is TlsGoAhead)
        self._flush()

    def _on_replied(self, event: Replied) -> None:
        if event.command is Command.BODY or event.command is Command.BDAT:
            if self._body is None and (event.command is Command.BODY or not event.reply.positive):
                self._body = event.reply
                self._resolve(handshake=False)
        elif not self._due:
            self.speaker.forwarded(event.reply)
        else:
            self._replies.append(event.reply)
            self._due -= 1
            if not self._due:
                self._resolve(handshake=False)

    def _move_deadline(self) -> None:
        full = self._writable is not None
        self._deadline.set(patience(self._session, self._settings, full=full))

    def _give_up(self) -> None:
        self.abort(timeout_text(self._session))

    def _check_alive(self) -> None:
        if self.ended is not None:
            raise ConnectionFailed(self.ended.text, self.ended.reply)

    def _flush(self) -> None:
        out = self._session.data_to_send()
        if out and self._transport is not None:
            self._transport.write(out)
            self._move_deadline()

    def _resolve(self, *, handshake: bool) -> None:
        if self._answer is None:
            self._answer = self._loop.create_future()
        if not self._answer.done():
            self._answer.set_result(handshake)

    def _fail(self, event: SessionEnded) -> None:
        """Tell a waiter that no answer will come; a transaction has had its verdicts before."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionFailed(event.text, event.reply))

    def _live_transport(self) -> asyncio.Transport:
        if self._transport is None:
            raise ConnectionFailed("not connected")
        return self._transport


def _tls_text(transport: asyncio.Transport) -> str | None:
    """Version and cipher, as in `TLSv1.3 TLS_AES_256_GCM_SHA384`."""
    secure = transport.get_extra_info("ssl_object")
    if secure is None:
        return None
    cipher = secure.cipher()
    return f"{secure.version()} {cipher[0]}" if cipher else str(secure.version())
