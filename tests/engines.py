"""What tests of content engines share: a message to ask about, and an engine that does as told."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop

from tideover.config.model import Config
from tideover.config.policy_values import SocketAddress
from tideover.config.values import Endpoint
from tideover.message.envelope import Client, QueueId, Recipient, SessionId
from tideover.message.fields import parse_header
from tideover.policy.interface import About, Message, Stage
from tideover.policy.services import Services

TRACE = (
    b"Received: from client.example.net ([192.0.2.1])\r\n"
    b"\tby tideover-test.example.org with ESMTPS (TLSv1.3 AES)\r\n"
    b"\tid Q1;\r\n\tSat, 21 Nov 2026 10:00:00 +0000\r\n"
)
HEADER = (
    b"From: Ann <ann@example.net>\r\nTo: user@example.com\r\nSubject: Minutes\r\n"
    b"Date: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@client.example.net>\r\n"
)
PLAIN = HEADER + b"\r\nThe minutes of our meeting are attached.\r\n"


class Kept:
    """A body; `in_memory` False: it has to be read."""

    def __init__(self, data, in_memory=True):
        self.size = len(data)
        self._data = data
        self.whole = [data[:100], data[100:]] if in_memory else None

    async def read(self):
        for at in range(0, self.size, 64 * 1024):
            yield self._data[at : at + 64 * 1024]


def about(data=PLAIN, *, in_memory=True, to=("user@example.com",), helo="client.example.net",
          tls=None, **more):  # fmt: skip
    recipients = tuple(Recipient(address=one, domain=one.rpartition("@")[2]) for one in to)
    message = Message(
        queue_id=QueueId("Q1"),
        header=parse_header(data, whole=True),
        body=Kept(data, in_memory),
        recipients=recipients,
        trace=TRACE,
    )
    client = Client(
        session=SessionId("S1"), address="192.0.2.1", port=25, helo=helo, protocol="ESMTPS", tls=tls
    )
    given = {"sender": "ann@example.net", "transaction": {}, **more}
    return About(
        stage=Stage.MESSAGE,
        client=client,
        now=1.0,
        recipients=recipients,
        message=message,
        **given,
    )


def services(**sections):
    config = Config(hostname="mx2.example.org", data_dir=Path("unused"), **sections)
    return Services(
        config=config, names=None, memory=None, is_ours=lambda domain: False, emit=lambda _: None
    )


def at(endpoint):
    """A TCP port or endpoint, as the socket of a setting."""
    port = endpoint if isinstance(endpoint, int) else endpoint.port
    return SocketAddress(Endpoint("127.0.0.1", port), "")


@asynccontextmanager
async def engine(talk, **more):
    """An engine that does what `talk(reader, writer)` says. Yields its port."""

    async def serve(reader, writer):
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass  # the check hung up
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20, **more)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.sleep(0)


def run(coro):
    """Over the loop that production has."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coro)


def failure(result):
    """The action and reason of the one finding, which says that the engine failed."""
    (found,) = result.found
    assert found.name == "engine-failed"
    assert found.reply is None
    assert "\n" not in found.reason
    return found.action, found.reason
