"""The `Names` that remember: each answer as long as DNS says, failures for a moment.

A failure is kept for two seconds, and whoever asks for a name that failed last time waits no longer
than half a second for it, while the look-up goes on. When DNS seems to be dead (several failures,
and no answer between them) nobody waits for such a name at all, and half a second for a new one. So
a dead DNS costs one whole wait, not each session; and when it is back, a look-up that was under way
has ended within two seconds (the time for one try) and its failure is forgotten two seconds later.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from msgspec import Struct

from tideover.dns.resolver import DnsUnavailable, Kind, NoSuchName, Records
from tideover.dns.reverse import reverse_name

_LONGEST: Final = 86400.0  # seconds; an operator's mistake in a TTL shall not last for ever
_LONGEST_NO: Final = 3600.0
_FAILURE: Final = 2.0
_GRACE: Final = 0.5  # seconds to wait for a name while DNS seems to be dead
_DEAD: Final = 5  # failures in a row

_MAX_ENTRIES: Final = 50_000
_MAX_OCTETS: Final = 64 * 1024 * 1024  # TXT records may be long, and strangers choose them
_MAX_ASKING: Final = 5_000
_ENTRY: Final = 500  # octets that an entry takes besides its records, about
_RECORD: Final = 80

_LABEL: Final = r"[!-\-/-\[\]-~]{1,63}"  # printable, but for dot and backslash
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_MAX_NAME: Final = 253


class _Key(NamedTuple):
    kind: Kind
    name: str


class _Known(Struct, frozen=True, kw_only=True):
    """What a look-up brought, and until when it holds. `trouble`: why it brought nothing."""

    until: float
    values: tuple[Any, ...] = ()
    exists: bool = True
    trouble: str = ""

    @property
    def octets(self) -> int:
        """About what it takes in memory."""
        texts = (value[1] if isinstance(value, tuple) else value for value in self.values)
        return _ENTRY + sum(_RECORD + len(text) for text in texts)


class Asked(Protocol):
    """Who is asked for what is not remembered: a `DnsResolver`."""

    async def records(self, name: str, kind: Kind) -> Records:
        """As `DnsResolver.records`."""


class CachedNames:
    """`Names` with a memory, which is bounded: what was not asked for longest is forgotten.

    All who ask for one thing share one look-up, which goes on when one of them is cancelled.
    `clock` gives seconds; only differences count.
    """

    def __init__(self, resolver: Asked, *, clock: Callable[[], float]) -> None:
        self._resolver = resolver
        self._clock = clock
        self._known: OrderedDict[_Key, _Known] = OrderedDict()
        self._octets = 0
        self._failures = 0  # since the last answer
        self._asking: dict[_Key, asyncio.Task[_Known]] = {}

    async def txt(self, name: str) -> tuple[bytes, ...]:
        """As `Names.txt`."""
        return await self._records("TXT", name)

    async def a(self, name: str) -> tuple[str, ...]:
        """As `Names.a`."""
        return await self._records("A", name)

    async def aaaa(self, name: str) -> tuple[str, ...]:
        """As `Names.aaaa`."""
        return await self._records("AAAA", name)

    async def mx(self, name: str) -> tuple[tuple[int, str], ...]:
        """As `Names.mx`."""
        return await self._records("MX", name)

    async def ptr(self, address: str) -> tuple[str, ...]:
        """As `Names.ptr`."""
        return await self._records("PTR", reverse_name(address))

    async def close(self) -> None:
        """End the look-ups that are under way."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _records(self, kind: Kind, name: str) -> tuple[Any, ...]:
        key = _Key(kind, name.lower().removesuffix("."))
        known = self._known.get(key)
        if known is not None and self._clock() < known.until:
            self._known.move_to_end(key)
            return _tell(key, known)
        if len(key.name) > _MAX_NAME or not _NAME.fullmatch(key.name):
            raise NoSuchName("no name that DNS could know", _LONGEST_NO)
        task = self._asking.get(key) or self._ask(key)
        failed = known.trouble if known is not None else ""
        dead = self._failures >= _DEAD
        if failed and dead:
            raise DnsUnavailable(failed)
        done, _ = await asyncio.wait((task,), timeout=_GRACE if failed or dead else None)
        if not done:
            raise DnsUnavailable(failed or f"DNS does not answer now, nor for {key.name}")
        return _tell(key, task.result())

    def _ask(self, key: _Key) -> asyncio.Task[_Known]:
        if len(self._asking) >= _MAX_ASKING:
            raise DnsUnavailable(f"too many DNS look-ups at once to ask for {key.name}")
        task = asyncio.get_running_loop().create_task(self._look_up(key))
        self._asking[key] = task
        task.add_done_callback(lambda _: self._asking.pop(key, None))
        return task

    async def _look_up(self, key: _Key) -> _Known:
        try:
            records = await self._resolver.records(key.name, key.kind)
        except NoSuchName as no:
            known = _Known(until=self._clock() + min(no.ttl, _LONGEST_NO), exists=False)
        except DnsUnavailable as error:
            known = _Known(until=self._clock() + _FAILURE, trouble=str(error))
        else:
            longest = _LONGEST if records.values else _LONGEST_NO
            known = _Known(until=self._clock() + min(records.ttl, longest), values=records.values)
        self._failures = self._failures + 1 if known.trouble else 0
        self._keep(key, known)
        return known

    def _keep(self, key: _Key, known: _Known) -> None:
        before = self._known.pop(key, None)
        self._octets += known.octets - (before.octets if before is not None else 0)
        self._known[key] = known
        while len(self._known) > _MAX_ENTRIES or self._octets > _MAX_OCTETS:
            _, oldest = self._known.popitem(last=False)
            self._octets -= oldest.octets


def _tell(key: _Key, known: _Known) -> tuple[Any, ...]:
    if known.trouble:
        raise DnsUnavailable(known.trouble)
    if not known.exists:
        raise NoSuchName(f"{key.name} does not exist in DNS", _LONGEST_NO)
    return known.values
