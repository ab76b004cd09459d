"""What checks of the RCPT stage are asked in these tests, and with what."""

import asyncio
from pathlib import Path

from tideover.authentication.results import SpfResult
from tideover.config.model import Config, Domain
from tideover.config.values import Endpoint
from tideover.message.envelope import Client, Recipient, SessionId
from tideover.policy.interface import About, Result, Stage
from tideover.policy.memory import Memory
from tideover.policy.services import Services

NOW = 1_800_000_000.0
PATH = Path("/nonexistent")


class Clock:
    def __init__(self, now=NOW):
        self.now = now

    def __call__(self):
        return self.now


def client(address="192.0.2.1"):
    return Client(
        session=SessionId("s"), address=address, port=1, helo="mail.example.net", protocol="ESMTP"
    )


def recipient(address="user@example.com"):
    return Recipient(address=address, domain=address.rpartition("@")[2].lower())


def about(now=NOW, *, address="192.0.2.1", sender="a@example.net", to="user@example.com",
          stage=Stage.RCPT, **more):  # fmt: skip
    return About(
        stage=stage,
        client=client(address),
        now=now,
        sender=sender,
        sender_domain=(sender or "").rpartition("@")[2],
        recipient=recipient(to) if to else None,
        **more,
    )


def spf(result="pass", domain="example.net", mechanism="ip4:192.0.2.0/24"):
    """Results in which SPF has said this."""
    said = (SpfResult(result=result, domain=domain, mechanism=mechanism, trail=(mechanism,)),)
    return {"spf": Result(detail=said)}


def config(*, data_dir=PATH, domains=("example.com", "example.org"), profile="default", **more):
    listed = {
        name: Domain(primary=(Endpoint("127.0.0.1", 2526),), recipients=("learn",), profile=profile)
        for name in domains
    }
    return Config(hostname="mx2.example.org", data_dir=data_dir, domains=listed, **more)


def services(memory, **more):
    return Services(config=config(**more), names=None, memory=memory,
                    is_ours=lambda _: False, emit=lambda _: None)  # fmt: skip


def with_memory(path, scenario, *, clock=None, events=None, **options):
    """Run `scenario(memory)` with a memory in the directory `path`."""

    async def run():
        emit = ([] if events is None else events).append
        memory = await Memory.open(path / "clients.sqlite", emit, clock=clock or Clock(), **options)
        try:
            return await scenario(memory)
        finally:
            await memory.close()

    return asyncio.run(run())


def at_once(coroutine):
    """What a coroutine returns that must not suspend."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise AssertionError("it waits for something")


def names(result):
    return [found.name for found in result.found]
