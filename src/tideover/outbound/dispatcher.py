"""Brings queued mail home: from notices of arrival to routes, destinations and outcomes.

Knows which domains may have mail waiting, not which messages: what there is, is claimed from the
spool, oldest first. A domain costs a small object and no task.

Keeps the queue's clockwork going: deferred mail is woken when its time has come, leases in hand are
lengthened, leases of the dead are recovered, and now and then the spool is asked what it holds,
which finds all mail that nobody gave notice of (released by an operator, or left by another
process).

After a start every lease is an attempt of a process that died; its end is unknown and told so.
"""

import asyncio
import contextlib
import math
import random
import ssl
from collections.abc import Callable, Collection, Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar

from tideover.config.model import Outbound
from tideover.config.primaries import Health as HealthSettings
from tideover.dns.client_names import LookUp
from tideover.events.clock import now as wall_clock
from tideover.events.delivery_records import DeliveryUnknown
from tideover.events.event import EventSink
from tideover.outbound.connection import host_text
from tideover.outbound.context import PROBES, Context
from tideover.outbound.destination import DestinationStatus, offered
from tideover.outbound.lane import Lane
from tideover.outbound.ledger import LEASE, Ledger
from tideover.outbound.routing import Routing
from tideover.outbound.settle import RETRY, Settler
from tideover.primary.healths import Healths, Held
from tideover.primary.interface import PrimaryState, Route, Router
from tideover.spool.interface import DomainHold, Filter, Spool, SpoolError, State

_T = TypeVar("_T")

SURVEY = 60.0
"""Seconds between looks at what the spool holds, beyond those that have a reason."""

_SURVEY_SHARE = 20.0  # a survey costs at most a twentieth of the time
_LONGEST = 3600.0  # no timer is longer: clocks get set
_ABORTED = 1.5  # seconds to record the ends of transactions that were aborted


class Dispatcher:
    """Give it to a task as `run()`; tell it of new mail by `notify`.

    `grace` is how many seconds a stop waits for transactions under way. `tls` is None to never
    use STARTTLS. Without `healths`, no more is known of primaries than mail in hand finds out;
    without `look_up`, primaries that want to know the client hear no name of it.
    """

    def __init__(
        self,
        spool: Spool,
        router: Router,
        *,
        hostname: str,
        settings: Outbound,
        emit: EventSink,
        tls: ssl.SSLContext | None,
        healths: Healths | None = None,
        look_up: LookUp | None = None,
        grace: float = 8.0,
        clock: Callable[[], float] = wall_clock,
        chance: random.Random | None = None,
    ) -> None:
        self._spool = spool
        self._emit = emit
        self._clock = clock
        self._grace = grace
        self._lanes: dict[str, Lane] = {}
        self._ledger = Ledger()
        self._healths = healths or Healths(HealthSettings(), _Lanes(self._lanes), emit, clock=clock)
        self._healths.served.append(self._served)
        self._context = Context(
            spool=spool,
            healths=self._healths,
            settler=Settler(spool, emit, clock),
            ledger=self._ledger,
            emit=emit,
            clock=clock,
            chance=chance or random.Random(),  # noqa: S311 - jitter only
            is_ours=self._is_ours,
            spawn=self._spawn,
            notify=self.notify,
            deferred=self._deferred,
            hostname=hostname,
            settings=settings,
            tls=tls,
            probes=asyncio.Semaphore(PROBES),
            look_up=look_up,
        )
        self._poke = asyncio.Event()
        self._routing = Routing(router, self._context, self._poke.set)
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._early: list[Lane] = []  # with mail before run()
        self._ending = False
        self._wake_at = 0.0
        self._woken_at = 0.0
        self._survey_at = 0.0
        self._next_survey = 0.0  # not before
        self._leases_at = math.inf

    def _is_ours(self, domain: str) -> bool:
        return self._routing.router.is_ours(domain)

    # What others ask

    def notify(self, domain: str, count: int = 1) -> None:
        """Mail for a domain has been accepted, or is queued again. Cheap; never waits."""
        lane = self._lanes.get(domain)
        if lane is None:
            lane = self._lanes[domain] = Lane(domain)
        lane.arrivals += count
        if not lane.mail:
            lane.mail = True
            if lane.hold is None:
                self._place(lane)

    async def flush(self, domains: Collection[str] | None = None) -> int:
        """Try now what is deferred, for these domains or all; probe at once what is down.

        Returns how many recipients were deferred. Raises SpoolError.
        """
        now = self._clock()
        deferred = (State.DEFERRED,)
        count = 0
        for domain in domains if domains is not None else (None,):
            count += await self._spool.release(Filter(domain=domain, states=deferred), now=now)
        for name in self._lanes if domains is None else domains:
            lane = self._lanes.get(name)
            if lane is None:
                continue
            if lane.destination is not None:
                lane.destination.hurry()
            elif lane.mail:
                self._ask(lane)
        self._survey_at = 0.0
        self._poke.set()
        return count

    def set_hold(self, domain: str, hold: DomainHold | None) -> None:
        """Stop or resume a domain's mail. The spool's own record is the caller's matter."""
        lane = self._lanes.get(domain)
        if lane is None:
            lane = self._lanes[domain] = Lane(domain)
        before, lane.hold = lane.hold, hold
        held = Held(hold.since, hold.reason) if hold is not None else None
        self._healths.set_hold(domain, held)
        if hold is not None and before is None and lane.destination is not None:
            lane.destination.withdraw(lane)
        elif hold is None and before is not None and lane.mail:
            self._place(lane)

    def way(self, domain: str) -> DestinationStatus:
        """How things stand for a domain, also when it never had mail."""
        lane = self._lanes.get(domain)
        if lane is not None and (lane.destination is not None or lane.trouble is not None):
            status = lane.destination.status() if lane.destination is not None else None
            return self._lane_status(lane, status)
        standing = self._healths.standing(domain)
        route = self._healths.routes.known(domain)
        return DestinationStatus(
            state=standing.state,
            since=standing.since,
            reason=standing.reason,
            destination=standing.key,
            hops=tuple(host_text(hop) for hop in route.hops) if route is not None else (),
            capabilities=offered(self._healths.of(standing.key)) if standing.key else (),
        )

    def primary_up(self, domain: str) -> bool | None:
        """Whether a domain's primary is up, as far as we know without asking it. None where its
        route is not known, or has run out, so that it may lead to another one by now.
        """
        route = self._healths.routes.known(domain)
        return self._healths.up(route.key) if route is not None else None

    def destination_up(self, key: str) -> bool | None:
        """Whether the destination of routes with this key is up, as far as we know."""
        return self._healths.up(key)

    def reconfigure(self, *, hostname: str, settings: Outbound, router: Router) -> None:
        """Go on with a new configuration: all routes are asked for again."""
        self._context.configure(hostname, settings)
        self._routing.router = router
        for lane in self._lanes.values():
            lane.stale = True
            if lane.mail or lane.destination is not None:
                self._ask(lane)
        for destination in list(self._routing.destinations.values()):
            destination.reconfigure()

    async def run(self) -> None:
        """Work until cancelled; then stop cleanly, within the grace period."""
        # before anything is claimed: what is leased now, nobody holds
        await self._insist(
            partial(self._recover, "the daemon ended during the attempt", all_leases=True)
        )
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await self._begin()
                await self._keep()
            except asyncio.CancelledError:
                # mail may still be accepted while the daemon stops: it goes at the next start
                self._ending = True
                await self._stop()
                raise
            finally:
                for destination in self._routing.destinations.values():
                    destination.stop()

    # Beginning and end

    async def _begin(self) -> None:
        for hold in await self._insist(self._spool.domain_holds):
            self.set_hold(hold.domain, hold)
        self._leases_at = self._clock() + LEASE / 3
        early, self._early = self._early, []
        for lane in early:
            if lane.hold is None:
                self._place(lane)

    async def _stop(self) -> None:
        destinations = list(self._routing.destinations.values())
        self._routing.stop()
        for destination in destinations:
            destination.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._grace)
        for destination in destinations:
            destination.abort("the daemon stops")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_ABORTED)

    # The clockwork

    async def _keep(self) -> None:
        while True:
            self._poke.clear()
            pause = RETRY
            with contextlib.suppress(SpoolError):
                await self._do_what_is_due()
                pause = 0.0
            next_route = self._routing.ask_again(self._clock())
            due = min(self._wake_at, self._survey_at, self._leases_at, next_route)
            pause = max(pause, min(due - self._clock(), _LONGEST))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._poke.wait()

    async def _do_what_is_due(self) -> None:
        now = self._clock()
        if self._leases_at <= now:
            if aged := self._ledger.aged(now):
                await self._spool.extend(aged, lease=LEASE, now=now)
            await self._recover("its process was lost")
            self._leases_at = now + LEASE / 3
        if self._wake_at <= now:
            await self._wake(now)
        if self._survey_at <= now:
            await self._survey(now)

    async def _wake(self, now: float) -> None:
        """Deferred mail whose time has come is queued again; at most once a second."""
        self._wake_at = math.inf
        try:
            following = await self._spool.wake(now=now)
        except SpoolError:
            self._wake_at = now
            raise
        self._woken_at = now
        if following is not None:
            self._deferred(following)
        self._survey_at = min(self._survey_at, max(now, self._next_survey))

    def _deferred(self, at: float) -> None:
        at = max(at, self._woken_at + 1.0)
        if at < self._wake_at:
            self._wake_at = at
            self._poke.set()

    async def _survey(self, now: float) -> None:
        """Compare what we think with what lies in the spool."""
        began = asyncio.get_running_loop().time()
        self._routing.sweep()
        self._healths.sweep()
        seen = [(lane, lane.arrivals) for lane in self._lanes.values() if lane.mail]
        queued = {count.domain for count in await self._spool.counts() if count.queued}
        for domain in queued:
            self.notify(domain)
        for lane, arrivals in seen:
            if lane.mail and lane.arrivals == arrivals and lane.domain not in queued:
                lane.mail = False
                if lane.destination is not None:
                    lane.destination.dismiss(lane)
        cost = asyncio.get_running_loop().time() - began
        self._next_survey = now + max(1.0, cost * _SURVEY_SHARE)
        self._survey_at = max(self._next_survey, now + SURVEY)

    async def _recover(self, reason: str, *, all_leases: bool = False) -> None:
        """Queue again what was leased to the dead. The log has it before the spool forgets it:
        who dies in between tells it twice, never not at all (I12).
        """
        now = self._clock()
        lost = await self._spool.lost(now=now, all_leases=all_leases)
        if not lost:
            return
        for one in lost:
            self._emit(
                DeliveryUnknown(
                    message=one.queue_id,
                    domain=one.domain,
                    recipients=one.addresses,
                    host="",
                    reason=reason,
                )
            )
        await asyncio.sleep(0)  # events are written at the next turn of the loop
        await self._spool.recover(now=now, all_leases=all_leases)
        for one in lost:
            self.notify(one.domain)

    # Parts of the above

    def _place(self, lane: Lane) -> None:
        if self._group is None:
            self._early.append(lane)
        elif not self._ending:
            self._routing.place(lane)

    def _ask(self, lane: Lane) -> None:
        if self._group is not None and not self._ending:
            self._routing.ask(lane)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        if self._group is None:
            work.close()
            raise RuntimeError("the dispatcher doesn't run")
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _insist(self, ask: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        while True:
            try:
                return await ask()
            except SpoolError:
                await asyncio.sleep(RETRY)

    def _served(self, key: str) -> Collection[str]:
        destination = self._routing.destinations.get(key)
        return [lane.domain for lane in destination.lanes] if destination is not None else ()

    def _lane_status(self, lane: Lane, status: DestinationStatus | None) -> DestinationStatus:
        if lane.hold is not None:
            return DestinationStatus(
                state=PrimaryState.HELD, since=lane.hold.since, reason=lane.hold.reason
            )
        if status is not None:
            return status
        trouble = lane.trouble
        return DestinationStatus(
            state=PrimaryState.UNKNOWN,
            since=0.0,
            reason=trouble.text if trouble is not None else "no route yet",
        )


class _Lanes:
    """The routes of domains that had mail since the start."""

    def __init__(self, lanes: Mapping[str, Lane]) -> None:
        self._lanes = lanes

    def known(self, domain: str) -> Route | None:
        """As `healths.Routes`."""
        lane = self._lanes.get(domain)
        return lane.route if lane is not None and not lane.stale else None
