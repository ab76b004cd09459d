"""The primary dies at each step of a transaction that passes through to it, and so do we: whatever
was answered 250 is at the primary or in the spool, and what may come twice is recorded.
"""

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, islice, product
from pathlib import Path

import pytest

from pass_rig import AT_ONCE, Told, converse, primary_is, transact
from tideover.testing.breaking_peer import OFFERS, STEPS, XCLIENT, BreakingPeer, Taken
from tideover.testing.daemon import Daemon, free_port
from tideover.testing.mailgen import mail, number_of
from wire import Wire, without_trace

_QUICK, _ALL = 2, 20
_OURS = re.compile(rb"by mx2\.example\.org.*?\bid ([A-Za-z0-9]+)", re.DOTALL)
_SETTINGS = """
[health]
check_interval = "60s"

[pass_through]
command_timeout = "2s"
data_timeout = "2s"

[log]
max_size = "2GiB"
"""
_LATE = ("DOT", "STORED", "HALF", "ANSWERED")
"""Steps at which the whole message had left."""

_HOWS = tuple(product(("fin", "rst", "kill"), (False, True), (3000, 2_500_000)))
"""Each way to die, by DATA and by BDAT, a small message and one of 2 MB."""


class House:
    """A daemon before a primary that breaks, and the accounts of both."""

    def __init__(self, directory: Path) -> None:
        port = free_port()
        self.peer = BreakingPeer(directory / "peer", port, offers=(*OFFERS, XCLIENT))
        self.daemon = Daemon(
            directory / "daemon",
            primary=port,
            domain='when_primary_up = "auto"',
            outbound='probe_interval = "100ms"\n',
            more=AT_ONCE + _SETTINGS,
        )
        self.numbers = count(1)
        self.sizes: dict[int, int] = {}
        self.acknowledged: set[int] = set()

    @contextmanager
    def running(self) -> Iterator["House"]:
        with self.peer, self.daemon:
            primary_is(self.daemon, "up")
            yield self

    def body(self, size: int) -> tuple[int, bytes]:
        """A new message."""
        number = next(self.numbers)
        self.sizes[number] = size
        return number, mail(number, size)

    def renew(self) -> None:
        """The primary is there, as new, and known to be up; no connection to it is left."""
        self.peer.disarm()
        self.peer.kill()
        self.peer.start()
        primary_is(self.daemon, "up")

    def send(self, size: int, *, by_bdat: bool = False) -> Told:
        """One message; what was answered 250 goes into the accounts."""
        number, body = self.body(size)
        told = transact(self.daemon.port, body, by_bdat=by_bdat)
        if told.end.startswith(b"250"):
            self.acknowledged.add(number)
        return told

    def account(self) -> Counter[int]:
        """Let everything come home, then account for it; returns how often each one came."""
        if self.daemon.ask("queue", "list"):
            done = self.daemon.run("queue", "flush", "--all", "--wait", "--timeout", "50s")
            assert done.returncode == 0, done.stdout + done.stderr
        taken = self.peer.taken()
        came = Counter(number_of(one.body) for one in taken)
        assert self.acknowledged - set(came) == set(), "lost after our 250"
        for one in taken:
            number = number_of(one.body)
            assert without_trace(one.body) == mail(number, self.sizes[number])
        assert self.daemon.ask("queue", "dead") == []
        unknown = self.unknown()
        twice = {n: times for n, times in came.items() if times > 1 + unknown[_id_of(taken, n)]}
        assert twice == {}, "came twice, and nobody says so"
        return came

    def unknown(self) -> Counter[str]:
        """By queue id, how often the end of an attempt was recorded as unknown."""
        names = ("delivery-unknown", "pass-through-lost")
        return Counter(
            one["message"] for one in self.daemon.events(*names)
            if one["event"] == names[0] or one["maybe_delivered"]
        )  # fmt: skip

    def broken(self) -> int:
        """How often the primary broke."""
        return sum(" broken: " in one for one in self.peer.commands())


def _id_of(taken: list[Taken], number: int) -> str:
    """Our queue id of a message; however often it came, it is the same."""
    found = {_OURS.search(one.body)[1].decode() for one in taken if number_of(one.body) == number}
    assert len(found) == 1, found
    return found.pop()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with House(tmp_path_factory.mktemp("house")).running() as made:
        yield made


def _die_at(house: House, step: str, rounds: int) -> None:
    begun = house.broken()
    steps = len(house.unknown())
    ways = list(_HOWS)
    random.Random(step).shuffle(ways)
    for way, by_bdat, size in islice((ways * rounds), rounds):
        house.renew()
        house.peer.arm(step, way)
        told = house.send(size, by_bdat=by_bdat)
        assert told.codes() == (b"250", b"250"), f"{step} {way} {by_bdat=} {size}: {told}"
        assert not house.peer.disarm(), f"it did not come to {step}"
    house.renew()
    house.account()
    assert house.broken() - begun == rounds
    if step in _LATE[:3]:
        assert len(house.unknown()) - steps == rounds, "each of these might have been delivered"
    if step not in _LATE:
        assert len(house.unknown()) == steps


@pytest.mark.parametrize("step", STEPS)
def test_the_primary_dies(house: House, step: str) -> None:
    _die_at(house, step, _QUICK)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("step", STEPS)
def test_the_primary_dies_twenty_times(house: House, step: str) -> None:
    _die_at(house, step, _ALL)


@pytest.mark.parametrize("step", ["EHLO", "RCPT", "DOT", "STORED"])
def test_the_primary_falls_silent(house: House, step: str) -> None:
    house.renew()
    house.peer.arm(step, "hang")
    start = time.monotonic()
    assert house.send(700).codes() == (b"250", b"250")
    assert time.monotonic() - start < 10
    house.renew()
    house.account()


def test_a_connection_that_died_while_it_was_kept_is_not_used(house: House) -> None:
    house.renew()
    for _ in range(3):
        told = house.send(700)
        assert told.end == b"250 2.0.0 Home queued it as H4711\r\n", "passed, not queued"
        house.peer.kill()
        house.peer.start()
        primary_is(house.daemon, "up")
    house.account()


def test_many_clients_while_it_dies_and_returns(house: House) -> None:
    house.renew()
    load = Load(house)
    for _ in range(3):
        time.sleep(0.4)
        house.peer.kill()
        time.sleep(0.4)
        house.peer.start()
    load.stop()
    assert load.surprises == []
    house.renew()
    house.account()
    assert len(house.acknowledged) > 20


def _kill_us(house: House, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(rounds):
        house.renew()
        load = Load(house)
        time.sleep(chance.uniform(0.05, 0.8))
        house.daemon.kill()
        load.stop()
        assert load.surprises == []
        house.daemon.start()
    house.renew()
    house.account()


def test_we_die_while_transactions_pass_through(house: House) -> None:
    _kill_us(house, _QUICK, time.time_ns())


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_we_die_twenty_times(house: House) -> None:
    _kill_us(house, _ALL, time.time_ns())


class Load:
    """Clients that send until they are stopped, or we die under them."""

    def __init__(self, house: House, clients: int = 6) -> None:
        self._house = house
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self.surprises: list[str] = []
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _send(self, client: int) -> None:
        try:
            while not self._ending.is_set():
                with Wire(self._house.daemon.port, source=f"127.0.0.{70 + client}") as wire:
                    wire.hello()
                    for _ in range(5 if client % 2 else 1):
                        self._one(wire, by_bdat=client % 3 == 0)
        except (OSError, EOFError):
            return

    def _one(self, wire: Wire, *, by_bdat: bool) -> None:
        with self._lock:
            number, body = self._house.body(250_000 if by_bdat else 3000)
        told = converse(wire, body, by_bdat=by_bdat)
        if not told.verdict:
            raise EOFError
        with self._lock:
            if told.end.startswith(b"250") and told.end.endswith(b"\r\n"):
                self._house.acknowledged.add(number)
            else:
                self.surprises.append(repr(told))


def test_the_bookkeeping_sees_a_loss_and_an_unannounced_double(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.renew()
    assert house.send(700).codes() == (b"250", b"250")
    house.account()
    taken = house.peer.taken()
    monkeypatch.setattr(house.peer, "taken", lambda: [*taken, taken[-1]])
    with pytest.raises(AssertionError, match="came twice"):
        house.account()
    monkeypatch.setattr(house.peer, "taken", lambda: taken[:-1])
    with pytest.raises(AssertionError, match="lost after our 250"):
        house.account()
