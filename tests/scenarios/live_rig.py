"""What the scenarios of passing through share: a relay to scripted peers, and a client's way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from outbound_rig import DOMAIN, Routes, route_to, settings

from tideover.config.primaries import PassThrough
from tideover.dns.client_names import ClientNames
from tideover.message.envelope import Client, Envelope, Recipient, SessionId
from tideover.outbound.relay import LiveRelay
from tideover.outbound.transport import opportunistic_context
from tideover.primary.interface import Route
from tideover.primary.relay import Crowded, Gone, LiveMail
from tideover.smtp.capabilities import Capabilities
from tideover.smtp.receipt import Receipt
from tideover.smtp.replies import Reply
from tideover.testing.peer import Peer, Reaction, Step

TRACE = b"Received: from client.example by mx2.example.org; today\r\n"
BODY = b"Subject: tide\r\n\r\nhello\r\n.dots\r\n..\r\n"
LARGE = BODY + (b"." + b"x" * 997 + b"\r\n") * 5_000
PIECE = 16_384
OFFERS = ("PIPELINING", "SIZE 104857600", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING")


def client(number: int = 1, helo: str = "client.example") -> Client:
    return Client(
        session=SessionId(f"S{number}"),
        address=f"192.0.2.{number}",
        port=4000 + number,
        helo=helo,
        protocol="ESMTP",
    )


def envelope(sender: str = "sender@example.net", **more) -> Envelope:
    return Envelope(sender=sender, recipients=(), **more)


def mailbox(local: str = "user", **more) -> Recipient:
    return Recipient(address=f"{local}@{DOMAIN}", domain=DOMAIN, **more)


async def look_up(address: str) -> ClientNames:
    return ClientNames("client.example.net", "client.example.net")


@dataclass
class Noted:
    """Evidence that is kept."""

    ups: list[str] = field(default_factory=list)
    downs: list[str] = field(default_factory=list)
    offered: Capabilities | None = None

    def reached(self, key: str, host: str, offered: Capabilities) -> None:
        self.ups.append(host)
        self.offered = offered

    def failed(self, key: str, host: str, reason: str) -> None:
        self.downs.append(f"{host} {reason}")


@dataclass
class Rig:
    relay: LiveRelay
    evidence: Noted
    router: Routes

    async def open(self, *, number: int = 1, **more) -> LiveMail:
        live = await self.relay.open(DOMAIN, client(number), envelope(**more))
        assert not isinstance(live, (Reply, Gone, Crowded)), live
        return live

    async def send(
        self,
        body: bytes = BODY,
        locals_: Sequence[str] = ("user",),
        *,
        chunking: bool = False,
        number: int = 1,
        **more,
    ) -> Receipt | Reply | Gone | Crowded:
        """A whole transaction as the inbound side would do it; what settled it."""
        live = await self.relay.open(DOMAIN, client(number), envelope(**more))
        if isinstance(live, (Reply, Gone, Crowded)):
            return live
        try:
            return await talk(live, body, locals_, chunking=chunking)
        finally:
            live.abandon()


async def talk(
    live: LiveMail, body: bytes, locals_: Sequence[str] = ("user",), *, chunking: bool = False
) -> Receipt | Reply | Gone:
    answers = []
    for local in locals_:
        answer = await live.recipient(mailbox(local))
        if isinstance(answer, Gone):
            return answer
        answers.append(answer)
    if not any(answer.positive for answer in answers):
        return answers[-1]
    started = await live.start(chunking=chunking)
    if isinstance(started, Gone) or not started.positive:
        return started
    if (gone := await write(live, TRACE + body)) is not None:
        return gone
    return await live.end("Q1")


async def write(live: LiveMail, data: bytes) -> Gone | None:
    for start in range(0, len(data), PIECE):
        waiting = live.write(data[start : start + PIECE])
        gone = await waiting if waiting is not None else None
        if gone is not None:
            return gone
        if start % (PIECE * 16) == 0:
            await asyncio.sleep(0)  # as the network would bring it
    return None


@contextlib.asynccontextmanager
async def rig(
    *ports: int, route: Route | None = None, tls: bool = False, **changes
) -> AsyncIterator[Rig]:
    router = Routes()
    router.table = {DOMAIN: route or route_to(*ports)}
    evidence = Noted()
    relay = LiveRelay(
        router,
        evidence,
        hostname="mx2.example.org",
        outbound=settings(),
        settings=PassThrough(
            **{"connect_timeout": 2.0, "command_timeout": 2.0, "data_timeout": 2.0, **changes}
        ),
        tls=opportunistic_context() if tls else None,
        look_up=look_up,
    )
    try:
        yield Rig(relay, evidence, router)
    finally:
        await relay.close()


def saying(**replies: str):
    """A primary that answers some steps in words of its own."""

    def behave(step: Step) -> Reaction | None:
        return Reaction(replies[step.verb]) if step.verb in replies else None

    return behave


async def settled(peer: Peer, count: int = 1) -> None:
    """Wait until the peer has only so many connections."""
    async with asyncio.timeout(5):
        while peer.open_connections > count:
            await asyncio.sleep(0.005)
