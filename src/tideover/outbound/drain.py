"""Bringing home what waits for one destination, while it takes mail.

Workers, one a connection, take claims from a small shared buffer, so that one claim statement
serves many messages. How many there are is `pacing`'s matter. A worker goes on to its next message
only when the end of the one before is durable (I4).

Destinations wait, not messages: a message whose connection failed is tried again a little later, or
goes back to the queue, without an attempt counted. Only one that fails like this a few times in a
row is put off by itself: it may be what breaks the server, and must not hold up all others.

A drain ends when no worker is left: since nothing waits any more, or since the last connection
failed. One that ended well, as after its last message, is followed by another while messages wait.
It leaves no claim behind.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from tideover.dns.client_names import ClientNames
from tideover.outbound.attempt import Outcomes, attempt, teller
from tideover.outbound.connection import Connection, ConnectionFailed
from tideover.outbound.context import Context
from tideover.outbound.lane import Lane
from tideover.outbound.ledger import LEASE
from tideover.outbound.outcome import Deferred, Delivered, Refused, Unknown
from tideover.outbound.pacing import Pace
from tideover.outbound.settle import RETRY, Ending, conclude_attempt, return_unused
from tideover.outbound.transport import discard
from tideover.outbound.troubles import Next, Troubles
from tideover.primary.interface import NextHop
from tideover.spool.interface import Claim, SpoolError, State

IDLE = 5.0
"""Seconds a connection is kept for the next message."""


class Drain:
    """The workers of one destination. `lanes` are its domains that may have mail, in turn.

    `connect` makes a further connection (or raises ConnectionFailed); `improved` is called when a
    message got its answer, `caught_up` when none waits any more, `barren` when a host took a
    connection but answered no message on it.
    """

    def __init__(
        self,
        context: Context,
        lanes: deque[Lane],
        pace: Pace,
        troubles: Troubles,
        *,
        connect: Callable[[], Awaitable[Connection]],
        improved: Callable[[NextHop], None],
        caught_up: Callable[[], None],
        barren: Callable[[NextHop], None],
    ) -> None:
        self._context = context
        self._lanes = lanes
        self._pace = pace
        self._troubles = troubles
        self._connect = connect
        self._improved = improved
        self._caught_up = caught_up
        self._barren = barren
        self._ready: deque[Claim] = deque()
        self._idle: deque[asyncio.Future[Claim | None]] = deque()
        self._aside: list[Claim] = []
        self._withdrawn: set[str] = set()  # domains, until they have mail to claim again
        self._poke = asyncio.Event()
        self._stopping = False
        self._claiming = False
        self._workers = 0
        self._opening = 0  # workers that have not asked for a message yet
        self._openers: set[asyncio.Task[Connection]] = set()
        self._asked: set[asyncio.Task[ClientNames]] = set()
        self._spawn_after = 0.0
        self.connections: set[Connection] = set()
        self.in_flight = 0
        self.failure: str | None = None
        self.productive = False

    # What the destination asks

    async def run(self, first: Connection) -> None:
        """Drain, beginning with one connection.

        Afterwards `failure` says why it broke off, if it did, and `productive` whether the
        connection that failed last had got any message answered.
        """
        self._spawn(first)
        while self._workers or (self._ready and self.failure is None and not self._stopping):
            self._poke.clear()
            if self._workers and not self._stopping and len(self._ready) < self._low_water():
                self._claiming = True
                await self._refill()
                self._claiming = False
            self._spawn_more()
            await self._poke.wait()
        reason = self.failure if self.failure is not None and not self._stopping else None
        for task in tuple(self._asked):
            task.cancel()
        await self._give_back([*self._ready, *self._aside], reason)

    def wake(self) -> None:
        """A lane has mail."""
        self._poke.set()

    def stop(self) -> None:
        """Finish what is under way, begin nothing new."""
        self._stopping = True
        discard(self._openers)
        while self._idle:
            _resolve(self._idle.popleft(), None)
        self._poke.set()

    def abort(self, reason: str) -> None:
        """Drop all connections; their messages end as the protocol's state says."""
        self.stop()
        for connection in list(self.connections):
            connection.abort(reason)

    async def withdraw(self, domain: str) -> None:
        """Give back what was claimed for a domain and not begun (it is held, or goes elsewhere);
        what is under way too, should it not be brought home.
        """
        self._withdrawn.add(domain)
        in_hand = [*self._ready, *self._aside]
        await self._give_back([claim for claim in in_hand if _domain(claim) == domain], None)

    # Claims

    def _low_water(self) -> int:
        return max(8, self._workers)

    async def _refill(self) -> None:
        """Claim for one domain after the other, until the buffer is full enough."""
        context = self._context
        while self._lanes and len(self._ready) < self._low_water() and not self._stopping:
            lane = self._lanes.popleft()
            lane.mail = False
            self._withdrawn.discard(lane.domain)
            destination = lane.destination
            limit = context.ledger.limit()
            now = context.clock()
            try:
                claims = await context.spool.claim(lane.domain, limit=limit, lease=LEASE, now=now)
            except SpoolError:
                context.notify(lane.domain)
                await asyncio.sleep(RETRY)
                continue
            for claim in claims:
                context.ledger.add(claim, now)
            if lane.hold is not None or lane.destination is not destination:
                await self._give_back(list(claims), None)
                continue
            self._ask_names(claims)
            if len(claims) == limit:
                context.notify(lane.domain)
            for claim in claims:
                if not self._hand_over(claim):
                    self._ready.append(claim)

    def _ask_names(self, claims: Sequence[Claim]) -> None:
        """Begin to ask what their clients are called: `attempt` does not wait for long."""
        look_up = self._context.look_up
        for claim in claims:
            address = claim.message.client.address
            told = bool(address) and any(self._tells(one, claim) for one in self.connections)
            if told and look_up is not None:
                task = asyncio.ensure_future(look_up(address))
                self._asked.add(task)
                task.add_done_callback(self._asked.discard)

    def _hand_over(self, claim: Claim) -> bool:
        """Give a claim to an idle worker; False when there is none."""
        while self._idle:
            waiter = self._idle.pop()  # the last one: what isn't needed may time out
            if not waiter.done():
                waiter.set_result(claim)
                return True
        return False

    def _again(self, claim: Claim) -> None:
        """A claim that was not brought home is the next to be tried."""
        if _domain(claim) in self._withdrawn:
            self._context.spawn(self._give_back([claim], None))
        elif not self._hand_over(claim):
            self._ready.appendleft(claim)
            self._poke.set()

    async def _next_claim(self) -> Claim | None:
        """The next message; None when the worker is to end."""
        if self._stopping:
            return None
        if self._ready:
            claim = self._ready.popleft()
            if self._lanes and len(self._ready) < self._low_water():
                self._poke.set()
            return claim
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Claim | None] = loop.create_future()
        self._idle.append(waiter)
        if self._lanes:
            self._poke.set()
        elif not self._claiming:
            self._caught_up()
        timer = loop.call_later(IDLE, _resolve, waiter, None)
        try:
            return await waiter
        finally:
            timer.cancel()
            with contextlib.suppress(ValueError):
                self._idle.remove(waiter)

    def _put_aside(self, claim: Claim) -> None:
        """Keep a message from taking connection after connection down in no time."""
        self._aside.append(claim)
        loop = asyncio.get_running_loop()
        loop.call_later(self._context.settings.probe_interval, self._take_up, claim)

    def _take_up(self, claim: Claim) -> None:
        if claim in self._aside:
            self._aside.remove(claim)
            self._again(claim)

    async def _give_back(self, claims: Sequence[Claim], reason: str | None) -> None:
        """Return claims that were not tried."""
        if not claims:
            return
        self._ready = deque(claim for claim in self._ready if claim not in claims)
        self._aside = [claim for claim in self._aside if claim not in claims]
        await self._context.settler.settle(return_unused(claims, reason), ())
        for claim in claims:
            self._context.ledger.remove(claim)
            self._context.notify(_domain(claim))

    # Workers

    def _spawn_more(self) -> None:
        """A worker for each waiting claim that none is about to take, as far as the pace allows."""
        if self._stopping:
            return
        now = asyncio.get_running_loop().time()
        while len(self._ready) > self._opening and self._workers < self._pace.allowed:
            if now < self._spawn_after:
                return
            self._spawn(None)

    def _spawn(self, connection: Connection | None) -> None:
        self._workers += 1
        self._opening += 1
        if connection is not None:
            self.connections.add(connection)
        self._context.spawn(self._work(connection))

    async def _work(self, connection: Connection | None) -> None:
        """One worker: a connection, and message after message on it."""
        try:
            try:
                connection = connection or await self._open()
            finally:
                self._opening -= 1
            self.connections.add(connection)
            if await self._use(connection):
                self.failure = None
        except ConnectionFailed as error:
            self._strain(str(error), None, productive=False)
        except BaseException:
            if connection is not None:
                connection.abort("the worker was stopped")
            raise
        finally:
            self._workers -= 1
            self._poke.set()
            if connection is not None:
                self.connections.discard(connection)
        if connection is not None:
            await connection.quit()

    async def _open(self) -> Connection:
        """A further connection; no longer waited for when the drain is to stop."""
        if self._stopping:
            raise ConnectionFailed("not needed any more")
        opener = asyncio.ensure_future(self._connect())
        self._openers.add(opener)
        opener.add_done_callback(self._openers.discard)
        return await opener

    async def _use(self, connection: Connection) -> bool:
        """Message after message. False when the connection failed."""
        most = self._context.settings.messages_per_connection
        if (limit := connection.capabilities.mail_max) is not None:
            most = min(most, limit)
        answered = 0
        while connection.transactions < most:
            claim = await self._next_claim()
            if claim is None:
                return True
            if not connection.usable():  # closed by the server while it was idle
                self._again(claim)
                if answered:
                    return True
                self._strain(f"{connection.host}: closed", connection.hop, productive=False)
                return False
            tell = self._tells(connection, claim)
            if tell and not connection.may_tell(teller(claim)):
                self._again(claim)  # on a connection of its own
                return True
            trouble = await self._deliver(connection, claim, tell=tell)
            if trouble is not None:
                reason = f"{connection.host}: {trouble}"
                self._strain(reason, connection.hop, productive=answered > 0)
                return False
            answered += 1
            self._improved(connection.hop)
            if not connection.usable():
                return True
        return True

    def _tells(self, connection: Connection, claim: Claim) -> bool:
        """Whether to say who the client was: not to strangers, who only get our reports."""
        offered = connection.capabilities
        return bool(offered.xclient or offered.xforward) and self._context.is_ours(_domain(claim))

    def _strain(self, reason: str, hop: NextHop | None, *, productive: bool) -> None:
        """The destination showed weakness: slower, and for a while no further connections."""
        self._pace.failed()
        self.failure = reason
        self.productive = productive
        if hop is not None and not productive:
            self._barren(hop)
        loop = asyncio.get_running_loop()
        pause = 0.0 if productive else self._context.settings.probe_interval
        self._spawn_after = loop.time() + pause
        loop.call_later(pause, self._poke.set)

    # Messages

    async def _deliver(self, connection: Connection, claim: Claim, *, tell: bool) -> str | None:
        """One message to its end. Returns what is wrong with the connection, if it is."""
        self.in_flight += 1
        try:
            context = self._context
            outcomes = await attempt(
                connection, claim, context.spool, tell=tell, look_up=context.look_up
            )
            trouble = _trouble(outcomes)
            if trouble is None:
                self._troubles.forget(claim.message.queue_id)
            elif all(type(outcome) is Deferred for _, outcome in outcomes):
                following = self._troubles.note(claim.message.queue_id)
                if following is Next.AT_ONCE:
                    self._again(claim)
                    return trouble
                if following is Next.SOON:
                    self._put_aside(claim)
                    return trouble
                outcomes = [(index, Deferred(trouble, message_specific=True))
                            for index, _ in outcomes]  # fmt: skip
            await self._settle(connection, claim, outcomes)
            # A 4xx may be about the message alone, or a kind word for too much: no reason to grow.
            if (
                trouble is None
                and not all(type(outcome) is Deferred for _, outcome in outcomes)
                and self._pace.succeeded()
            ):
                self._poke.set()
            return trouble
        finally:
            self.in_flight -= 1

    def _conclude(self, connection: Connection, claim: Claim, outcomes: Outcomes) -> Ending:
        context = self._context
        return conclude_attempt(
            claim,
            outcomes,
            host=connection.host,
            tls=connection.tls,
            now=context.clock(),
            chance=context.chance.random(),
            terms=context.terms,
        )

    async def _settle(self, connection: Connection, claim: Claim, outcomes: Outcomes) -> None:
        context = self._context
        try:
            ending = self._conclude(connection, claim, outcomes)
        except Exception as error:
            ending = self._conclude(connection, claim, _without_reports(outcomes, error))
        await context.settler.settle(ending.settlements, ending.events)
        context.ledger.remove(claim)
        for settlement in ending.settlements:
            for change in settlement.changes:
                if change.state is State.QUEUED:
                    context.notify(_domain(claim))
                elif change.state is State.DEFERRED:
                    context.deferred(change.not_before)
        for domain in ending.reports_to:
            context.notify(domain)


def _trouble(outcomes: Outcomes) -> str | None:
    """What an attempt says against the connection or the host, or None."""
    for _, outcome in outcomes:
        if isinstance(outcome, Unknown) or (
            isinstance(outcome, Deferred) and not outcome.message_specific
        ):
            return outcome.text
    return None


def _without_reports(outcomes: Outcomes, error: Exception) -> Outcomes:
    """The outcomes when making a report about them failed by a fault of ours.

    What was delivered stays so; what was refused is asked about again later.
    """
    later = Deferred(f"internal error: {type(error).__name__}: {error}", message_specific=True)
    return [
        (index, Delivered(outcome.reply, dsn_passed_on=True))
        if isinstance(outcome, Delivered)
        else (index, later if isinstance(outcome, Refused) else outcome)
        for index, outcome in outcomes
    ]


def _domain(claim: Claim) -> str:
    return claim.message.recipients[claim.indexes[0]].domain


def _resolve(waiter: "asyncio.Future[Claim | None]", value: Claim | None) -> None:
    if not waiter.done():
        waiter.set_result(value)
