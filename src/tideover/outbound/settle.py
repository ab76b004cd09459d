"""From the outcomes of an attempt to what is stored and told.

`conclude_attempt` is the one place that decides what an outcome means for a recipient's state:

| outcome | state | counted | why |
|---|---|---|---|
| delivered | delivered | yes | custody has passed on |
| deferred, about the message | deferred, backoff | yes | it waits by itself |
| deferred, about the connection | queued | no | the destination waits, not the message |
| refused | bounced or dead | yes | `bounce` decides by the evidence |
| unknown, first time | queued | yes | RFC 5321 §6.1: rather twice than never |
| unknown, again | deferred, backoff | yes | what breaks its server must not do so in a loop |

`Settler` makes them durable, then tells. Order of effects (I4): settled → event → the connection is
used again, since its worker waits for the settling.
"""

import asyncio
from collections.abc import Callable, Sequence

from msgspec import Struct

from tideover.bounce.conclude import Conclusion, Failure, Kind, conclude, told
from tideover.events import delivery_records
from tideover.events.event import Event, EventSink
from tideover.message.envelope import QueueId
from tideover.outbound.attempt import Outcomes
from tideover.outbound.outcome import Deferred, Delivered, Outcome, Refused, Unknown
from tideover.outbound.schedule import backoff
from tideover.spool.interface import Change, Claim, Settlement, Spool, SpoolError, State

RETRY = 1.0
"""Seconds until settling is tried again while the spool can't write."""

_MAX_TEXT = 1000
"""Characters of a reply that are kept and told."""


class Terms(Struct, frozen=True, kw_only=True):
    """What concluding needs beside the attempt: our name, delays in seconds, ids."""

    hostname: str
    first_backoff: float
    max_backoff: float
    new_id: Callable[[float], QueueId]


class Ending(Struct, frozen=True, kw_only=True):
    """An attempt's end: what to store, then what to tell.

    `reports_to` are the domains that a DSN was queued for.
    """

    settlements: tuple[Settlement, ...]
    events: tuple[Event, ...]
    reports_to: tuple[str, ...] = ()


def conclude_attempt(
    claim: Claim,
    outcomes: Outcomes,
    *,
    host: str,
    tls: str | None,
    now: float,
    chance: float,
    terms: Terms,
) -> Ending:
    """What the outcomes of an attempt on `host` lead to. `chance` in [0, 1) is for the backoff."""
    groups: dict[type, list[tuple[int, Outcome]]] = {}
    for pair in outcomes:
        groups.setdefault(type(pair[1]), []).append(pair)
    writer = _Writer(claim, host, tls, now, chance, terms)
    if delivered := groups.get(Delivered):
        writer.delivered(delivered)
    if deferred := groups.get(Deferred):
        writer.deferred(deferred)
    if unknown := groups.get(Unknown):
        writer.unknown(unknown)
    # Last: a report closes the original, so all else must be in the same transaction before it.
    if refused := groups.get(Refused):
        writer.refused(refused)
    return writer.ending()


def return_unused(claims: Sequence[Claim], reason: str | None) -> tuple[Settlement, ...]:
    """Claims that were not tried go back to the queue; the reason, if any, is kept for people.

    It must not begin as a reply: a report would quote it, with the names of hosts that it holds.
    """
    return tuple(
        Settlement(
            queue_id=claim.message.queue_id,
            changes=tuple(
                Change(index=index, state=State.QUEUED, reply=reason, counted=False)
                for index in claim.indexes
            ),
        )
        for claim in claims
    )


class _Writer:
    """Collects changes, reports and events of one attempt."""

    def __init__(
        self,
        claim: Claim,
        host: str,
        tls: str | None,
        now: float,
        chance: float,
        terms: Terms,
    ) -> None:
        self._claim = claim
        self._message = claim.message
        self._domain = claim.message.recipients[claim.indexes[0]].domain
        self._host = host
        self._tls = tls
        self._now = now
        self._chance = chance
        self._terms = terms
        self._changes: list[Change] = []
        self._reported: list[Settlement] = []
        self._events: list[Event] = []

    def ending(self) -> Ending:
        settlements = self._reported
        if self._changes:
            plain = Settlement(queue_id=self._message.queue_id, changes=tuple(self._changes))
            settlements = [plain, *settlements]
        return Ending(
            settlements=tuple(settlements),
            events=tuple(self._events),
            reports_to=tuple(
                recipient.domain
                for settlement in self._reported
                if settlement.report is not None
                for recipient in settlement.report.envelope.recipients
            )
            if self._reported
            else (),
        )

    def delivered(self, pairs: list[tuple[int, Outcome]]) -> None:
        relayed = []
        for index, outcome in pairs:
            assert isinstance(outcome, Delivered)  # noqa: S101 - for the type checker
            text = str(outcome.reply)[:_MAX_TEXT]
            self._changes.append(
                Change(index=index, state=State.DELIVERED, reply=text, host=self._host)
            )
            notify = self._message.envelope.recipients[index].notify
            if notify and "SUCCESS" in notify and not outcome.dsn_passed_on:
                relayed.append(
                    Failure(index=index, reply=outcome.reply, text=text, host=self._host)
                )
        self._events.append(
            delivery_records.Delivered(
                time=self._now,
                message=self._message.queue_id,
                domain=self._domain,
                recipients=self._addresses(pairs),
                host=self._host,
                reply=text,
                waited=self._now - self._message.received_at,
                tls=self._tls,
            )
        )
        if relayed:
            self._relayed(relayed)

    def deferred(self, pairs: list[tuple[int, Outcome]]) -> None:
        for index, outcome in pairs:
            assert isinstance(outcome, Deferred)  # noqa: S101 - for the type checker
            text = outcome.text[:_MAX_TEXT]
            if outcome.message_specific:
                change = self._later(index, text)
            else:
                change = Change(
                    index=index, state=State.QUEUED, reply=text, host=self._host, counted=False
                )
            self._changes.append(change)
        self._events.append(
            delivery_records.DeliveryDeferred(
                time=self._now,
                message=self._message.queue_id,
                domain=self._domain,
                recipients=self._addresses(pairs),
                host=self._host,
                reply=text,
                next_attempt=change.not_before or None,
            )
        )

    def unknown(self, pairs: list[tuple[int, Outcome]]) -> None:
        for index, outcome in pairs:
            assert isinstance(outcome, Unknown)  # noqa: S101 - for the type checker
            text = outcome.text[:_MAX_TEXT]
            if self._message.recipients[index].attempts:
                self._changes.append(self._later(index, text))
            else:
                self._changes.append(
                    Change(index=index, state=State.QUEUED, reply=text, host=self._host)
                )
        self._events.append(
            delivery_records.DeliveryUnknown(
                time=self._now,
                message=self._message.queue_id,
                domain=self._domain,
                recipients=self._addresses(pairs),
                host=self._host,
                reason=text,
            )
        )

    def refused(self, pairs: list[tuple[int, Outcome]]) -> None:
        failures = []
        told: dict[tuple[str | None, str], list[tuple[int, Outcome]]] = {}
        for pair in pairs:
            index, outcome = pair
            assert isinstance(outcome, Refused)  # noqa: S101 - for the type checker
            text = str(outcome.reply)[:_MAX_TEXT]
            host = None if outcome.ours else self._host
            failures.append(Failure(index=index, reply=outcome.reply, text=text, host=host))
            told.setdefault((outcome.stage, text), []).append(pair)
        # Each recipient with the reply that it got: what is learned of it depends on that.
        for (stage, text), those in told.items():
            self._events.append(
                delivery_records.DeliveryRefused(
                    time=self._now,
                    message=self._message.queue_id,
                    domain=self._domain,
                    recipients=self._addresses(those),
                    host=self._host,
                    reply=text,
                    stage=stage,
                )
            )
        conclusion = self._conclusion(failures, Kind.FAILED)
        self._add(conclusion.changes, conclusion, Kind.FAILED)

    def _relayed(self, relayed: list[Failure]) -> None:
        """Say how far the mail went: the next hop won't report success (RFC 3461 §5.2.2)."""
        indexes = {one.index for one in relayed}
        closing = tuple(change for change in self._changes if change.index in indexes)
        self._changes = [change for change in self._changes if change.index not in indexes]
        self._add(closing, self._conclusion(relayed, Kind.RELAYED), Kind.RELAYED)

    def _add(self, changes: tuple[Change, ...], conclusion: Conclusion, kind: Kind) -> None:
        """Changes with what is reported about them; both in one transaction (I5)."""
        self._events += told(self._message, conclusion, kind, self._now)
        if conclusion.report is None:
            self._changes += changes
            return
        self._reported.append(
            Settlement(
                queue_id=self._message.queue_id,
                changes=changes,
                report=conclusion.report,
                report_body=conclusion.report_body,
            )
        )

    def _conclusion(self, failures: list[Failure], kind: Kind) -> Conclusion:
        return conclude(
            self._message,
            failures,
            kind=kind,
            hostname=self._terms.hostname,
            now=self._now,
            new_id=self._terms.new_id,
            headers=self._message.trace + self._claim.head,
        )

    def _later(self, index: int, text: str) -> Change:
        """Deferred with the backoff of this recipient's own number of attempts."""
        delay = backoff(
            self._message.recipients[index].attempts,
            first=self._terms.first_backoff,
            maximum=self._terms.max_backoff,
            chance=self._chance,
        )
        return Change(
            index=index,
            state=State.DEFERRED,
            reply=text,
            host=self._host,
            not_before=self._now + delay,
        )

    def _addresses(self, pairs: list[tuple[int, Outcome]]) -> tuple[str, ...]:
        recipients = self._message.recipients
        return tuple([recipients[index].address for index, _ in pairs])


class Settler:
    """Makes endings durable, many in one go, and tells what happened afterwards.

    One `spool.settle` is under way at a time; what is handed in meanwhile goes with the next. While
    the spool can't write, it is tried again for ever: a delivery that is not recorded would be made
    again, so its connection must wait.
    """

    def __init__(self, spool: Spool, emit: EventSink, clock: Callable[[], float]) -> None:
        self._spool = spool
        self._emit = emit
        self._clock = clock
        self._waiting: list[tuple[tuple[Settlement, ...], asyncio.Future[None]]] = []
        self._running: asyncio.Task[None] | None = None

    async def settle(self, settlements: tuple[Settlement, ...], events: tuple[Event, ...]) -> None:
        """Store, then tell; but tell first of an unknown end, for the message may come twice then,
        and that must not be found out from the primary (I12). Returns when it is durable.
        """
        for event in events:
            if isinstance(event, delivery_records.DeliveryUnknown):
                self._emit(event)
        if settlements:
            loop = asyncio.get_running_loop()
            stored: asyncio.Future[None] = loop.create_future()
            self._waiting.append((settlements, stored))
            if self._running is None:
                self._running = loop.create_task(self._run())
            await stored
        for event in events:
            if not isinstance(event, delivery_records.DeliveryUnknown):
                self._emit(event)

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._store([one for settlements, _ in batch for one in settlements])
                for _, stored in batch:
                    if not stored.done():
                        stored.set_result(None)
        except Exception as error:
            for _, stored in batch + self._waiting:
                if not stored.done():
                    stored.set_exception(error)
            self._waiting = []
        finally:
            self._running = None

    async def _store(self, settlements: list[Settlement]) -> None:
        while True:
            try:
                await self._spool.settle(settlements, now=self._clock())
                return
            except SpoolError:
                await asyncio.sleep(RETRY)
