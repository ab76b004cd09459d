"""A trap on loopback addresses, with a memory of its own and primaries that stand as one says."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop

from tideover.config.model import Config, Domain
from tideover.config.primaries import Health, Trap
from tideover.config.values import Endpoint
from tideover.events.event import Event
from tideover.policy.memory import NAME, Memory
from tideover.primary.interface import PrimaryState
from tideover.primary.standing import Standing
from tideover.testing.ports import free_port
from tideover.trap import holding, role
from tideover.trap.role import TrapRole

STEP = 0.05
"""Seconds between its looks at what is known of the better hosts."""

TICK = 0.01
"""Seconds between its looks at whose reply is due."""

DOMAINS = ("example.com", "example.org")


class Primaries:
    """`Standings`: up since now unless told otherwise; `checked_at` is now while `fresh`."""

    def __init__(self) -> None:
        self.states: dict[str, PrimaryState] = {}
        self.doubt: set[str] = set()
        self.fresh = True
        self._checked = 0.0

    def standing(self, domain: str) -> Standing:
        if self.fresh:
            self._checked = time.time()
        return Standing(
            key=domain,
            state=self.states.get(domain, PrimaryState.UP),
            since=0.0,
            reason="a test says so",
            doubt=domain in self.doubt,
            checked_at=self._checked,
        )

    async def look(self, domain: str) -> Standing:
        return self.standing(domain)


class Rig:
    """`port` is the trap's on 127.0.0.1. Made by `with_trap`."""

    def __init__(self, directory: Path, memory: Memory, **settings: object) -> None:
        self.port = free_port()
        self.primaries = Primaries()
        self.events: list[Event] = []
        self.memory = memory
        primary = (Endpoint("127.0.0.1", 1),)
        listed = {name: Domain(primary=primary, recipients=()) for name in DOMAINS}
        self.config = Config(
            hostname="mx9.example.org",
            data_dir=directory,
            domains=listed,
            health=Health(check_interval=0.05),
            trap=Trap(**{"delay": 0.0, "settle": 0.0} | settings),
        )
        self.role = TrapRole(
            self.config, memory, self.primaries, listed.__contains__, self.events.append
        )
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("0.0.0.0", self.port))

    async def until(self, fact: Callable[[], object], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not fact():
                await asyncio.sleep(0.02)

    async def is_open(self) -> None:
        await self.until(lambda: self.role.state().state == "open")

    async def client(self, source: str = "127.0.0.1") -> "Client":
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0)), 5.0
        )
        return Client(reader, writer)

    def named(self, name: str) -> list[Event]:
        return [event for event in self.events if type(event).__name__ == name]


class Client:
    """Somebody at the trap."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def hear(self) -> bytes:
        return await asyncio.wait_for(self.reader.readline(), 10.0)

    async def say(self, line: bytes) -> bytes:
        self.writer.write(line + b"\r\n")
        return await self.hear()

    async def try_mail(self, helo: bytes = b"mail.example.net") -> bytes:
        assert (await self.hear()).startswith(b"220 ")
        assert (await self.say(b"EHLO " + helo)).startswith(b"250 ")
        assert (await self.say(b"MAIL FROM:<a@example.net>")).startswith(b"250 ")
        return await self.say(b"RCPT TO:<user@example.com>")

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


def run(directory: Path, test: Callable[[Rig], Awaitable[None]], **settings: object) -> Rig:
    """Run a test with a trap that is on its way to be open."""

    async def main() -> Rig:
        memory = await Memory.open(directory / NAME, lambda _: None)
        rig = Rig(directory, memory, **settings)
        rig.role.start([rig.socket])
        task = asyncio.create_task(rig.role.run())
        try:
            await test(rig)
        finally:
            task.cancel()
            await asyncio.wait([task])
            rig.role.stop()
            await memory.close()
        return rig

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(role, "_STEP", STEP)
        patch.setattr(holding, "_TICK", TICK)
        return uvloop.run(main())
