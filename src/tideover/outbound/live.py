"""One transaction of a client, open at the primary while the client waits.

A kept connection may have gone stale: if it fails at its first command it is replaced by a new one,
once, and nobody notices. So is one that the primary closes while the client is silent: else whoever
takes his time would get past the primary's verdict, and make it look dead. Whatever ends a
transaction, its connection is put back only when nothing is open on it, and dropped in the middle
of a body: no part may be taken for the whole.

Invariants:
- A `Receipt` comes only from a 2xx to the end of the body.
- The connection is given up exactly once, in whatever order things end.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from tideover.dns.client_names import LookUp
from tideover.message.envelope import Client, Recipient
from tideover.outbound.answer import is_tired, is_verdict, no_service, presentable
from tideover.outbound.connection import Connection, ConnectionFailed
from tideover.outbound.kept import REFUSALS, Kept
from tideover.outbound.pool import Full, Pool
from tideover.primary.interface import NextHop
from tideover.primary.relay import Gone
from tideover.smtp.client_commands import mail_command, rcpt_command, unmet_need
from tideover.smtp.client_values import Command, Mail
from tideover.smtp.live_body import Chunker, DotStuffer, LiveBody
from tideover.smtp.receipt import Receipt
from tideover.smtp.replies import Reply, reply

_Lines = list[tuple[Command, bytes]]

_DATA: Final = (Command.DATA, b"DATA\r\n")
_GO_AHEAD: Final = reply(354, None, "Go ahead")
_OVER: Final = Gone(text="the transaction is over")


class LiveTransaction:
    """A `LiveMail` on a connection of `pool`. Call `introduce` first, and `abandon` at the end."""

    def __init__(
        self,
        pool: Pool,
        kept: Kept,
        hops: tuple[NextHop, ...],
        client: Client,
        mail: Mail,
        look_up: LookUp | None,
    ) -> None:
        self.host = kept.host
        self.told = ""
        self._pool = pool
        self._kept = kept
        self._hops = hops
        self._client = client
        self._mail = mail
        self._look_up = look_up
        self._maybe_stale = kept.waited
        self._busy = False  # a reply is awaited, or nobody awaits it any more
        self._over = False  # the connection is given up
        self._opened = False  # MAIL was accepted
        self._taken: list[Recipient] = []
        self._refused = 0
        self._refusal: Reply | None = None  # of all that may come yet
        self._body: LiveBody | None = None  # while it is under way

    # LiveMail

    async def introduce(self) -> Reply | Gone | None:
        """Say who the client is. A reply: the primary won't have it, or can't take the message."""
        self._busy = True
        try:
            said = await self._connection.identify(
                self._client, look_up=self._look_up, pipelined=True
            )
        except ConnectionFailed as error:
            return await self._renewed(error, Command.XCLIENT)
        self._busy = False
        self.told = self._connection.told
        if said is not None:
            answer = self._judge(said, Command.XCLIENT)
            self._drop("the client is refused")
            self._refusal = answer if isinstance(answer, Reply) else None
            return answer
        unmet = unmet_need(self._mail, self._connection.capabilities, eight_bit=False)
        if unmet is not None:
            self._refusal = unmet
            self.abandon()
        return unmet

    async def recipient(self, recipient: Recipient) -> Reply | Gone:
        """As `LiveMail.recipient`."""
        if self._refusal is not None:
            return self._refusal
        if self._over:
            return _OVER
        if (answer := await self._said_again()) is not None:
            return answer
        return await self._recipient(recipient)

    async def start(self, *, chunking: bool) -> Reply | Gone:
        """As `LiveMail.start`."""
        if self._over:
            return self._refusal or _OVER
        if (lost := await self._said_again()) is not None:
            return lost
        if chunking and self._connection.capabilities.chunking:
            self._body = Chunker()
            return _GO_AHEAD
        answer = await self._exchange(lambda: [_DATA])
        if not isinstance(answer, list):
            return answer
        if answer[0].code == 354:
            self._body = DotStuffer()
        return self._judge(answer[0], Command.DATA)

    def write(self, piece: bytes) -> Awaitable[Gone | None] | None:
        """As `LiveMail.write`. A verdict that comes early is told at the end."""
        if self._body is None:
            return None
        connection, chunk = self._connection, isinstance(self._body, Chunker)
        if not connection.capabilities.eight_bit_mime and not self._may_send(piece):
            return None
        data = self._body.encode(piece)
        full = connection.send_body_octets(data, chunk=chunk) if data else None
        if connection.ended is not None:
            broken = asyncio.get_running_loop().create_future()
            broken.set_result(self._broken_off())
            return broken
        return self._written(full) if full is not None else None

    async def end(self, queue_id: str) -> Receipt | Reply | Gone:
        """As `LiveMail.end`."""
        if self._body is None:
            return self._refusal or _OVER
        connection, chunk = self._connection, isinstance(self._body, Chunker)
        connection.send_body_octets(self._body.end(), chunk=chunk, last=True)
        self._busy = True
        try:
            said = await connection.body_reply()
        except ConnectionFailed as error:
            return self._lost(error, Command.BODY, after_dot=connection.body_left)
        self._busy = False
        self._body = None
        self._opened = chunk and not said.positive  # RFC 3030 §2: closed by RSET only
        answer = self._judge(said, Command.BODY)
        self.abandon()
        if isinstance(answer, Reply) and answer.positive:
            return Receipt(queue_id, answer)
        return answer

    def abandon(self) -> None:
        """As `LiveMail.abandon`."""
        if self._over:
            return
        if self._busy or (self._body is not None and self._body.begun):
            self._drop("the client gave up")
            return
        self._over = True
        self._body = None
        if self._opened:
            self._pool.reset(self._kept)
        else:
            self._pool.put_back(self._kept)

    # Talking

    @property
    def _connection(self) -> Connection:
        return self._kept.connection

    def _rcpt(self, recipient: Recipient) -> tuple[Command, bytes]:
        return Command.RCPT, rcpt_command(recipient, self._connection.capabilities)

    async def _recipient(self, recipient: Recipient) -> Reply | Gone:
        if self._opened:
            said = await self._exchange(lambda: [self._rcpt(recipient)])
            answer = self._judge(said[0], Command.RCPT) if isinstance(said, list) else said
        else:
            answer = await self._first_recipient(recipient)
        if isinstance(answer, Reply) and answer.positive:
            self._taken.append(recipient)
        return answer

    async def _said_again(self) -> Reply | Gone | None:
        """Where the primary hung up while the client was silent, say all again that it had taken,
        on a new connection. None: go on.
        """
        ended = self._connection.ended
        if ended is None or not self._opened:
            return None
        self._maybe_stale, self._opened = True, False
        taken, self._taken = self._taken, []
        answer = await self._renewed(ConnectionFailed(ended.text, ended.reply), Command.RCPT)
        for recipient in taken:
            if answer is None:
                said = await self._recipient(recipient)
                answer = None if isinstance(said, Reply) and said.positive else said
        if isinstance(answer, Reply):
            self._refusal = answer
            self.abandon()
        return answer

    async def _first_recipient(self, recipient: Recipient) -> Reply | Gone:
        def lines() -> _Lines:
            mail = mail_command(self._mail, self._connection.capabilities)
            return [*self._connection.speaker.preface, (Command.MAIL, mail), self._rcpt(recipient)]

        answer = await self._exchange(lines)
        if not isinstance(answer, list):
            return answer
        *forwarded, opened, first = answer
        for said in forwarded:
            self._connection.speaker.forwarded(said)
        self.told = self._connection.told
        self._kept.transactions += 1
        if opened.code // 100 == 2:
            self._opened = True
            return self._judge(first, Command.RCPT)
        self._kept.refusals += 1  # its reply to RCPT is one more
        judged = self._judge(opened, Command.MAIL)
        if first.positive:
            self._drop("RCPT accepted after MAIL was refused")
        self.abandon()
        if isinstance(judged, Reply):
            self._refusal = judged
        return judged

    async def _exchange(self, lines: Callable[[], _Lines]) -> list[Reply] | Reply | Gone:
        """Say lines, if need be on a new connection. No list: nothing more can be said."""
        try:
            said = lines()
        except ValueError as error:  # an address that would break out of its command
            self.abandon()
            return Gone(text=str(error))
        self._busy = True
        try:
            replies = await self._connection.converse(said)
        except ConnectionFailed as error:
            answer = await self._renewed(error, said[-1][0])
            return await self._exchange(lines) if answer is None else answer
        self._busy = False
        if self._maybe_stale:
            self._maybe_stale = False
            self._pool.reached(self._kept)
        return replies

    async def _renewed(self, error: ConnectionFailed, command: Command) -> Reply | Gone | None:
        """After a loss: None when it was only a stale connection, and there is a new one."""
        if not self._maybe_stale or self._over:
            return self._lost(error, command)
        self._maybe_stale = False
        try:
            kept = await self._pool.renew(self._kept, self._hops)
        except (Full, ConnectionFailed) as failed:
            self._over = True
            return Gone(text=str(failed) or "no connection is to be had")
        except BaseException:
            self._over = True
            raise
        if self._given_up():  # meanwhile
            self._pool.put_back(kept)
            return _OVER
        self._kept = kept
        self.host = kept.host
        self._busy = False
        return await self.introduce()

    # Judging

    def _is_verdict(self, said: Reply, command: Command) -> bool:
        knows = bool(self._kept.offered.xclient) or self._refused >= REFUSALS
        return is_verdict(said, command, accepted=len(self._taken), about_client=knows)

    def _judge(self, said: Reply, command: Command) -> Reply | Gone:
        """A reply on a connection that goes on. After `Gone` it is given up."""
        if not said.positive:
            self._refused += 1
            self._kept.refusals += 1
        if self._is_verdict(said, command):
            return self._presentable(said)
        if no_service(said):
            self._pool.failed(self._kept.hop, str(said))
        self.abandon()
        return Gone(text=f"{self.host}: {said}", reply=said)

    def _presentable(self, said: Reply) -> Reply:
        return presentable(said, utf8=self._mail.smtputf8)

    def _lost(
        self, error: ConnectionFailed, command: Command, *, after_dot: bool = False
    ) -> Reply | Gone:
        """The connection has ended; perhaps with a word that is a verdict all the same."""
        last, over = error.reply, self._over
        self._drop(error.text)
        if last is not None and not last.positive and self._is_verdict(last, command):
            self._refusal = self._presentable(last)
            return self._refusal
        if not over and not is_tired(last):
            self._pool.failed(self._kept.hop, str(error))
        return Gone(text=f"{self.host}: {error.text}", reply=last, after_dot=after_dot)

    def _given_up(self) -> bool:
        return self._over

    def _drop(self, text: str) -> None:
        self._over = True
        self._busy = False
        self._body = None
        self._pool.drop(self._kept, text)

    # The body

    def _may_send(self, piece: bytes) -> bool:
        """Without 8BITMIME: whether a piece keeps to what can be sent. Else all is refused."""
        refusal = None
        if not piece.isascii():
            refusal = unmet_need(self._mail, self._connection.capabilities, eight_bit=True)
        if refusal is None:
            return True
        self._refusal = refusal
        self._drop("the message can't be sent as it is")
        return False

    async def _written(self, full: Awaitable[None]) -> Gone | None:
        await full
        return self._broken_off() if self._connection.ended is not None else None

    def _broken_off(self) -> Gone | None:
        """The connection has ended before the body."""
        ended = self._connection.ended
        if ended is None or self._over:
            return None
        answer = self._lost(ConnectionFailed(ended.text, ended.reply), Command.BODY)
        return answer if isinstance(answer, Gone) else None
