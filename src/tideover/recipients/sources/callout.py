"""`callout`: the primary is asked by RCPT whether it would take mail for an address.

What it says is remembered: a yes for 31 days, asked again in the background after 7; a no for
3 hours. What is no answer (4xx, a lost connection, a policy) never changes what is remembered.

A primary that takes any address says nothing by taking one. So before the first yes of a domain
counts, an address that nobody can have is asked for; where that is taken too, the domain is a
catch-all for a week, and no address of it is remembered.

Invariants
    Each address is asked for once at a time, whoever waits; the number under way is bounded.
    A caller that gives up does not end the question: its answer is remembered for the next one.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from enum import StrEnum
from secrets import choice
from string import ascii_lowercase
from typing import Any, Final, Protocol, TypeVar

from msgspec import Struct

from tideover.events.clock import now as wall_clock
from tideover.events.event import EventSink
from tideover.events.recipient_records import CatchAllFound
from tideover.recipients.facts import GOOD_FOR, Fact, Facts, State
from tideover.recipients.interface import Confidence, Match
from tideover.recipients.sources.interface import SourceError

SOURCE: Final = "callout"
ANYBODY: Final = "callout-catch-all"
"""Under this the memory holds whether a domain takes any address; the local part is ""."""

REFRESH_AFTER: Final = 7 * 86400.0
REFUSED_FOR: Final = 3 * 3600.0
CATCH_ALL_FOR: Final = 7 * 86400.0
CATCH_ALL_REFRESH: Final = 86400.0
NO_CATCH_ALL_FOR: Final = 3 * 3600.0
UNDER_WAY: Final = 1000
"""Questions under way at once, in all; more are not begun."""
PATIENCE: Final = 90.0
"""Seconds that one question may take in all."""

_T = TypeVar("_T")


class Answer(StrEnum):
    """What the primary said to RCPT. DOUBTED: 4xx, and it speaks of the mailbox."""

    TAKEN = "taken"
    REFUSED = "refused"
    DOUBTED = "doubted"


class Probed(Struct, frozen=True):
    """The answer, with the primary's words."""

    answer: Answer
    text: str


class Unavailable(SourceError):  # noqa: N818 - says what it is
    """The primary can't be asked now, or may not, for whichever address."""


class Prober(Protocol):
    """Asks the primary. `outbound.callout.Callouts` is the one that does."""

    async def probe(self, domain: str, local: str, *, background: bool = False) -> Probed:
        """Ask once. `background`: nobody waits for it, so leave room for those who do.

        Raises:
            Unavailable: it can't be asked now.
            SourceError: what it said of this address is no answer.
        """
        ...


class CalloutAsker:
    """The source. `prober` decides when the primary may be asked at all."""

    def __init__(
        self,
        facts: Facts,
        prober: Prober,
        sink: EventSink,
        *,
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self._facts = facts
        self._prober = prober
        self._sink = sink
        self._clock = clock
        self._addresses: dict[tuple[str, str], asyncio.Task[Match]] = {}
        self._catch_alls: dict[tuple[str, str], asyncio.Task[bool]] = {}

    async def ask(self, domain: str, names: Sequence[str]) -> Match | None:
        """From memory, or from the primary.

        Only the address as it stands is asked for; without its detail it counts when that is known
        to be good.

        Raises:
            SourceError: the primary can't say now.
        """
        known = await self._facts.get(domain, names, SOURCE)
        for name, fact in zip(names, known, strict=True):
            if fact is None:
                continue
            if fact.state is State.GOOD:
                if self._clock() - fact.at > REFRESH_AFTER:
                    self._begin(domain, name, background=True)
                return Match(Confidence.LEARNED, name, at=fact.at)
            if name == names[0]:
                return Match(Confidence.REFUSED, fact.text, at=fact.at)
        (anybody,) = await self._facts.get(domain, ("",), ANYBODY)
        if anybody is not None and anybody.state is State.GOOD:
            if self._clock() - anybody.at > CATCH_ALL_REFRESH:
                self._begin_catch_all(domain, background=True)
            return _catch_all(anybody.at)
        return await _wait_for(self._begin(domain, names[0]))

    async def verify(self, domain: str, name: str) -> Match:
        """Ask of our own accord, and remember.

        Raises:
            Unavailable: not now.
            SourceError: the primary can't say now.
        """
        if await _wait_for(self._begin_catch_all(domain, background=True)):
            return _catch_all(self._clock())
        return await _wait_for(self._begin(domain, name, background=True))

    async def close(self) -> None:
        """End all questions."""
        tasks = [*self._addresses.values(), *self._catch_alls.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # Questions

    def _begin(self, domain: str, name: str, *, background: bool = False) -> asyncio.Task[Match]:
        return _shared(
            self._addresses, (domain, name), lambda: self._ask_for(domain, name, background)
        )

    def _begin_catch_all(self, domain: str, *, background: bool) -> asyncio.Task[bool]:
        return _shared(
            self._catch_alls, (domain, ""), lambda: self._takes_anybody(domain, background)
        )

    async def _ask_for(self, domain: str, name: str, background: bool) -> Match:
        probed = await self._prober.probe(domain, name, background=background)
        now = self._clock()
        match probed.answer:
            case Answer.TAKEN:
                if await _wait_for(self._begin_catch_all(domain, background=background)):
                    return _catch_all(now)
                self._facts.note(domain, name, SOURCE, Fact(
                    state=State.GOOD, at=now, until=now + GOOD_FOR, due=now + REFRESH_AFTER,
                    text=probed.text,
                ))  # fmt: skip
                return Match(Confidence.LEARNED, name, at=now)
            case Answer.REFUSED:
                self._facts.note(domain, name, SOURCE, Fact(
                    state=State.REFUSED, at=now, until=now + REFUSED_FOR, text=probed.text,
                ))  # fmt: skip
                return Match(Confidence.REFUSED, probed.text, at=now)
            case Answer.DOUBTED:
                raise SourceError(f"the primary says: {probed.text}")

    async def _takes_anybody(self, domain: str, background: bool) -> bool:
        """Whether the domain is a catch-all, from memory or by asking for nobody."""
        (known,) = await self._facts.get(domain, ("",), ANYBODY)
        was = known is not None and known.state is State.GOOD
        now = self._clock()
        if known is not None and (not was or now - known.at <= CATCH_ALL_REFRESH):
            return was
        probed = await self._prober.probe(domain, nobody(), background=background)
        takes = probed.answer is Answer.TAKEN
        self._facts.note(domain, "", ANYBODY, Fact(
            state=State.GOOD if takes else State.REFUSED, at=now, text=probed.text,
            until=now + (CATCH_ALL_FOR if takes else NO_CATCH_ALL_FOR),
        ))  # fmt: skip
        if takes and not was:
            self._sink(CatchAllFound(domain=domain, reply=probed.text))
        return takes


def nobody() -> str:
    """A local part that nobody has, and nobody can guess."""
    return "tideover-" + "".join(choice(ascii_lowercase) for _ in range(16))


def _catch_all(at: float) -> Match:
    return Match(Confidence.CATCH_ALL, "any address", at=at)


def _shared(
    tasks: dict[tuple[str, str], asyncio.Task[_T]],
    key: tuple[str, str],
    work: Callable[[], Coroutine[Any, Any, _T]],
) -> asyncio.Task[_T]:
    """The task that answers this; begun unless it is under way."""
    task = tasks.get(key)
    if task is None:
        if len(tasks) >= UNDER_WAY:
            raise Unavailable("too many callouts are under way")
        task = tasks[key] = asyncio.ensure_future(_within_patience(work))
        task.add_done_callback(lambda done: _forget(tasks, key, done))
    return task


async def _within_patience(work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    try:
        async with asyncio.timeout(PATIENCE):
            return await work()
    except TimeoutError:
        raise Unavailable(f"no answer from the primary within {PATIENCE:g} s") from None


async def _wait_for(task: asyncio.Task[_T]) -> _T:
    """The task's result; who gives up does not end it."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        waiting = asyncio.current_task()
        if task.cancelled() and (waiting is None or not waiting.cancelling()):
            raise Unavailable("callouts are being ended") from None
        raise


def _forget(
    tasks: dict[tuple[str, str], asyncio.Task[_T]], key: tuple[str, str], done: asyncio.Task[_T]
) -> None:
    tasks.pop(key, None)
    if not done.cancelled():
        done.exception()  # nobody may be waiting any more
