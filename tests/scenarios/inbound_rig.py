"""Listeners with a directory and a spool that do what a test says, and clients of them."""

import asyncio
import socket
import struct
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import uvloop

from tideover.config.model import Config, Smtp
from tideover.config.policy import Policy
from tideover.config.values import Endpoint
from tideover.inbound.admission import Admission
from tideover.inbound.house import House
from tideover.inbound.limits import ConnectionLimits
from tideover.inbound.listener import Listeners, bind
from tideover.inbound.tls import open_certificate
from tideover.policy.body import Copies
from tideover.policy.chain import Chain
from tideover.policy.services import Services
from tideover.recipients.interface import Confidence, Finding, Verdict
from tideover.smtp.receipt import Receipt
from tideover.spool.ids import IdSource

HONEYPOT = Confidence.HONEYPOT


class OneDomain:
    """Knows `user` and `postmaster`, and what a test puts into `findings`: by local part, a
    Finding or a coroutine function that makes one.
    """

    def __init__(self):
        self.findings = {}

    def lookup(self, local, domain):
        if domain.lower() != "example.com":
            return Finding(verdict=Verdict.FOREIGN)
        if (found := self.findings.get(local)) is not None:
            return found() if callable(found) else found
        known = local.lower() in ("user", "postmaster")
        verdict = Verdict.ACCEPT if known else Verdict.REJECT
        return Finding(verdict=verdict, domain="example.com")

    def trap(self, local, domain):
        found = self.findings.get(local)
        return found if isinstance(found, Finding) and found.confidence is HONEYPOT else None


class Shelf:
    """A spool of one list, that fails or waits when told to."""

    def __init__(self):
        self.new_id = IdSource(0).next
        self.messages = []
        self.write_error = self.commit_error = None
        self.gate = None
        self.aborted = 0

    def open(self, queue_id):
        return ShelfIntake(self, queue_id)


class ShelfIntake:
    def __init__(self, shelf, queue_id):
        self.shelf, self.queue_id, self.parts, self.size = shelf, queue_id, [], 0

    def write(self, data):
        self.parts.append(data)
        self.size += len(data)
        return self._waited() if self.shelf.write_error or self.shelf.gate else None

    async def _waited(self):
        if self.shelf.gate:
            await self.shelf.gate.wait()
        if self.shelf.write_error:
            raise self.shelf.write_error

    async def commit(self, message):
        if self.shelf.gate:
            await self.shelf.gate.wait()
        if self.shelf.commit_error:
            raise self.shelf.commit_error
        self.shelf.messages.append((message, b"".join(self.parts)))
        return Receipt(self.queue_id)

    def abort(self):
        self.shelf.aborted += 1


@dataclass
class Server:
    house: House
    listeners: Listeners
    port: int
    shelf: Shelf
    events: list = field(default_factory=list)
    clients: list = field(default_factory=list)

    def names(self):
        return [type(event).__name__ for event in self.events]

    async def client(self, source="127.0.0.1", greet=True):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, local_addr=(source, 0)
        )
        client = Client(reader, writer)
        self.clients.append(client)
        if greet:
            assert (await client.answer()).startswith(b"220")
        return client


class Client:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def answer(self):
        async with asyncio.timeout(5):
            while (line := await self.reader.readline())[3:4] == b"-":
                pass
        return line

    async def say(self, data):
        self.writer.write(data)
        return await self.answer()

    async def to_data(self):
        for line in (b"EHLO c.example\r\n", b"MAIL FROM:<s@example.net>\r\n",
                     b"RCPT TO:<user@example.com>\r\n"):  # fmt: skip
            assert (await self.say(line)).startswith(b"250")
        assert (await self.say(b"DATA\r\n")).startswith(b"354")

    async def closed(self):
        async with asyncio.timeout(5):
            return await self.reader.read() == b""

    def reset(self):
        """Go away by RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self):
        self.writer.transport.abort()
        with suppress(OSError):
            await self.writer.wait_closed()


class Strangers:
    """A memory of clients that knows those whom a test names."""

    def __init__(self):
        self.known = set()

    def is_patient(self, network):
        return network in self.known

    def waited(self, network, now):
        self.known.add(network)

    def met(self, network, now):
        self.known.add(network)


def chain_of(directory, emit, entries, profiles):
    """A maker of chains with these checks, by stage."""
    memory = Strangers()

    def make(config):
        config = replace(config, profiles=profiles or {})
        services = Services(config=config, names=None, memory=memory, is_ours=lambda _: False,
                            emit=emit)  # fmt: skip
        return Chain(services, entries, Copies(directory), time.time)

    return make


@asynccontextmanager
async def serving(tmp_path, *, entries=None, profiles=None, policy=None, domains=None, **smtp):
    config = Config(
        hostname="mx2.example.org",
        data_dir=tmp_path,
        smtp=Smtp(listen=(Endpoint("127.0.0.1", 0),), **smtp),
        max_message_size=20_000_000,
        policy=policy or Policy(greet_delay=0.0),
        domains=domains or {},
    )
    events: list = []
    shelf = Shelf()
    certificate = open_certificate(None, None, data_dir=tmp_path, hostname="mx2.example.org",
                                   sink=events.append)  # fmt: skip
    house = House(
        config=config, certificate=certificate, directory=OneDomain(), spool=shelf,
        admission=Admission(lambda: 10**12, 1, events.append, time.time),
        limits=ConnectionLimits(config.smtp), sink=events.append, on_accepted=lambda _d: None,
        clock=time.time, make_chain=chain_of(tmp_path, events.append, entries or {}, profiles),
    )  # fmt: skip
    listeners = Listeners(house)
    (sock,) = bind(config.smtp.listen)
    port = sock.getsockname()[1]
    await listeners.start([sock])
    server = Server(house, listeners, port, shelf, events)
    try:
        yield server
    finally:
        for client in server.clients:
            await client.close()
        await listeners.stop(grace=0.0)
        for _ in range(5):
            await asyncio.sleep(0)


def scenario(function):
    """Run an async test with a server, on both event loops; `with_smtp` sets its [smtp].

    What is raised into the loop fails the test too.
    """

    def run(tmp_path, **kwargs):
        async def main():
            raised = []
            asyncio.get_running_loop().set_exception_handler(lambda _loop, it: raised.append(it))
            async with serving(tmp_path, **getattr(function, "smtp", {})) as server:
                await function(server, **kwargs)
            assert raised == []

        for runner in (asyncio.run, uvloop.run):
            runner(main())

    run.__name__ = function.__name__
    return run


def with_smtp(**smtp):
    def mark(function):
        function.smtp = smtp
        return function

    return mark
