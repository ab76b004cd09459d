"""Counting connections: nothing is given back twice, nothing is kept beyond its bound."""

import asyncio
from collections.abc import Coroutine
from random import Random

import pytest

from tideover.message.envelope import Client, SessionId
from tideover.outbound import kept as kept_module
from tideover.outbound import pool as pool_module
from tideover.outbound.kept import new_room
from tideover.outbound.pool import Full, Pool
from tideover.primary.interface import NextHop
from tideover.smtp.capabilities import Capabilities
from tideover.smtp.client_values import Command
from tideover.smtp.replies import Reply, reply

HOP = NextHop("mx", "192.0.2.1", 25)
CLIENT = Client(session=SessionId("s"), address="192.0.2.9", port=1, helo="c", protocol="ESMTP")


class FakeConnection:
    """As much of `Connection` as a pool sees."""

    capabilities = Capabilities()
    told = ""
    xclient_again = False
    hop = HOP

    def __init__(self) -> None:
        self.log: list[str] = []

    def usable(self) -> bool:
        return not self.log

    def may_tell(self, client: Client) -> bool:
        return True

    def abort(self, text: str) -> None:
        self.log.append(f"abort: {text}")

    async def quit(self) -> None:
        self.log.append("quit")

    async def converse(self, commands: list[tuple[Command, bytes]]) -> list[Reply]:
        return [reply(250, None, "ok") for _ in commands]


class Deaf:
    """Evidence that nobody hears."""

    def reached(self, key: str, host: str, offered: Capabilities) -> None:
        pass

    def failed(self, key: str, host: str, reason: str) -> None:
        pass


class House:
    """Pools in one room, and the connections that they made."""

    def __init__(self) -> None:
        self.room = new_room()
        self.made: list[FakeConnection] = []
        self.tasks: list[asyncio.Task[None]] = []

    def pool(self, most: int = 2) -> Pool:
        return Pool(
            "key", self._connect, most=most, idle_time=30.0, patience=1.0, evidence=Deaf(),
            room=self.room, spawn=self._spawn, chance=Random(1),
        )  # fmt: skip

    async def _connect(self, hop: NextHop) -> FakeConnection:
        self.made.append(FakeConnection())
        return self.made[-1]

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    async def rest(self) -> None:
        await asyncio.gather(*self.tasks)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(pool_module, "PATIENCE", 0.02)


def test_what_is_dropped_twice_leaves_once():
    async def scenario() -> None:
        house = House()
        pool = house.pool(most=1)
        kept = await pool.take((HOP,), CLIENT)
        pool.drop(kept, "first")
        pool.drop(kept, "again")
        await pool.take((HOP,), CLIENT)
        with pytest.raises(Full):
            await pool.take((HOP,), CLIENT)

    asyncio.run(scenario())


def test_all_primaries_share_what_may_be_in_use(monkeypatch):
    monkeypatch.setattr(kept_module, "IN_USE", 3)

    async def scenario() -> None:
        house = House()
        one, two = house.pool(), house.pool()
        taken = [await pool.take((HOP,), CLIENT) for pool in (one, one, two)]
        with pytest.raises(Full):
            await two.take((HOP,), CLIENT)
        one.put_back(taken[0])
        await two.take((HOP,), CLIENT)

    asyncio.run(scenario())


def test_all_primaries_share_what_may_wait(monkeypatch):
    monkeypatch.setattr(kept_module, "IDLE_IN_ALL", 2)

    async def scenario() -> None:
        house = House()
        pools = [house.pool() for _ in range(3)]
        for pool in pools:
            pool.put_back(await pool.take((HOP,), CLIENT))
        await house.rest()
        assert [made.log for made in house.made] == [["quit"], [], []]
        assert [pool.quiet() for pool in pools] == [True, False, False]

    asyncio.run(scenario())


def test_one_that_does_not_answer_rset_in_time_is_dropped(monkeypatch):
    monkeypatch.setattr(pool_module, "RESET", 0.02)

    async def scenario() -> None:
        house = House()
        pool = house.pool(most=1)
        kept = await pool.take((HOP,), CLIENT)

        async def never(commands: object) -> list[Reply]:
            await asyncio.sleep(60)
            return []

        kept.connection.converse = never
        pool.reset(kept)
        monkeypatch.setattr(pool_module, "PATIENCE", 0.001)
        with pytest.raises(Full):  # it holds its place until then
            await pool.take((HOP,), CLIENT)
        await house.rest()
        assert kept.connection.log == ["abort: RSET failed"]
        assert pool.quiet()

    asyncio.run(scenario())
