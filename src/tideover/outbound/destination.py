"""One destination: the hosts that one or many domains' mail goes home to.

    unknown ──reached──► up ◄────at full pace, or nothing waits────┐
       │                  │                                        │
       └────not reached───┴──────► down ──────reached────► recovering

While it is down one task probes it for all its mail; messages are not tried. While no mail waits
there is no task at all, only, for one that is down, a timer for a rare probe. The connection by
which a probe succeeded carries the first message home.

A host that fails is passed over by further connections for a while; probes try all hosts again, so
that nothing stale keeps us from one that has come back. A host that takes connections but no mail
is tried after all others for a while: else it would keep us from them for ever (RFC 5321 §5.1).
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine
from heapq import nsmallest
from typing import Any

from msgspec import Struct

from tideover.events.delivery_records import PrimaryChanged
from tideover.outbound.connection import Connection, ConnectionFailed, host_text
from tideover.outbound.context import Context
from tideover.outbound.drain import Drain
from tideover.outbound.lane import Lane
from tideover.outbound.pacing import Pace
from tideover.outbound.probe import probe
from tideover.outbound.transport import first_of
from tideover.outbound.troubles import Troubles
from tideover.primary.interface import NextHop, PrimaryState

STAGGER = 1.0
"""Seconds that the next host of a route is not begun while the one before has not answered."""

SPREAD = 2.0
"""Intervals between probes in which one of them has begun all hosts of a route, however many: it
gives way to later ones before long (see `probe`)."""

PASS_OVER = 30.0
"""Seconds that a host which failed is passed over while there are others."""

SILENCE = 3
"""Probes begun without any answer after which a destination counts as down."""

_NAMED = 5  # domains named in an event


class DestinationStatus(Struct, frozen=True, kw_only=True):
    """What is known of a domain's way home. `since` is Unix time, `reason` for the operator."""

    state: PrimaryState
    since: float
    reason: str
    destination: str | None = None
    hops: tuple[str, ...] = ()
    connections: int = 0
    in_flight: int = 0


class Destination:
    """The mail of all lanes that share the route `key`. Its methods are for the dispatcher."""

    def __init__(self, key: str, hops: tuple[NextHop, ...], context: Context) -> None:
        self.key = key
        self.hops = hops
        self.lanes: set[Lane] = set()  # all that are routed here
        self.state = PrimaryState.UNKNOWN
        self.since = context.clock()
        self.reason = "not tried yet"
        self._context = context
        self._waiting: deque[Lane] = deque()  # those that may have mail to claim, in turn
        self._pace = Pace(context.settings.first_connections, context.settings.max_connections)
        self._troubles = Troubles()
        self._passed_over: dict[NextHop, float] = {}
        self._barren: dict[NextHop, float] = {}  # took a connection but no mail; last until then
        self._hurry = asyncio.Event()
        self._not_before = 0.0
        self._silent = 0
        self._failures = 0
        self._idle_interval = context.settings.probe_interval
        self._idle_timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._drain: Drain | None = None
        self._looking = False  # the task is an idle probe
        self._proving = False  # it took a connection before, but no mail
        self._stopping = False

    # What the dispatcher asks

    @property
    def idle(self) -> bool:
        """Whether nothing is going on."""
        return self._task is None

    def add(self, lane: Lane) -> None:
        """A lane has mail. Call once for each time that `lane.mail` becomes true."""
        self._waiting.append(lane)
        if self._drain is not None:
            self._drain.wake()
        elif self._looking and self._task is not None:
            self._task.cancel()  # probing in earnest begins now
        self._start()

    def dismiss(self, lane: Lane) -> None:
        """A lane has nothing more to claim."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(lane)
        if not self._waiting and self._drain is None and self._task is not None:
            self._task.cancel()  # it is probing, for nobody now

    def withdraw(self, lane: Lane) -> None:
        """A lane is held or goes elsewhere: what was claimed for it and not begun goes back."""
        self.dismiss(lane)
        if self._drain is not None:
            self._context.spawn(self._drain.withdraw(lane.domain))

    def leave(self, lane: Lane) -> None:
        """A lane is routed elsewhere from now on."""
        self.lanes.discard(lane)
        self.withdraw(lane)
        if not self.lanes:
            self._cancel_idle_timer()

    def hurry(self) -> None:
        """Somebody wants to know: probe now."""
        self._not_before = 0.0
        self._passed_over.clear()
        self._barren.clear()
        self._hurry.set()
        if self._idle_timer is not None:
            self._cancel_idle_timer()
            self._probe_idle()

    def reconfigure(self) -> None:
        """The context's settings have changed."""
        settings = self._context.settings
        self._pace.configure(settings.first_connections, settings.max_connections)
        self.hurry()

    def status(self) -> DestinationStatus:
        """How things stand."""
        drain = self._drain
        return DestinationStatus(
            state=self.state,
            since=self.since,
            reason=self.reason,
            destination=self.key,
            hops=tuple(host_text(hop) for hop in self.hops),
            connections=len(drain.connections) if drain is not None else 0,
            in_flight=drain.in_flight if drain is not None else 0,
        )

    def stop(self) -> None:
        """Finish the transactions under way and begin nothing new."""
        self._stopping = True
        self._cancel_idle_timer()
        if self._drain is not None:
            self._drain.stop()
        elif self._task is not None:
            self._task.cancel()

    def abort(self, reason: str) -> None:
        """The grace period is over."""
        if self._drain is not None:
            self._drain.abort(reason)

    # Its one task, which lives while mail waits

    def _start(self) -> None:
        if self._task is None and self._waiting and not self._stopping:
            self._cancel_idle_timer()
            self._hurry.clear()
            self._spawn(self._run(), looking=False)

    def _spawn(self, work: Coroutine[Any, Any, None], *, looking: bool) -> None:
        self._looking = looking
        self._task = self._context.spawn(work)
        # Not in the work itself, which never runs when it is cancelled before it has begun.
        self._task.add_done_callback(self._ended)

    def _ended(self, _task: asyncio.Task[None]) -> None:
        self._task = None
        self._watch_idle()
        self._start()  # mail may have come in the moment of a cancellation

    async def _run(self) -> None:
        while self._waiting and not self._stopping:
            await self._bring_home(await self._reach())

    async def _reach(self) -> Connection:
        """Probe until there is a connection."""
        loop = asyncio.get_running_loop()
        if (pause := self._not_before - loop.time()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._hurry.wait()
            self._hurry.clear()
        self._silent = 0
        # strangers' hosts take no part in what is shared out among our primaries
        weight = int(self._is_ours)
        self._context.probing += weight
        try:
            connection = await probe(
                self._walk,
                interval=self._until_next_probe,
                failed=lambda error: self._unreachable(str(error)),
                hurry=self._hurry,
            )
        finally:
            self._context.probing -= weight
        self._reached(connection)
        return connection

    async def _bring_home(self, first: Connection) -> None:
        drain = self._drain = Drain(
            self._context,
            self._waiting,
            self._pace,
            self._troubles,
            connect=self._walk,
            improved=self._improved,
            caught_up=self._caught_up,
            barren=self._note_barren,
        )
        try:
            await drain.run(first)
        finally:
            self._drain = None
        if drain.failure is None:
            self._proving = False
            if self.state is not PrimaryState.UP:
                self._become(PrimaryState.UP, f"{first.host} answers")
        elif not drain.productive:
            # It takes connections but no mail: not to be asked again at once.
            self._proving = True
            interval = self._context.jitter(self._context.settings.probe_interval)
            if not self._is_ours:
                interval = self._until_next_probe()
            self._not_before = asyncio.get_running_loop().time() + interval
            self._unreachable(drain.failure)

    # Reaching a host

    async def _walk(self) -> Connection:
        """Try the hosts in their order; the first connection that comes about."""
        now = asyncio.get_running_loop().time()
        hops = tuple(sorted(self.hops, key=lambda hop: self._barren.get(hop, 0.0) > now))
        if self.state is not PrimaryState.DOWN:
            hops = tuple(h for h in hops if self._passed_over.get(h, 0.0) <= now) or hops
            stagger = STAGGER
        else:
            interval = self._context.settings.probe_interval
            stagger = min(STAGGER, SPREAD * interval / max(1, len(hops)))
        async with self._context.probes:
            return await first_of(
                hops, self._context.connect, stagger=stagger, failed=self._pass_over
            )

    def _pass_over(self, hop: NextHop, _error: ConnectionFailed) -> None:
        self._passed_over[hop] = asyncio.get_running_loop().time() + PASS_OVER

    def _note_barren(self, hop: NextHop) -> None:
        self._barren[hop] = asyncio.get_running_loop().time() + PASS_OVER

    def _until_next_probe(self) -> float:
        """Called after each probe that was begun."""
        self._silent += 1
        if self._silent > SILENCE:
            self._unreachable("no answer")
        if self._is_ours:
            return self._context.until_next_probe()
        self._failures += 1
        return self._context.until_stranger_is_tried(self._failures - 1)

    @property
    def _is_ours(self) -> bool:
        """Whether mail for a domain of ours goes here, or reports to strangers only."""
        return any(self._context.is_ours(lane.domain) for lane in self.lanes)

    def _unreachable(self, reason: str) -> None:
        if reason != "no answer" or self.state is not PrimaryState.DOWN:
            self._become(PrimaryState.DOWN, reason)

    def _reached(self, connection: Connection) -> None:
        self._passed_over.pop(connection.hop, None)
        self._failures = 0
        self._idle_interval = self._context.settings.probe_interval
        if self.state is PrimaryState.DOWN:
            self._pace.restart()
            if not self._proving:
                self._become(PrimaryState.RECOVERING, f"{connection.host} answers again")
        elif self.state is PrimaryState.UNKNOWN:
            self._become(PrimaryState.UP, f"{connection.host} answers")

    def _improved(self) -> None:
        self._proving = False
        if self.state is PrimaryState.DOWN:
            self._become(PrimaryState.RECOVERING, "it takes mail again")
        if self.state is PrimaryState.RECOVERING and self._pace.at_maximum:
            self._become(PrimaryState.UP, "it bears the full pace")

    def _caught_up(self) -> None:
        if self.state is PrimaryState.RECOVERING:
            self._become(PrimaryState.UP, "all that waited has been brought home")

    def _become(self, state: PrimaryState, reason: str) -> None:
        self.reason = reason
        if state is self.state:
            return
        before, self.state = self.state, state
        self.since = self._context.clock()
        self._context.emit(
            PrimaryChanged(
                time=self.since,
                destination=self.key,
                before=before.value,
                after=state.value,
                reason=reason,
                domains=tuple(nsmallest(_NAMED, (lane.domain for lane in self.lanes))),
            )
        )

    # Rare probes while no mail waits

    def _watch_idle(self) -> None:
        if self.state is not PrimaryState.DOWN or self._stopping or not self.lanes:
            return
        delay = self._context.jitter(self._idle_interval)
        most = self._context.settings.idle_probe_interval
        self._idle_interval = min(max(most, self._context.settings.probe_interval),
                                  self._idle_interval * 2)  # fmt: skip
        loop = asyncio.get_running_loop()
        self._idle_timer = loop.call_later(delay, self._probe_idle)

    def _cancel_idle_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def _probe_idle(self) -> None:
        self._idle_timer = None
        if self._task is None and not self._stopping:
            self._spawn(self._look(), looking=True)

    async def _look(self) -> None:
        """One probe that carries no mail."""
        self._context.probing += 1
        try:
            connection = await self._walk()
            self._pace.restart()
            self._become(PrimaryState.UP, f"{connection.host} answers again")
            await connection.quit()
        except ConnectionFailed as error:
            self._unreachable(str(error))
        finally:
            self._context.probing -= 1
