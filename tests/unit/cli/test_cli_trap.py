"""The trap's verbs, over the control socket and, where nobody serves, from the file."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tideover.config.load import load
from tideover.control.protocol import Done, Failure, Forget
from tideover.control.server import ControlServer
from tideover.control.service import Service
from tideover.control.trapping import forget
from tideover.events.records import OperatorActed
from tideover.policy.memory import NAME, Kind, Memory
from tideover.testing.control import FakeDaemon
from tideover.trap.catch import Caught
from tideover.trap.role import TrapState

Run = Callable[..., tuple[int, str, str]]
NOW = 1_800_000_000.0
CAUGHT = [
    Caught("192.0.2.7", True, NOW, NOW + 3600),
    Caught("198.51.100.9", False, NOW, NOW + 60),
    Caught("2001:db8:1:2::/64", True, NOW, NOW + 7200),
]


class FakeTrap:
    def __init__(self) -> None:
        self.marks = list(CAUGHT)

    def state(self) -> TrapState:
        return TrapState(
            state="silent", since=NOW, reason="example.com: down", connections=0, waiting=3
        )

    def caught(self) -> list[Caught]:
        return self.marks

    def forget(self, host: str) -> bool:
        kept = [mark for mark in self.marks if mark.host.partition("/")[0] != host]
        gone, self.marks = len(kept) < len(self.marks), kept
        return gone


@contextmanager
def remembered(config_file) -> Iterator[None]:
    async def main() -> None:
        memory = await Memory.open(config_file.parent / NAME, lambda _: None)
        now = time.time()
        memory.renew(Kind.SIDE_DOOR, b"192.0.2.7", now, 1000.0)
        memory.renew(Kind.SIDE_DOOR, b"198.51.100.9", now, 1000.0)
        memory.renew(Kind.TRAPPED, b"192.0.2.7", now, 1000.0)
        await memory.close()

    asyncio.run(main())
    yield


def test_without_a_daemon_the_file_is_read(tideover: Run, config_file):
    assert tideover("trap", "list", "--json") == (0, "[]\n", "")
    assert tideover("trap", "list") == (0, "Nobody is caught.\n", "")
    with remembered(config_file):
        code, out, _ = tideover("trap", "list", "--json")
        assert [(one["host"], one["found"]) for one in json.loads(out)] == [
            ("192.0.2.7", "trapped"),
            ("198.51.100.9", "last-mx-first"),
        ]
        assert tideover("trap", "export") == (0, "192.0.2.7\n", "")
        assert tideover("trap", "export", "--weak")[1] == "192.0.2.7\n198.51.100.9\n"
        assert "198.51.100.9" in tideover("trap", "list")[1]
        assert json.loads(tideover("trap", "status", "--json")[1])["caught"] == {
            "strong": 1,
            "weak": 1,
        }
        code, out, _ = tideover("trap", "export", "--format", "dnsbl")
        assert (code, "@ IN NS mx2.example.org." in out) == (0, True)
        assert tideover("trap", "export", "--format", "dnsbl", "--name-server", "x y")[0] == 2
        assert tideover("trap", "forget", "192.0.2.7")[0] == 3


def test_a_damaged_file_is_one_line_and_no_traceback(tideover: Run, config_file):
    (config_file.parent / NAME).write_bytes(b"no database" * 1000)
    code, out, err = tideover("trap", "list")
    assert (code, out) == (2, "")
    assert "can't be read" in err
    assert len(err.splitlines()) == 1


def test_a_daemon_is_asked(tideover: Run, config_file):
    trap = FakeTrap()
    daemon = FakeDaemon(load(config_file))

    async def main() -> None:
        service = Service(daemon, daemon.events.append, trap=trap)
        server = ControlServer(config_file.parent, service)
        await server.start()
        try:
            await asyncio.to_thread(ask)
        finally:
            await server.close()

    def ask() -> None:
        assert [one["host"] for one in json.loads(tideover("trap", "list", "--json")[1])] == [
            mark.host for mark in CAUGHT
        ]
        status = json.loads(tideover("trap", "status", "--json")[1])
        assert (status["state"], status["reason"]) == ("silent", "example.com: down")
        assert "silent" in tideover("trap", "status")[1]
        assert tideover("trap", "forget", "2001:db8:1:2::77")[0] == 1  # the trap folds addresses
        assert tideover("trap", "forget", "192.0.2.7") == (0, "192.0.2.7 is forgotten.\n", "")
        assert tideover("trap", "forget", "192.0.2.7")[0] == 1

    asyncio.run(main())


@pytest.mark.parametrize("host", ["x", "", "192.0.2.0/24", "2001:db8::/48", "192.0.2.7\n", "0/0"])
def test_only_one_client_can_be_forgotten_at_a_time(host):
    said = forget(FakeTrap(), Forget(host=host), lambda _: None, by="root")
    assert isinstance(said, Failure)
    assert said.code == "bad-request"


def test_who_forgot_a_client_is_told():
    events: list[object] = []
    said = forget(FakeTrap(), Forget(host="2001:db8:1:2::/64"), events.append, by="ann")
    assert said == Done(count=1)
    (event,) = events
    assert isinstance(event, OperatorActed)
    assert (event.by, event.action, event.what) == ("ann", "trap-forget", "2001:db8:1:2::/64")
