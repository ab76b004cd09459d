"""What tests of milters share: facts of a transaction, and the check asked as a chain asks it."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tideover.config.model import Config
from tideover.config.policy import Milter, OnFailure
from tideover.message.edits import added_above, edited
from tideover.message.envelope import Client, QueueId, Recipient, SessionId
from tideover.message.fields import parse_header
from tideover.policy.engines import milters
from tideover.policy.interface import About, Message, Result, Stage
from tideover.policy.services import Services
from tideover.policy.transaction import close_all

CLIENT = Client(
    session=SessionId("s"), address="192.0.2.7", port=2525, helo="mail.example.net",
    protocol="ESMTPS", tls="TLSv1.3 TLS_AES_256_GCM_SHA384",
)  # fmt: skip
USER = Recipient(address="user@example.com", domain="example.com")
OTHER = Recipient(address="other@example.com", domain="example.com")
MAIL = b"Subject: hello\r\nFrom: a@example.net\r\n\r\nBody.\r\n"
TRACE = b"Received: from mail.example.net by mx2.example.org id Q1; now\r\n"
CONFIRMED = {"reverse-dns": Result(evidence={"name": "mail.example.net"})}


class Mail:
    """A message in memory; as `message.body.Body`."""

    def __init__(self, data, piece=100_000):
        self.pieces = [data[n : n + piece] for n in range(0, len(data), piece)]
        self.size = len(data)

    @property
    def whole(self):
        return self.pieces

    async def read(self):
        for piece in self.pieces:
            yield piece


def message(data=MAIL, recipients=(USER,)):
    return Message(
        queue_id=QueueId("Q1"), header=parse_header(data, whole=True), body=Mail(data),
        recipients=recipients, trace=TRACE,
    )  # fmt: skip


def settings(address, **more):
    return Milter(socket=address, **{"timeout": 20.0, **more})


def lenient(address, **more):
    return settings(address, on_failure=OnFailure.ACCEPT, **more)


def config(filters):
    return Config(hostname="mx2.example.org", data_dir=Path("/nonexistent"), milters=filters)


class Talk:
    """One transaction with the filters of a configuration, from the first recipient to the end."""

    def __init__(self, check, **facts):
        self.check = check
        self.memory = {}
        self.facts = {
            "client": CLIENT, "now": 0.0, "sender": "a@example.net",
            "sender_domain": "example.net", "results": CONFIRMED, "transaction": self.memory,
            **facts,
        }  # fmt: skip

    async def rcpt(self, recipient=USER):
        return await self.check(About(stage=Stage.RCPT, recipient=recipient, **self.facts))

    async def message(self, data=MAIL, recipients=(USER,)):
        mail = message(data, recipients)
        return await self.check(About(stage=Stage.MESSAGE, message=mail, **self.facts))


@asynccontextmanager
async def talk(filters, **facts):
    """A transaction with filters (settings by name), whose connections end with it."""
    services = Services(
        config=config(filters), names=None, memory=None, is_ours=lambda _: False,
        emit=lambda _: None,
    )  # fmt: skip
    one = Talk(milters.make(services), **facts)
    try:
        yield one
    finally:
        close_all(one.memory)


@asynccontextmanager
async def among(*fakes, how=settings, **limits):
    """A transaction with fake filters that are called a, b, …"""
    async with AsyncExitStack() as stack:
        for fake in fakes:
            await stack.enter_async_context(fake)
        filters = {
            name: how(fake.address, **limits) for name, fake in zip("abcd", fakes, strict=False)
        }
        yield await stack.enter_async_context(talk(filters))


def after(result, data=MAIL):
    """The header section of a message as it will be stored: our trace, edits, and all."""
    section = parse_header(data, whole=True)
    edits = result.edits or ()
    return added_above(edits) + TRACE + edited(section, edits)


def names(result):
    """What was found, in order."""
    return [found.name for found in result.found]


def run(coro):
    return asyncio.run(asyncio.wait_for(coro, 50))
