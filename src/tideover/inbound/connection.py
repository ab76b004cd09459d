"""One client connection: the socket around a `Dialogue`, with its time limits and TLS.

While something is awaited, or the client does not read our replies, nothing more is read from it:
back-pressure reaches its socket.

A slot can't be held by going slowly: time limits count from the last complete command, not from
the last octet, and a body must keep `min_data_rate`.
"""

import asyncio
from typing import Final, cast

from msgspec.structs import replace

from tideover.config.model import Smtp
from tideover.events.records import ConnectionRefused, SessionClosed, SessionOpened, TlsFailed
from tideover.inbound.dialogue import Dialogue
from tideover.inbound.house import House
from tideover.inbound.patience import RATE_GRACE, Patience
from tideover.inbound.proxy_protocol import ProxyError, parse
from tideover.message.client_address import plain_address, within
from tideover.message.envelope import Client
from tideover.smtp.events import Event, Signal
from tideover.smtp.replies import Reply, reply
from tideover.smtp.server import ServerSession

# Input not yet looked at, beyond which the socket is not read: one big body read ahead at most.
READ_AHEAD: Final = 256 * 1024
# Replies to pipelined commands that go out in one write.
MAX_UNSENT: Final = 64
HANDSHAKE_TIMEOUT: Final = 30.0
# How long a client may take to read our last words.
FAREWELL_TIMEOUT: Final = 10.0
PROXY_TIMEOUT: Final = 10.0

TIMED_OUT = reply(421, "4.4.2", "Timeout; closing the connection")
TOO_SLOW = reply(421, "4.4.2", "Data comes too slowly; closing the connection")
SHUTTING_DOWN = reply(421, "4.3.2", "Shutting down; try again later")
BUSY = reply(421, "4.7.0", "Too many connections; try again later")


class Connection(asyncio.Protocol):
    """A connection from accept to close. Registers itself in `connections` while it lives."""

    def __init__(self, house: House, listener: str, connections: "set[Connection]") -> None:
        self._house = house
        self._listener = listener
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._session = ServerSession(house.options)
        self._dialogue: Dialogue | None = None
        self._client = Client(session=house.new_session_id(), address="", port=0, helo="",
                              protocol="SMTP")  # fmt: skip
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._proxy_buffer: bytearray | None = None
        self._greeting: asyncio.TimerHandle | None = None
        self._admitted = False
        self._lost = False
        self._write_paused = False
        self._read_paused = False
        self._in_body = False
        self._opened = self._loop.time()
        self._patience = Patience(self._opened)
        self._reason = "eof"
        self._transport: asyncio.Transport

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there; with PROXY protocol its address is still to come."""
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)
        peer = transport.get_extra_info("peername") or ("0.0.0.0", 0)  # noqa: S104  a gone peer
        address, port = plain_address(peer[0]), peer[1]
        self._set_peer(address, port)
        if within(address, self._smtp.proxy_protocol_from):
            self._proxy_buffer = bytearray()
            self._arm(PROXY_TIMEOUT)
        else:
            self._welcome()

    def data_received(self, data: bytes) -> None:
        """Octets from the client."""
        if self._proxy_buffer is not None:
            data = self._read_proxy_header(self._proxy_buffer, data)
            if not data:
                return
        session = self._session
        if session.receiving_body:
            self._patience.took(len(data), self._loop.time())
        elif self._in_body:
            self._patience.took_between(len(data))
        session.receive_data(data)
        if self._greeting is not None:
            self._greet(early=True)
        else:
            self._pump()

    def eof_received(self) -> bool:
        """The client closed its side; keep ours open for the answers still due."""
        self._session.receive_eof()
        if self._greeting is not None:
            self._greet()
        self._pump()
        return not self._session.secure

    def pause_writing(self) -> None:
        """The client does not read: stop answering it."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """The client reads again."""
        self._write_paused = False
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, by whichever side. Told twice, it counts once."""
        if self._lost:
            return
        self._lost = True
        self._connections.discard(self)
        for timer in (self._timer, self._greeting):
            if timer is not None:
                timer.cancel()
        if self._task is not None:
            self._task.cancel()
        # no cycle: all of the session is freed now, and its memory is used again while it is hot
        dialogue, self._dialogue = self._dialogue, None
        if not self._admitted:
            return
        if dialogue is not None:
            dialogue.close()
        self._house.limits.release(self._client.address)
        self._house.sink(
            SessionClosed(
                session=self._client.session,
                client=self._client.address,
                reason="reset" if exc else self._reason,
                seconds=round(self._loop.time() - self._opened, 3),
                accepted=dialogue.accepted if dialogue is not None else 0,
                refused=dialogue.refused if dialogue is not None else 0,
                honeypots=dialogue.honeypots if dialogue is not None else 0,
            )
        )

    def drain(self, *, now: bool) -> None:
        """The daemon stops: end here, or (unless `now`) after the body under way."""
        if now or not (self._session.receiving_body or self._waiting):
            self._end(SHUTTING_DOWN, "shutdown")

    # Beginning

    @property
    def _smtp(self) -> Smtp:
        return self._house.config.smtp

    def _set_peer(self, address: str, port: int) -> None:
        self._client = replace(self._client, address=address, port=port)

    def _welcome(self) -> None:
        refusal = self._house.limits.admit(self._client.address)
        if refusal is not None or self._house.draining:
            self._house.sink(
                ConnectionRefused(client=self._client.address, reason=refusal or "shutting down")
            )
            self._transport.write((BUSY if refusal else SHUTTING_DOWN).to_wire())
            self._close()
            return
        self._admitted = True
        self._house.sink(
            SessionOpened(
                session=self._client.session,
                client=self._client.address,
                port=self._client.port,
                listener=self._listener,
            )
        )
        delay = self._house.chain.greet_delay(self._client.address)
        if delay:
            self._greeting = self._loop.call_later(delay, self._greet_patient)
        else:
            self._greet()

    def _greet_patient(self) -> None:
        self._house.chain.waited(self._client.address)
        self._greet()

    def _greet(self, *, early: bool = False) -> None:
        """Begin the dialogue. `early`: the client has spoken first, as no mail server does."""
        if self._greeting is not None:
            self._greeting.cancel()
            self._greeting = None
        if self._gone:
            return
        self._dialogue = Dialogue(
            self._house, self._session, self._client, self, self._patience, early=early
        )
        self._session.greet()
        self._transport.write(self._session.data_to_send())
        self._patience.progressed(self._loop.time())
        self._arm(self._smtp.command_timeout)
        self._pump()

    def _read_proxy_header(self, buffer: bytearray, data: bytes) -> bytes:
        """Returns what follows the header, once it is complete."""
        buffer += data
        try:
            header = parse(bytes(buffer))
        except ProxyError as error:
            self._house.sink(ConnectionRefused(client=self._client.address, reason=str(error)))
            self._transport.abort()
            return b""
        if header is None:
            return b""
        rest = bytes(buffer[header.length :])
        self._proxy_buffer = None
        if header.address is not None:
            self._set_peer(plain_address(header.address), header.port)
        self._welcome()
        return rest if self._admitted else b""

    # The dialogue

    def _pump(self) -> None:
        """Answer events until there is none, or one has to wait."""
        session, dialogue = self._session, self._dialogue
        if dialogue is None:
            return
        while dialogue.waiting is None and not self._write_paused:
            event = session.next_event()
            if event.__class__ is Signal:
                break
            self._patience.progressed(self._loop.time())
            dialogue.handle(cast("Event", event))
            if session.unsent > MAX_UNSENT:
                self._transport.write(session.data_to_send())
        if out := session.data_to_send():
            self._transport.write(out)
        if session.body_under_way is not self._in_body:
            self._in_body = not self._in_body
            if self._in_body:
                self._patience.body_begins(self._loop.time())
            elif self._house.draining and not self._waiting:
                self._end(SHUTTING_DOWN, "shutdown")
        if self._read_paused or session.buffered > READ_AHEAD:
            self._throttle()

    def _throttle(self) -> None:
        """Stop reading from the socket while what was read waits, go on when it does not."""
        full = self._session.buffered > READ_AHEAD and (self._waiting or self._write_paused)
        if full != self._read_paused and not self._gone:
            self._read_paused = full
            if full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # What the dialogue asks for (`dialogue.Line`)

    @property
    def gone(self) -> bool:
        """As `Line.gone`."""
        return self._gone

    def go_on(self) -> None:
        """As `Line.go_on`."""
        if self._gone:
            return
        # a body goes on: what was waited for may be a piece of it
        if self._house.draining and not self._session.receiving_body:
            self._end(SHUTTING_DOWN, "shutdown")
        else:
            self._pump()

    def finish(self, reason: str) -> None:
        """As `Line.finish`."""
        self._reason = reason
        self._close()

    @property
    def _gone(self) -> bool:
        """Whether nothing can be said any more. A TLS transport does not know when it is lost."""
        return self._lost or self._transport.is_closing()

    @property
    def _waiting(self) -> bool:
        return self._dialogue is not None and self._dialogue.waiting is not None

    # TLS

    def start_tls(self) -> None:
        """As `Line.start_tls`."""
        self._session.accept()
        self._transport.write(self._session.data_to_send())
        self._task = self._loop.create_task(self._handshake())

    async def _handshake(self) -> None:
        """The TLS handshake (RFC 3207); its failure ends the connection."""
        plain = self._transport
        try:
            secured = await self._loop.start_tls(
                plain, self, self._house.certificate.context, server_side=True,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
            )  # fmt: skip
        except (OSError, ValueError, RuntimeError) as error:
            # ssl.SSLError is an OSError, RuntimeError says that the transport is closed already;
            # a broken peer must not cost more than its connection
            reason = getattr(error, "reason", None) or str(error) or type(error).__name__
            self._house.sink(
                TlsFailed(session=self._client.session, client=self._client.address, reason=reason)
            )
            self._reason = "tls"
            plain.abort()
            self.connection_lost(None)  # uvloop tells it only once the handshake is done
            return
        if secured is None:  # the peer went away at the very end of the handshake
            self.connection_lost(None)
            return
        self._transport = secured
        tls = secured.get_extra_info("ssl_object")
        cipher = tls.cipher()
        if self._dialogue is not None:
            self._dialogue.secured(f"{tls.version()} {cipher[0]}" if cipher else tls.version())
        self._session.tls_established()
        self._patience.progressed(self._loop.time())
        self._pump()

    # Ends

    def _arm(self, delay: float) -> None:
        """Look at the time again after `delay` seconds, or sooner: a body may begin meanwhile,
        which has shorter limits.
        """
        if self._timer is not None:
            self._timer.cancel()
        delay = min(delay, self._smtp.data_timeout, RATE_GRACE / 2)
        self._timer = self._loop.call_later(delay, self._check_time)

    def _check_time(self) -> None:
        now = self._loop.time()
        if self._proxy_buffer is not None:
            self._house.sink(
                ConnectionRefused(client=self._client.address, reason="no PROXY header in time")
            )
            self._transport.abort()
            return
        if self._waiting:
            self._arm(self._smtp.command_timeout)
            return
        body = self._session.receiving_body
        limit = self._smtp.data_timeout if body else self._smtp.command_timeout
        if self._task is not None and not self._task.done():
            limit += HANDSHAKE_TIMEOUT
        left = self._patience.left(now, limit)
        if left <= 0:
            self._end(TIMED_OUT, "timeout")
        elif self._in_body and self._patience.too_slow(now, self._smtp.min_data_rate):
            self._end(TOO_SLOW, "too-slow")
        else:
            self._arm(left)

    def _end(self, answer: Reply, reason: str) -> None:
        """Say a last word and close. During a handshake nothing can be said."""
        if self._gone:
            return
        if self._task is not None and not self._task.done():
            self._reason = reason
            self._transport.abort()
            self.connection_lost(None)
            return
        if self._dialogue is not None:
            self._dialogue.give_up()
        self._session.shut_down(answer, reason)
        self._reason = reason
        self._close()

    def _close(self) -> None:
        """Send what is still to be said, then close."""
        if self._gone:
            return
        if out := self._session.data_to_send():
            self._transport.write(out)
        self._transport.close()
        # close() waits for the peer to read; it may never do so
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(FAREWELL_TIMEOUT, self._transport.abort)
