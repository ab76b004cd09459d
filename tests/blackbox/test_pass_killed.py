"""The primary dies at each step of a transaction that passes through to it, and so do we: whatever
was answered 250 is at the primary or in the spool, and what may come twice is recorded.
"""

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle, islice, product
from pathlib import Path

import pytest

from pass_rig import AT_ONCE, Told, converse, transact, until
from tideover.testing.breaking_peer import OFFERS, STEPS, XCLIENT, BreakingPeer, Taken
from tideover.testing.daemon import Daemon
from tideover.testing.mailgen import mail, number_of
from tideover.testing.ports import free_port
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
_EARLY = ("CONNECT", "EHLO", "MAIL", "RCPT")
"""Steps at which no body had left; later all of a small one may have."""

_LATE = ("DOT", "STORED", "HALF")
"""Steps at which all had left, and no answer came: it was not made, or sent and never read."""

_HOMES = b"250 2.0.0 Home queued it as H4711\r\n"
_HOWS = tuple(product(("fin", "rst", "kill"), (False, True), (3000, 2_500_000)))
"""Each way to die, by DATA and by BDAT, a small message and one of 2 MB."""


@dataclass
class Home:
    """A domain and its primary."""

    domain: str
    peer: BreakingPeer


class House:
    """A daemon before primaries that break, and the accounts of all.

    Each primary dies once or twice only: of one that flaps no return is believed for a while.
    """

    def __init__(self, directory: Path, homes: int) -> None:
        self.homes = [
            Home(
                f"home{n}.example",
                BreakingPeer(directory / f"peer{n}", free_port(), offers=(*OFFERS, XCLIENT)),
            )
            for n in range(homes)
        ]
        domains = "".join(
            f'[domains."{home.domain}"]\nprimary = ["127.0.0.1:{home.peer.rules.port}"]\n'
            'recipients = ["file:recipients"]\nwhen_primary_up = "auto"\n'
            for home in self.homes
        )
        self.daemon = Daemon(directory / "daemon", more=AT_ONCE + _SETTINGS + domains)
        self.numbers = count(1)
        self.sizes: dict[int, int] = {}
        self.acknowledged: set[int] = set()

    def start(self) -> None:
        """Start all, and wait until all primaries are known to be up."""
        for home in self.homes:
            home.peer.start()
        self.daemon.start()
        self.wait_up()

    def wait_up(self) -> None:
        domains = {home.domain for home in self.homes}

        def up() -> bool:
            status = self.daemon.ask("status")["domains"]
            return all(status[domain]["primary"] == "up" for domain in domains)

        until(up, 30)

    def end(self) -> None:
        self.daemon.kill()
        for home in self.homes:
            home.peer.kill()

    def body(self, size: int) -> tuple[int, bytes]:
        """A new message."""
        number = next(self.numbers)
        self.sizes[number] = size
        return number, mail(number, size)

    def send(self, home: Home, size: int, *, by_bdat: bool = False) -> Told:
        """One message; what was answered 250 goes into the accounts."""
        number, body = self.body(size)
        told = transact(self.daemon.port, body, [f"user@{home.domain}"], by_bdat=by_bdat)
        if told.end.startswith(b"250"):
            self.acknowledged.add(number)
        return told

    def taken(self) -> list[Taken]:
        """What all primaries took."""
        return [one for home in self.homes for one in home.peer.taken()]

    def account(self) -> Counter[int]:
        """Let everything come home, then account for it; returns how often each one came."""
        if self.daemon.ask("queue", "list"):
            done = self.daemon.run("queue", "flush", "--all", "--wait", "--timeout", "50s")
            assert done.returncode == 0, done.stdout + done.stderr
        taken = self.taken()
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
            if one["event"] == names[0] or one.get("maybe_delivered")
        )  # fmt: skip


def _id_of(taken: list[Taken], number: int) -> str:
    """Our queue id of a message; however often it came, it is the same."""
    found = {_OURS.search(one.body)[1].decode() for one in taken if number_of(one.body) == number}
    assert len(found) == 1, found
    return found.pop()


Make = Callable[[int], House]


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[Make]:
    """Makes a house with so many primaries, all of them up."""
    made: list[House] = []

    def make(homes: int) -> House:
        made.append(House(tmp_path, homes))
        made[0].start()
        return made[0]

    yield make
    for house in made:
        house.end()


def _die_at(house: House, step: str, hows: Sequence[tuple[str, bool, int]]) -> None:
    for home, (way, by_bdat, size) in zip(house.homes, hows, strict=True):
        home.peer.arm(step, way)
        told = house.send(home, size, by_bdat=by_bdat)
        assert told.codes() == (b"250", b"250"), f"{step} {way} {by_bdat=} {size}: {told}"
        until(lambda home=home: not home.peer.armed, 5, lambda: f"it did not come to {step}")
        if way == "kill":
            home.peer.kill()
            home.peer.start()
    house.account()
    if step in _EARLY:
        assert not house.unknown(), "none of these can have been delivered"
    if step in _LATE:
        assert sum(house.unknown().values()) >= len(hows), "each might have been delivered"


def _some_ways(step: str, count: int) -> list[tuple[str, bool, int]]:
    """Each step has others, always the same; of many, all."""
    ways = list(_HOWS)
    random.Random(step).shuffle(ways)
    return list(islice(cycle(ways), count))


@pytest.mark.parametrize("step", STEPS)
def test_the_primary_dies(make_house: Make, step: str) -> None:
    _die_at(make_house(_QUICK), step, _some_ways(step, _QUICK))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("step", STEPS)
def test_the_primary_dies_twenty_times(make_house: Make, step: str) -> None:
    _die_at(make_house(_ALL), step, _some_ways(step, _ALL))


@pytest.mark.slow
@pytest.mark.parametrize("step", ["EHLO", "RCPT", "DOT", "STORED"])
def test_the_primary_falls_silent(make_house: Make, step: str) -> None:
    start = time.monotonic()
    _die_at(make_house(1), step, [("hang", False, 3000)])
    assert time.monotonic() - start < 20


def test_a_connection_that_died_while_it_was_kept_is_not_used(make_house: Make) -> None:
    house = make_house(1)
    home = house.homes[0]
    for _ in range(2):
        assert house.send(home, 700).end == _HOMES
        home.peer.kill()
        home.peer.start()
        assert house.send(home, 700).end == _HOMES, "passed, not queued"
    house.account()
    assert not list(house.daemon.events("pass-through-lost"))


@pytest.mark.slow
def test_many_clients_while_it_dies_and_returns(make_house: Make) -> None:
    house = make_house(1)
    load = Load(house)
    for _ in range(2):
        time.sleep(0.5)
        house.homes[0].peer.kill()
        time.sleep(0.5)
        house.homes[0].peer.start()
    load.stop()
    assert load.surprises == []
    house.account()
    assert len(house.acknowledged) > 20


def _kill_us(house: House, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    passed = 0
    for _ in range(rounds):
        load = Load(house)
        time.sleep(chance.uniform(0.05, 0.8))
        house.daemon.kill()
        load.stop()
        assert load.surprises == []
        passed += load.passed
        house.daemon.start()
        house.wait_up()
    house.account()
    assert passed > rounds


def test_we_die_while_transactions_pass_through(make_house: Make) -> None:
    _kill_us(make_house(1), _QUICK, time.time_ns())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_we_die_twenty_times(make_house: Make) -> None:
    _kill_us(make_house(1), _ALL, time.time_ns())


class Load:
    """Clients that send until they are stopped, or we die under them."""

    def __init__(self, house: House, clients: int = 6) -> None:
        self._house = house
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self.passed = 0
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
        told = converse(wire, body, [f"user@{self._house.homes[0].domain}"], by_bdat=by_bdat)
        if not told.verdict:
            raise EOFError
        with self._lock:
            if told.end.startswith(b"250") and told.end.endswith(b"\r\n"):
                self._house.acknowledged.add(number)
                self.passed += told.end == _HOMES
            else:
                self.surprises.append(repr(told))


def test_the_bookkeeping_sees_a_loss_and_an_unannounced_double(
    make_house: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = make_house(1)
    assert house.send(house.homes[0], 700).codes() == (b"250", b"250")
    house.account()
    taken = house.taken()
    monkeypatch.setattr(house, "taken", lambda: taken * 2)
    with pytest.raises(AssertionError, match="came twice"):
        house.account()
    monkeypatch.setattr(house, "taken", list)
    with pytest.raises(AssertionError, match="lost after our 250"):
        house.account()
