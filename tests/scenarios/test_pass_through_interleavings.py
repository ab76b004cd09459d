"""Clients that do anything at any moment, on shared connections: no two transactions are mixed."""

import asyncio
import re
from random import Random

import pytest
from live_rig import OFFERS, PIECE, client, envelope, mailbox, rig
from outbound_rig import run

from tideover.primary.relay import Crowded, Gone, LiveMail
from tideover.smtp.receipt import Receipt
from tideover.smtp.replies import Reply
from tideover.testing.peer import Captured, Peer, Reaction, Step

CLIENTS = 60
_ID = re.compile(rb"^Id: (\d+)\r\n")


def moody(chance: Random):
    """A primary that refuses, hangs up and is slow, by chance; 250s it means."""

    def behave(step: Step) -> Reaction | None:
        dice = chance.random()
        if step.verb in ("CONNECT", "EHLO", "QUIT"):
            return Reaction(close=True) if dice < 0.02 else None
        if dice < 0.02:
            return Reaction(reset=True)
        if dice < 0.04:
            return Reaction("421 4.3.2 closing", close=True)
        if dice < 0.14 and step.verb != "RSET":
            return Reaction("550 5.7.1 no" if dice < 0.1 else "451 4.3.0 trouble")
        if dice < 0.24:
            return Reaction(_GOOD[step.verb], delay=0.005)
        return Reaction(_GOOD[step.verb], close=True) if dice < 0.27 else None

    return behave


_GOOD = {
    "MAIL": "250 2.1.0 ok", "RCPT": "250 2.1.5 ok", "DATA": "354 go", "BODY": "250 2.0.0 taken",
    "BDAT": "250 2.0.0 ok", "RSET": "250 2.0.0 ok",
}  # fmt: skip


class Sender:
    """One client. `end` is what it was told, None while it was told nothing."""

    def __init__(self, number: int, chance: Random) -> None:
        self.number = number
        self.end: Receipt | Reply | Gone | None = None
        self.body = b"Id: %d\r\n" % number + b".line\r\n" * chance.choice((1, 100, 40_000))
        self.accepted: list[str] = []
        self._chance = chance
        self._quits = chance.choice((1.0, 1.0, 0.1))  # how much of it all it does

    async def run(self, live: LiveMail) -> None:
        try:
            await self._talk(live)
        finally:
            live.abandon()

    def _leaves(self) -> bool:
        return self._chance.random() > self._quits**0.1

    async def _talk(self, live: LiveMail) -> None:
        for n in range(self._chance.randint(1, 3)):
            answer = await live.recipient(mailbox(f"c{self.number}-{n}"))
            if isinstance(answer, Gone):
                return
            if answer.positive:
                self.accepted.append(f"c{self.number}-{n}")
            if self._leaves():
                return
        if not self.accepted:
            return
        started = await live.start(chunking=self._chance.random() < 0.5)
        if isinstance(started, Gone) or not started.positive or self._leaves():
            return
        for start in range(0, len(self.body), PIECE):
            waiting = live.write(self.body[start : start + PIECE])
            if waiting is not None and await waiting is not None:
                return
            if self._leaves():
                return
            await asyncio.sleep(0)
        self.end = await live.end(f"Q{self.number}")


def locals_of(message: Captured) -> list[str]:
    return [rcpt.partition("<")[2].partition("@")[0] for rcpt in message.rcpts]


@pytest.mark.parametrize("seed", range(12))
def test_no_two_transactions_are_mixed(seed: int) -> None:
    chance = Random(seed)

    async def scenario() -> None:
        offers = OFFERS if seed % 3 else OFFERS[1:]
        async with (
            Peer(capabilities=offers, behave=moody(chance)) as peer,
            rig(peer.port, max_connections=5, command_timeout=1.0) as site,
        ):
            senders = [Sender(number, chance) for number in range(CLIENTS)]

            async def one(sender: Sender) -> None:
                await asyncio.sleep(chance.random() * 0.2)
                live = await site.relay.open("example.com", *_who(sender.number))
                if not isinstance(live, (Reply, Gone, Crowded)):
                    await sender.run(live)

            tasks = [asyncio.create_task(one(sender)) for sender in senders]
            for task in chance.sample(tasks, 10):  # some vanish
                asyncio.get_running_loop().call_later(chance.random() * 0.3, task.cancel)
            await asyncio.gather(*tasks, return_exceptions=True)
            assert not [
                task for task in tasks if not task.cancelled() and task.exception() is not None
            ]
            check(senders, peer.messages)
            await check_idle(site.relay)

    run(scenario)


def _who(number: int):
    return client(number + 1), envelope(f"c{number}@client.example")


def check(senders: list[Sender], messages: list[Captured]) -> None:
    arrived: dict[int, list[Captured]] = {}
    for message in messages:
        found = _ID.match(message.body)
        assert found, message.body[:80]
        number = int(found[1])
        arrived.setdefault(number, []).append(message)
        sender = senders[number]
        assert message.body == sender.body
        assert f"<c{number}@client.example>" in message.mail
        assert locals_of(message) == sender.accepted
    for sender in senders:
        got = len(arrived.get(sender.number, []))
        if isinstance(sender.end, Receipt):
            assert got == 1
        elif isinstance(sender.end, Reply):
            assert got == 0
        elif isinstance(sender.end, Gone):
            assert got <= int(sender.end.after_dot)


async def check_idle(relay) -> None:
    """No slot is lost: all can be had again."""
    (pool,) = relay._pools.values()
    async with asyncio.timeout(5):
        while pool._places.in_use:
            await asyncio.sleep(0.01)
    assert not pool._places.taken
    assert pool._places._slots._value == 5
