"""The same server as the permanent front of several inner hosts: equal ones share, a host that dies
costs nothing, and when all are down mail waits.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from pass_rig import AT_ONCE, state_of, transact, until
from tideover.testing.daemon import Daemon
from tideover.testing.mailgen import mail
from tideover.testing.ports import free_port
from tideover.testing.sink import Got, Sink
from wire import Wire, without_trace

AT_A_TIME = 16
"""Clients at once: that chance sends all of them to one of two hosts happens once in 32,768."""

DOMAIN = "inner.example"
_TAKEN = b"250 2.0.0 taken"  # as the inner hosts say it


class Inner:
    """An inner host that can die and come back."""

    def __init__(self) -> None:
        self.port = free_port()
        self.got: list[Got] = []
        self._sink: Sink | None = None

    def __enter__(self) -> Self:
        self._sink = Sink(self.port)
        self._sink.messages = self.got
        self._sink.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.__exit__(kind, error, traceback)

    def die(self) -> None:
        self.__exit__(None, None, None)

    def rise(self) -> None:
        self.__enter__()

    @property
    def bodies(self) -> list[bytes]:
        return [without_trace(one.body) for one in self.got]


class Front:
    """The daemon with two inner hosts that share, and a spare one."""

    def __init__(self, directory: Path) -> None:
        self.one, self.two, self.spare = Inner(), Inner(), Inner()
        hosts = [(10, self.one), (10, self.two), (20, self.spare)]
        hops = ", ".join(f'"{at} 127.0.0.1:{inner.port}"' for at, inner in hosts)
        self.daemon = Daemon(
            directory,
            recipients="user\n",
            more=AT_ONCE + f'[domains."{DOMAIN}"]\nprimary = [{hops}]\n'
            'recipients = ["file:recipients"]\nwhen_primary_up = "pass-through"\n',
        )

    def send(self, *numbers: int) -> list[bytes]:
        """Each by a client of its own, one after the other; what they were answered."""
        return [self.send_one(number) for number in numbers]

    def send_one(self, number: int) -> bytes:
        told = transact(self.daemon.port, mail(number), [f"user@{DOMAIN}"])
        assert told.codes() == (b"250", b"250"), told
        return told.end

    def send_at_once(self, count: int) -> list[bytes]:
        """That many clients whose transactions are open at the same time."""
        with ExitStack() as stack:
            wires = [stack.enter_context(Wire(self.daemon.port)) for _ in range(count)]
            for wire in wires:
                wire.hello()
                for line in ("MAIL FROM:<sender@example.net>", f"RCPT TO:<user@{DOMAIN}>"):
                    assert wire.say(line).startswith(b"250")
                assert wire.say("DATA").startswith(b"354")
            answers = []
            for number, wire in enumerate(wires):
                wire.send(mail(number) + b".\r\n")
                answers.append(wire.reply())
        return answers

    def is_state(self, state: str) -> None:
        until(lambda: state_of(self.daemon, DOMAIN) == state)


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    front = Front(tmp_path)
    with front.one, front.two, front.spare, front.daemon:
        front.is_state("up")
        yield front


def test_equal_hosts_share_what_passes_through(front: Front) -> None:
    answers = front.send_at_once(AT_A_TIME)
    assert all(one.startswith(_TAKEN) for one in answers), answers
    assert len(front.one.got) + len(front.two.got) == AT_A_TIME
    assert front.one.got
    assert front.two.got
    assert not front.spare.got


def test_hosts_die_one_by_one_and_no_client_sees_it(front: Front) -> None:
    front.send_at_once(AT_A_TIME)  # so that there are kept connections to both
    before = len(front.two.got)
    front.one.die()
    front.send(*range(100, 120))
    until(lambda: len(front.two.got) == before + 20)
    assert sorted(front.two.bodies[before:]) == sorted(map(mail, range(100, 120)))
    assert not front.spare.got

    front.two.die()
    front.send(*range(200, 220))
    until(lambda: len(front.spare.got) == 20)
    assert sorted(front.spare.bodies) == sorted(map(mail, range(200, 220)))

    front.spare.die()
    answers = front.send(*range(300, 310))
    assert all(b"Queued as" in one for one in answers), answers
    front.is_state("down")
    front.one.got.clear()
    front.one.rise()
    until(lambda: len(front.one.got) == 10)
    assert sorted(front.one.bodies) == sorted(map(mail, range(300, 310)))
    until(lambda: front.daemon.ask("queue", "list") == [])


@pytest.mark.slow
def test_what_waited_comes_home_to_those_that_are_back(front: Front) -> None:
    for inner in (front.one, front.two, front.spare):
        inner.die()
    front.is_state("down")
    front.send(*range(AT_A_TIME * 4))
    front.one.rise()
    front.two.rise()
    until(lambda: len(front.one.got) + len(front.two.got) == AT_A_TIME * 4)
    bodies = front.one.bodies + front.two.bodies
    assert sorted(bodies) == sorted(map(mail, range(AT_A_TIME * 4)))
