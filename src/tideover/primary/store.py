"""What is remembered of primaries over a restart, in `data_dir/primary.sqlite`: each domain's MX
set, its last good route, the changes of the set, the domains that were discovered, and what the
hosts of each route offered.

Never blocks the event loop: one thread does what `store_file` says, and what is put is written
in batches. It is a memory, not a promise: trouble with the file is told and never raised, and what
can't be read counts as not known.

Invariants
    Each size has a bound: changes a domain and their age, writes that wait.
    What was put is seen by every later read.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from tideover.events.clock import now as wall_clock
from tideover.events.domain_records import RouteMemoryTrouble
from tideover.events.event import EventSink
from tideover.primary.found import Found
from tideover.primary.mx_set import MxSet, parse_texts, texts
from tideover.primary.store_file import Row, StoreFile, Values
from tideover.smtp.capabilities import Capabilities

NAME: Final = "primary.sqlite"
MAX_CHANGES: Final = 100
"""Changes of a domain that are kept."""
MAX_AGE: Final = 400 * 86_400.0
"""Seconds after which a change, a last good route, and what was offered are forgotten."""
NULL_MX_HOLDS: Final = 86_400.0
"""Seconds for which a null MX is believed that DNS has not said again."""

_MAX_DISCOVERED: Final = 100_000
_MAX_OFFERS: Final = 20_000
_PENDING: Final = 20_000
_DELAY: Final = 0.2  # seconds from a put to its writing
_RETRY: Final = 10.0
_SWEEP: Final = 86_400.0

_T = TypeVar("_T")


class MxChange(Struct, frozen=True, kw_only=True):
    """One change of an MX set; hosts as "10 mail.example.com". `before` is empty when the domain
    was not known until then. `at` is Unix time.
    """

    at: float
    before: tuple[str, ...]
    after: tuple[str, ...]
    serial: int | None = None


class Kept(Struct, frozen=True, kw_only=True):
    """What was known of a domain when last written. Times are Unix seconds."""

    mx: MxSet | None = None
    serial: int | None = None
    seen_at: float = 0.0
    good: Found | None = None
    good_at: float = 0.0


class Discovered(Struct, frozen=True, kw_only=True):
    """A domain that was discovered; `good_at` is when DNS last confirmed it, `used` whether it ever
    had mail.
    """

    domain: str
    found_at: float
    good_at: float
    used: bool = False


class PrimaryStore:
    """Made by `open`; used on the loop that ran it; `close` when all is over.

    `null_mx` holds the domains that took no mail when we stopped, with when DNS said so;
    `discovered` those that were found; `offers` what was last offered, by the key of the route.
    """

    def __init__(
        self,
        file: StoreFile,
        thread: ThreadPoolExecutor,
        sink: EventSink,
        clock: Callable[[], float],
    ) -> None:
        self.null_mx: Mapping[str, float] = {}
        self.discovered: Sequence[Discovered] = ()
        self.offers: Mapping[str, Capabilities] = {}
        self._file = file
        self._thread = thread
        self._sink = sink
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._pending: deque[tuple[str, Values]] = deque(maxlen=_PENDING)
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._swept_at = 0.0
        self._failing = False
        self._closed = False

    @classmethod
    async def open(
        cls, data_dir: Path, sink: EventSink, *, clock: Callable[[], float] = wall_clock
    ) -> "PrimaryStore":
        """Open the memory, making the file where there is none. Never fails: see `store_file`."""
        thread = ThreadPoolExecutor(1, "primary")
        file = await asyncio.get_running_loop().run_in_executor(
            thread, StoreFile, data_dir / NAME, sink
        )
        store = cls(file, thread, sink, clock)
        rows = await store._read("null_mx", (clock() - NULL_MX_HOLDS,))
        store.null_mx = {str(domain): _number(at) for domain, at in rows}
        rows = await store._read("discovered", (_MAX_DISCOVERED,))
        store.discovered = tuple(
            Discovered(
                domain=str(domain),
                found_at=_number(found_at),
                good_at=_number(good_at),
                used=bool(used),
            )
            for domain, found_at, good_at, used in rows
        )
        rows = await store._read("offers", (_MAX_OFFERS,))
        offers = ((str(key), _offered(offered)) for key, offered in rows)
        store.offers = {key: offered for key, offered in offers if offered is not None}
        return store

    async def get(self, domain: str) -> Kept:
        """What is remembered of a domain."""
        sets = await self._read("get_set", (domain,))
        routes = await self._read("get_route", (domain,))
        mx, serial, seen_at = _mx_set(sets[0]) if sets else (None, None, 0.0)
        good, good_at = _route(routes[0]) if routes else (None, 0.0)
        return Kept(mx=mx, serial=serial, seen_at=seen_at, good=good, good_at=good_at)

    async def history(self, domain: str, limit: int) -> Sequence[MxChange]:
        """The latest changes of a domain's MX set, newest first."""
        rows = await self._read("history", (domain, min(limit, MAX_CHANGES)))
        return [
            MxChange(
                at=_number(at), before=_lines(before), after=_lines(after), serial=_int(serial)
            )
            for at, before, after, serial in rows
        ]

    def put_set(self, domain: str, mx: MxSet, serial: int | None, seen_at: float) -> None:
        """Remember a domain's MX set."""
        hosts = "\n".join(texts(mx.hosts))
        self._put("put_set", (domain, hosts, mx.own, int(mx.others), serial, seen_at))

    def put_route(self, domain: str, found: Found, good_at: float) -> None:
        """Remember a domain's last good route."""
        self._put("put_route", (domain, msgspec.json.encode(found), good_at))

    def add_change(self, domain: str, change: MxChange) -> None:
        """Remember a change, and no longer the oldest of more than `MAX_CHANGES`."""
        before, after = "\n".join(change.before), "\n".join(change.after)
        self._put("add_change", (domain, change.at, before, after, change.serial))
        self._put("trim_changes", {"domain": domain, "most": MAX_CHANGES})

    def put_discovered(self, found: Discovered) -> None:
        """Remember a domain that was discovered, or confirmed."""
        self._put("put_discovered", (found.domain, found.found_at, found.good_at, int(found.used)))

    def remove_discovered(self, domain: str) -> None:
        """It is ours no more."""
        self._put("remove_discovered", (domain,))

    def put_offers(self, key: str, offered: Capabilities, seen_at: float) -> None:
        """Remember what the hosts of a route offer."""
        self._put("put_offers", (key, msgspec.json.encode(offered), seen_at))

    async def flush(self) -> None:
        """Write what waits. Returns when it is in the file, or could not be written now."""
        while self._flushing is not None:
            await asyncio.shield(self._flushing)
        if self._pending:
            self._flushing = asyncio.create_task(self._write())
            await asyncio.shield(self._flushing)

    async def close(self) -> None:
        """Write what waits and let go of the file. What is put later is dropped."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        await self.flush()
        await self._loop.run_in_executor(self._thread, self._file.close)
        self._thread.shutdown()

    def _put(self, query: str, values: Values) -> None:
        if self._closed:
            return
        self._pending.append((query, values))
        self._write_in(_DELAY)

    def _write_in(self, seconds: float) -> None:
        if self._timer is None and not self._closed:
            self._timer = self._loop.call_later(seconds, self._start_writing)

    def _start_writing(self) -> None:
        self._timer = None
        if self._flushing is None and self._pending:
            self._flushing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        batch = list(self._pending)
        self._pending.clear()
        at = self._clock()
        sweeping = at - self._swept_at > _SWEEP
        work = [*batch, *_sweeps(at - MAX_AGE)] if sweeping else batch
        try:
            if await self._ask(None, self._file.write, work) is not None:
                self._swept_at = at if sweeping else self._swept_at
                if self._pending:
                    self._write_in(_DELAY)
            else:
                room = _PENDING - len(self._pending)
                self._pending.extendleft(reversed(batch[-room:] if room else []))
                self._write_in(_RETRY)
        finally:
            self._flushing = None

    async def _read(self, query: str, values: Values) -> list[Row]:
        if self._pending or self._flushing is not None:
            await self.flush()
        return await self._ask([], self._file.read, query, values)

    async def _ask(self, otherwise: _T, work: Callable[..., _T], *values: Any) -> _T:  # noqa: ANN401 - of any method of the file
        """Have the thread do it; in trouble, which is told once, it is `otherwise`."""
        try:
            done = await self._loop.run_in_executor(self._thread, work, *values)
        except (sqlite3.Error, OSError) as error:
            if not self._failing:
                self._failing = True
                self._sink(RouteMemoryTrouble(reason=f"what DNS says can't be kept: {error}"))
            return otherwise
        self._failing = False
        return done


def _sweeps(before: float) -> list[tuple[str, Values]]:
    return [
        ("sweep_changes", (before,)),
        ("sweep_sets", {"before": before}),
        ("sweep_routes", (before,)),
        ("sweep_offers", (before,)),
    ]


def _mx_set(row: Row) -> tuple[MxSet | None, int | None, float]:
    hosts, own, others, serial, seen_at = row
    try:
        mx = MxSet(hosts=parse_texts(_lines(hosts)), own=_int(own), others=bool(others))
    except ValueError:
        return None, None, 0.0
    return mx, _int(serial), _number(seen_at)


def _route(row: Row) -> tuple[Found | None, float]:
    found, good_at = row
    try:
        good = msgspec.json.decode(found if isinstance(found, bytes) else b"", type=Found)
    except msgspec.DecodeError:  # as another version wrote it
        return None, 0.0
    return good, _number(good_at)


def _offered(offered: object) -> Capabilities | None:
    try:
        return msgspec.json.decode(
            offered if isinstance(offered, bytes) else b"", type=Capabilities
        )
    except msgspec.DecodeError:  # as another version wrote it
        return None


def _lines(text: object) -> tuple[str, ...]:
    return tuple(str(text).split("\n")) if text else ()


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def _int(value: object) -> int | None:
    return value if isinstance(value, int) else None
