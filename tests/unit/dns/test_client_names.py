"""What DNS calls a client, as a server is told it."""

import asyncio

import pytest

from tideover.dns import client_names as module
from tideover.dns.client_names import UNKNOWN, ClientNames, client_names
from tideover.dns.resolver import DnsUnavailable, NoSuchName


class Zone:
    """Names from a table; an exception in it is raised."""

    def __init__(self, **table) -> None:
        self.table = table

    async def ptr(self, address: str) -> tuple[str, ...]:
        return self._answer("ptr")

    async def a(self, name: str) -> tuple[str, ...]:
        return self._answer(name)

    async def aaaa(self, name: str) -> tuple[str, ...]:
        return self._answer(name)

    def _answer(self, key: str) -> tuple[str, ...]:
        found = self.table.get(key, NoSuchName(key, 60.0))
        if isinstance(found, Exception):
            raise found
        return found


LATER = DnsUnavailable("SERVFAIL")


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"ptr": ("one", "two"), "two": ("192.0.2.1",)}, ClientNames("two", "two")),
        ({"ptr": ("one",), "one": ("192.0.2.2",)}, ClientNames(None, "one")),
        ({"ptr": ("one",), "one": LATER}, ClientNames("", "one")),
        ({"ptr": ("one",)}, ClientNames(None, "one")),
        ({"ptr": ()}, ClientNames(None, None)),
        ({}, ClientNames(None, None)),
        ({"ptr": ValueError("no address")}, ClientNames(None, None)),
        ({"ptr": LATER}, UNKNOWN),
        ({"ptr": ("a", "b", "c", "d"), "d": ("192.0.2.1",)}, ClientNames(None, "a")),
    ],
)
def test_names(table: dict, named: ClientNames) -> None:
    assert asyncio.run(client_names(Zone(**table), "192.0.2.1")) == named


def test_ipv6() -> None:
    zone = Zone(ptr=("six",), six=("2001:db8:0:0::6",))
    assert asyncio.run(client_names(zone, "2001:db8::6")) == ClientNames("six", "six")


def test_nobody_waits_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Zone):
        async def ptr(self, address: str) -> tuple[str, ...]:
            await asyncio.sleep(60)
            return ()

    monkeypatch.setattr(module, "PATIENCE", 0.01)
    assert asyncio.run(client_names(Silent(), "192.0.2.1")) == UNKNOWN
