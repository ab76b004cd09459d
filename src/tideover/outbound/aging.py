"""Mail that grows old: delay reports, expiry, and the end of dead letters.

Works through the spool in pages: a settlement a message, a page a transaction. Holds no lease, so
what is being delivered just now is left to its delivery and looked at again in the next pass. Mail
that a person holds, alone or with its domain, does not expire.

Invariants
    I2: a message leaves only with its durable report; without one its recipients become dead
    letters. Dead letters end after `dead_letter_lifetime`, as configured, and that is told.
    I5: report and change are one settlement. Events follow when it is durable.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

from tideover.bounce.conclude import Conclusion, Failure, Kind, conclude, reportable, told
from tideover.config.model import Config
from tideover.events.clock import now as wall_clock
from tideover.events.delivery_records import DeadLetterExpired
from tideover.events.event import EventSink
from tideover.spool.interface import (
    Filter,
    MessageDamaged,
    RecipientRow,
    Settlement,
    Spool,
    SpoolError,
    State,
    StoredMessage,
)

PAGE: Final = 100
"""Messages that are looked at, and settled, in one go: some 20 ms of the loop."""

_INTERVAL: Final = (1.0, 60.0)
_DEAD_INTERVAL: Final = (60.0, 3600.0)
_GRACE: Final = 86_400.0
_WAITING: Final = (State.QUEUED, State.DEFERRED)
_TRIED: Final = (State.QUEUED, State.LEASED, State.DEFERRED)


class Aging:
    """The watch over age. Run `run` in a task.

    `on_queued` is told the domains that a report was queued for. A pass is made every minute, more
    often where lifetimes are so short that a tenth of one is less; dead letters are looked at
    every hour. Trouble of the spool ends a pass; the next one goes on.
    """

    def __init__(
        self,
        spool: Spool,
        config: Config,
        sink: EventSink,
        *,
        on_queued: Callable[[Iterable[str]], None],
        clock: Callable[[], float] = wall_clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._spool = spool
        self._config = config
        self._sink = sink
        self._on_queued = on_queued
        self._clock = clock
        self._sleep = sleep
        self._dead_due = 0.0

    def reconfigure(self, config: Config) -> None:
        """Use these lifetimes from the next pass on."""
        self._config = config
        self._dead_due = 0.0

    async def run(self) -> None:
        """Make passes until cancelled."""
        while True:
            with suppress(SpoolError):
                await self.make_pass()
            await self._sleep(self._interval())

    async def make_pass(self) -> None:
        """One pass: expiry, then delays, and dead letters when it is their time.

        Raises:
            SpoolError: the pass ended early; what was settled stays settled.
        """
        now = self._clock()
        await self._expire(now)
        if self._config.delay_warning:
            await self._warn(now)
        if now >= self._dead_due:
            await self._end_dead_letters(now)
            lifetime = self._config.dead_letter_lifetime
            self._dead_due = now + _within(lifetime / 10, _DEAD_INTERVAL)

    def _interval(self) -> float:
        times = (self._shortest_lifetime(), self._config.delay_warning)
        return _within(min(filter(None, times)) / 10, _INTERVAL)

    def _lifetime(self, domain: str) -> float:
        settings = self._config.domains.get(domain)
        own = settings.message_lifetime if settings is not None else None
        return own or self._config.message_lifetime

    def _shortest_lifetime(self) -> float:
        own = (d.message_lifetime for d in self._config.domains.values())
        return min(filter(None, (self._config.message_lifetime, *own)))

    async def _expire(self, now: float) -> None:
        before = now - self._shortest_lifetime()
        if not await self._spool.due(received_before=before, limit=1):
            return  # the common case, without counting all that is there
        held = {hold.domain for hold in await self._spool.domain_holds()}
        for count in await self._spool.counts():
            before = now - self._lifetime(count.domain)
            if count.domain in held or count.oldest is None or count.oldest >= before:
                continue
            wanted = Filter(domain=count.domain, states=_WAITING, received_before=before)
            async for page in self._pages(wanted):
                await self._conclude(page, Kind.EXPIRED, now, lambda m: self._expired(m, now, held))

    def _expired(self, message: StoredMessage, now: float, held: set[str]) -> list[RecipientRow]:
        return [
            row
            for row in message.recipients
            if row.state in _WAITING and row.domain not in held and self._is_over(message, row, now)
        ]

    def _is_over(self, message: StoredMessage, row: RecipientRow, now: float) -> bool:
        """Whether a recipient's time is up. What a person has released lately, as after an outage
        longer than the lifetime, is tried for a while first.
        """
        lifetime = self._lifetime(row.domain)
        grace = min(_GRACE, lifetime / 4) if row.state is State.QUEUED else 0.0
        return message.received_at < now - lifetime and row.changed_at < now - grace

    async def _warn(self, now: float) -> None:
        before = now - self._config.delay_warning
        while page := await self._spool.due(received_before=before, limit=PAGE, delay=True):
            if not await self._conclude(page, Kind.DELAYED, now, _unwarned):
                return  # what is left could not be noted now

    async def _conclude(
        self,
        page: Sequence[StoredMessage],
        kind: Kind,
        now: float,
        choose: Callable[[StoredMessage], list[RecipientRow]],
    ) -> int:
        """Conclude the chosen recipients of each message. Returns how many messages changed."""
        done: list[tuple[StoredMessage, Conclusion]] = []
        for message in page:
            if rows := choose(message):
                with suppress(MessageDamaged, KeyError):  # in quarantine, or gone
                    done.append((message, await self._conclusion(message, rows, kind, now)))
        settlements = [
            Settlement(
                queue_id=message.queue_id,
                changes=conclusion.changes,
                leased=False,
                report=conclusion.report,
                report_body=conclusion.report_body,
            )
            for message, conclusion in done
        ]
        skipped = set(await self._spool.settle(settlements, now=now)) if settlements else set()
        settled = [pair for pair in done if pair[0].queue_id not in skipped]
        for message, conclusion in settled:
            for event in told(message, conclusion, kind, now):
                self._sink(event)
        reports = [conclusion.report for _, conclusion in settled if conclusion.report is not None]
        if reports:
            self._on_queued({r.domain for report in reports for r in report.envelope.recipients})
        return len(settled)

    async def _conclusion(
        self, message: StoredMessage, rows: list[RecipientRow], kind: Kind, now: float
    ) -> Conclusion:
        needed = reportable(message, [row.index for row in rows], kind)
        until = message.received_at + min(self._lifetime(row.domain) for row in rows)
        return conclude(
            message,
            [
                Failure(index=r.index, reply=None, text=r.last_reply or "", host=r.last_host)
                for r in rows
            ],
            kind=kind,
            hostname=self._config.hostname,
            now=now,
            new_id=self._spool.new_id,
            headers=await self._beginning(message) if needed else b"",
            retry_until=until if until > now else None,
        )

    async def _beginning(self, message: StoredMessage) -> bytes:
        """Our trace and the body's first chunk."""
        chunks = self._spool.read(message.queue_id)
        try:
            return message.trace + await anext(chunks, b"")
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    async def _end_dead_letters(self, now: float) -> None:
        before = now - self._config.dead_letter_lifetime
        wanted = Filter(states=(State.DEAD,), changed_before=before)
        async for page in self._pages(wanted):
            # The same conditions once more, in the removal: a person may have released some of it.
            ids = tuple(message.queue_id for message in page)
            removed = await self._spool.remove(
                Filter(ids=ids, states=(State.DEAD,), changed_before=before)
            )
            for message in page:
                if message.queue_id in removed:
                    self._sink(
                        DeadLetterExpired(
                            time=now,
                            message=message.queue_id,
                            sender=message.envelope.sender,
                            recipients=tuple(
                                row.address
                                for row in message.recipients
                                if row.state is State.DEAD and row.changed_at < before
                            ),
                        )
                    )

    async def _pages(self, wanted: Filter) -> AsyncGenerator[Sequence[StoredMessage], None]:
        """All that matches, a page at a time."""
        last = None
        while page := await self._spool.select(wanted, after=last, limit=PAGE):
            yield page
            last = page[-1].queue_id


def _unwarned(message: StoredMessage) -> list[RecipientRow]:
    return [r for r in message.recipients if r.state in _TRIED and not r.delay_notified]


def _within(value: float, bounds: tuple[float, float]) -> float:
    return min(max(value, bounds[0]), bounds[1])
