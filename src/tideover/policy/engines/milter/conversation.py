"""One filter and one transaction: what it is told, in which order, and what it says.

It hears of the client, the sender and the first recipient together, then of each recipient, then
of the message. A connection is for one transaction. After anything that is not as it should be the
filter has failed, and is not talked to again.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from tideover.config.policy import Milter
from tideover.message.body import Body
from tideover.message.client_address import plain_address
from tideover.message.envelope import Recipient
from tideover.policy.engines.milter import codec, macros
from tideover.policy.engines.milter.answers import (
    AddHeader,
    ChangeHeader,
    InsertHeader,
    NotCarried,
    Quarantine,
    Verdict,
    Wish,
    Word,
    parse,
)
from tideover.policy.engines.milter.codec import Command, MilterError, Protocol
from tideover.policy.engines.milter.connection import Connection, open_connection
from tideover.policy.engines.milter.shown import Shown
from tideover.policy.interface import About

_MAX_WISHES: Final = 1000
_MAX_WISHED: Final = 1024 * 1024  # octets of all wishes for one message
_WITH_DATA: Final = 4  # the version that brought DATA
_CONTINUE: Final = Verdict(Word.CONTINUE)
_FINAL: Final = frozenset({Word.ACCEPT, Word.REJECT, Word.DEFER, Word.DISCARD})
_FLAGS: Final[Mapping[Command, tuple[Protocol, Protocol]]] = {
    Command.CONNECT: (Protocol.NOCONNECT, Protocol.NR_CONN),
    Command.HELO: (Protocol.NOHELO, Protocol.NR_HELO),
    Command.MAIL: (Protocol.NOMAIL, Protocol.NR_MAIL),
    Command.RCPT: (Protocol.NORCPT, Protocol.NR_RCPT),
    Command.DATA: (Protocol.NODATA, Protocol.NR_DATA),
    Command.HEADER: (Protocol.NOHDRS, Protocol.NR_HDR),
    Command.EOH: (Protocol.NOEOH, Protocol.NR_EOH),
    Command.BODY: (Protocol.NOBODY, Protocol.NR_BODY),
    Command.BODYEOB: (Protocol(0), Protocol(0)),
}
"""By which flags a filter says that it wants no such command, or will not answer it."""


@dataclass(slots=True)
class Heard:
    """What a filter said to a whole message."""

    verdict: Verdict = _CONTINUE
    quarantine: str | None = None
    not_carried: set[str] = field(default_factory=set)
    changes: int = 0


class Conversation:
    """With the filter `name`. `failed` says why it can't go on, "" while it can.

    `standing` is what the filter said of the client or the sender, where that settles the
    transaction; `told` what it said of each recipient, by address.
    """

    def __init__(self, name: str, settings: Milter, hostname: str) -> None:
        self.name = name
        self.settings = settings
        self.failed = ""
        self.standing: Verdict | None = None
        self.told: dict[str, Verdict] = {}
        self._hostname = hostname
        self._connection: Connection | None = None
        self._agreed = codec.Agreed(version=codec.VERSION, protocol=Protocol(0))
        self._skipped: Command | None = None

    async def begin(self, about: About) -> None:
        """Connect, negotiate, and tell of client and sender."""
        try:
            timeout = self.settings.timeout
            self._connection = await open_connection(self.settings.socket, timeout)
            self._connection.send(codec.offer())
            self._agreed = codec.agreed(*await self._connection.receive())
            for command, data in self._hello(about):
                verdict = await self._tell(command, data, about)
                # there is no message yet that could be thrown away
                if verdict.word is Word.DISCARD and command is not Command.MAIL:
                    continue
                if verdict.word in _FINAL:
                    self._stand(verdict)
                    return
        except MilterError as error:
            self._fail(str(error))
        except asyncio.CancelledError:
            self._fail("it did not answer within the time for this stage")
            raise

    async def recipient(self, recipient: Recipient, about: About) -> Verdict:
        """What it says of one recipient. After a failure: CONTINUE, and `failed` is set."""
        if self.failed:
            return _CONTINUE
        if self.standing is not None:
            return self.standing
        if (known := self.told.get(recipient.address)) is not None:
            return known
        parameters = [f"NOTIFY={','.join(recipient.notify)}"] if recipient.notify else []
        parameters += [f"ORCPT={recipient.orcpt}"] if recipient.orcpt else []
        texts = [f"<{recipient.address}>", *parameters]
        data = codec.strings(Command.RCPT, [text.encode() for text in texts])
        try:
            verdict = await self._tell(Command.RCPT, data, about, recipient)
        except MilterError as error:
            self._fail(str(error))
            return _CONTINUE
        except asyncio.CancelledError:
            self._fail("it did not answer within the time for this stage")
            raise
        if verdict.word in (Word.ACCEPT, Word.DISCARD):
            self._stand(verdict)
        self.told[recipient.address] = verdict
        return verdict

    async def message(self, about: About, body: Body, start: int, shown: Shown) -> Heard:
        """What it says of the message, whose body begins at `start`; its wishes go into `shown`.

        After a failure: CONTINUE, and `failed` is set.
        """
        heard = Heard()
        if self.standing is not None:
            heard.verdict = self.standing
            return heard
        try:
            wishes = await self._show(about, body, start, shown, heard)
        except (MilterError, OSError) as error:
            self._fail(str(error))
            return Heard()
        except asyncio.CancelledError:
            self._fail("it did not answer within the time for this stage")
            raise
        if heard.verdict.word not in (Word.REJECT, Word.DEFER):
            for wish in wishes:
                self._apply(wish, shown, heard)
            shown.settle()
        return heard

    def close(self) -> None:
        """The transaction is over, however it ended. Waits for nothing."""
        if self._connection is not None:
            self._connection.close()

    def _hello(self, about: About) -> list[tuple[Command, bytes]]:
        client = about.client
        parameters = [b"SMTPUTF8"] if about.smtputf8 else []
        name = macros.client_name(about)
        return [
            (Command.CONNECT, codec.connect(name, plain_address(client.address), client.port)),
            (Command.HELO, codec.strings(Command.HELO, [client.helo.encode()])),
            (Command.MAIL, codec.strings(
                Command.MAIL, [f"<{about.sender or ''}>".encode(), *parameters])),
        ]  # fmt: skip

    async def _show(
        self, about: About, body: Body, start: int, shown: Shown, heard: Heard
    ) -> list[Wish]:
        """Tell of the message up to its end, and collect what the filter wants."""
        async for command, data in self._message(body, start, shown):
            heard.verdict = await self._tell(command, data, about)
            if heard.verdict.word in _FINAL:
                return []
        self._send(Command.BODYEOB, codec.packet(Command.BODYEOB), about)
        wishes: list[Wish] = []
        wished = 0
        while True:
            name, data = await self._receive()
            said = parse(name, data)
            if isinstance(said, Verdict):
                if said.word is not Word.PROGRESS:
                    heard.verdict = said
                    return wishes
                continue
            wished += len(data)
            wishes.append(said)
            if len(wishes) > _MAX_WISHES or wished > _MAX_WISHED:
                raise MilterError("it asks for too many changes")

    async def _message(
        self, body: Body, start: int, shown: Shown
    ) -> AsyncIterator[tuple[Command, bytes]]:
        """The packets of a message, as long as the filter wants them."""
        if self._agreed.version >= _WITH_DATA:
            yield Command.DATA, codec.packet(Command.DATA)
        leading = Protocol.HDR_LEADSPC in self._agreed.protocol
        for name, value in shown.fields():
            if not self._wants(Command.HEADER):
                break
            text = value.replace(b"\r\n", b"\n")
            text = text if leading else text.removeprefix(b" ")
            yield Command.HEADER, codec.strings(Command.HEADER, [name, text])
        yield Command.EOH, codec.packet(Command.EOH)
        if self._wants(Command.BODY):
            async for chunk in _chunks(body, start):
                yield Command.BODY, codec.packet(Command.BODY, chunk)
                if not self._wants(Command.BODY):
                    break

    def _wants(self, command: Command) -> bool:
        return self._skipped is not command and _FLAGS[command][0] not in self._agreed.protocol

    async def _tell(
        self, command: Command, data: bytes, about: About, recipient: Recipient | None = None
    ) -> Verdict:
        """Send a command with its macros, and wait for the answer if there is to be one."""
        not_wanted, no_reply = _FLAGS[command]
        self._send(command, b"" if not_wanted in self._agreed.protocol else data, about, recipient)
        if not_wanted in self._agreed.protocol:
            return _CONTINUE
        if no_reply in self._agreed.protocol:
            await self._open.flush()
            return _CONTINUE
        while True:
            said = parse(*await self._receive())
            if not isinstance(said, Verdict):
                raise MilterError("it asks for changes before the end of the message")
            if said.word is Word.SKIP:
                self._skipped = command
                return _CONTINUE
            if said.word is not Word.PROGRESS:
                return said

    def _send(
        self, command: Command, data: bytes, about: About, recipient: Recipient | None = None
    ) -> None:
        """A command and its macros; the macros alone where it is not wanted (as Postfix does)."""
        known = macros.values(command, self._agreed, about, self._hostname, recipient)
        self._open.send((codec.macros(command, known) if known else b"") + data)

    async def _receive(self) -> tuple[bytes, bytes]:
        return await self._open.receive()

    @property
    def _open(self) -> Connection:
        if self._connection is None:
            raise MilterError("there is no connection")
        return self._connection

    def _apply(self, wish: Wish, shown: Shown, heard: Heard) -> None:
        leading = b"" if Protocol.HDR_LEADSPC in self._agreed.protocol else b" "
        match wish:
            case AddHeader(name, value):
                shown.add(name, leading + value)
            case InsertHeader(index, name, value):
                shown.insert(index, name, leading + value)
            case ChangeHeader(index, name, value):
                shown.change(index, name, leading + value if value else b"")
            case Quarantine(reason):
                heard.quarantine = reason
            case NotCarried(what):
                heard.not_carried.add(what)
        heard.changes += isinstance(wish, AddHeader | InsertHeader | ChangeHeader)

    def _stand(self, verdict: Verdict) -> None:
        self.standing = verdict
        self.close()

    def _fail(self, why: str) -> None:
        self.failed = why
        if self._connection is not None:
            self._connection.abort()


async def _chunks(body: Body, start: int) -> AsyncIterator[bytes]:
    """The message from an octet on, in pieces as large as a packet may be."""
    left = start
    async for piece in body.read():
        if left >= len(piece):
            left -= len(piece)
            continue
        view = memoryview(piece)[left:]
        left = 0
        for at in range(0, len(view), codec.BODY_CHUNK):
            yield bytes(view[at : at + codec.BODY_CHUNK])
