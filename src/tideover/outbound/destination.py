"""One destination: the hosts that one or many domains' mail goes home to.

How it stands is its route's `primary.health`, which hears of others too; here it moves by mail in
hand: down when no host is reached, recovering with the first connection, up at full pace or when
nothing waits any more.

While it is down one task probes it for all its mail; messages are not tried. While no mail waits
there is no task at all: `watch` does what is to be done. The connection by which a probe succeeded
carries the first message home.

A host that fails is passed over by further connections for a while (`primary.health`); probes try
all hosts again, so that nothing stale keeps us from one that has come back. A host that takes
connections but no mail is tried after all others for a while: else it would keep us from them for
ever (RFC 5321 §5.1).
"""

import asyncio
import contextlib
from collections import deque

from msgspec import Struct

from tideover.outbound.connection import Connection, ConnectionFailed, host_text
from tideover.outbound.context import Context
from tideover.outbound.drain import Drain
from tideover.outbound.lane import Lane
from tideover.outbound.pacing import Pace
from tideover.outbound.probe import probe
from tideover.outbound.transport import first_of
from tideover.outbound.troubles import Troubles
from tideover.primary.choice import shuffled
from tideover.primary.health import Health
from tideover.primary.health_offers import words
from tideover.primary.interface import NextHop, PrimaryState

STAGGER = 1.0
"""Seconds that the next host of a route is not begun while the one before has not answered."""

SPREAD = 2.0
"""Intervals between probes in which one of them has begun all hosts of a route, however many: it
gives way to later ones before long (see `probe`)."""

PASS_OVER = 30.0
"""Seconds that a host which takes no mail is tried after all others."""

SILENCE = 3
"""Probes begun without any answer after which a destination counts as down."""


class DestinationStatus(Struct, frozen=True, kw_only=True):
    """What is known of a domain's way home. `since` is Unix time, `reason` for the operator,
    `capabilities` what its hosts offer, as EHLO would say it.
    """

    state: PrimaryState
    since: float
    reason: str
    destination: str | None = None
    hops: tuple[str, ...] = ()
    connections: int = 0
    in_flight: int = 0
    capabilities: tuple[str, ...] = ()


class Destination:
    """The mail of all lanes that share the route `key`. Its methods are for the dispatcher."""

    def __init__(self, key: str, hops: tuple[NextHop, ...], context: Context) -> None:
        self.key = key
        self.hops = hops
        self.lanes: set[Lane] = set()  # all that are routed here
        self._context = context
        self._waiting: deque[Lane] = deque()  # those that may have mail to claim, in turn
        self._pace = Pace(context.settings.first_connections, context.settings.max_connections)
        self._troubles = Troubles()
        self._barren: dict[NextHop, float] = {}  # took a connection but no mail; last until then
        self._hurry = asyncio.Event()
        self._not_before = 0.0
        self._silent = 0
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self._drain: Drain | None = None
        self._returns = self.health.returns
        self._stopping = False

    @property
    def health(self) -> Health:
        """What is known of the route."""
        return self._context.healths.of(self.key)

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

    def hurry(self) -> None:
        """Somebody wants to know: probe now."""
        self._not_before = 0.0
        self._barren.clear()
        self._hurry.set()
        self.health.forgive()
        self._context.healths.wanted(self.key)

    def reconfigure(self) -> None:
        """The context's settings have changed."""
        settings = self._context.settings
        self._pace.configure(settings.first_connections, settings.max_connections)
        self.hurry()

    def status(self) -> DestinationStatus:
        """How things stand."""
        drain = self._drain
        return DestinationStatus(
            state=self.health.state,
            since=self.health.since,
            reason=self.health.reason,
            destination=self.key,
            hops=tuple(host_text(hop) for hop in self.hops),
            connections=len(drain.connections) if drain is not None else 0,
            in_flight=drain.in_flight if drain is not None else 0,
            capabilities=offered(self.health),
        )

    def stop(self) -> None:
        """Finish the transactions under way and begin nothing new."""
        self._stopping = True
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
            self._hurry.clear()
            self.health.backlog = True
            self._task = self._context.spawn(self._run())
            # Not in the work itself, which never runs when it is cancelled before it has begun.
            self._task.add_done_callback(self._ended)

    def _ended(self, _task: asyncio.Task[None]) -> None:
        self._task = None
        self.health.nobody_waits()
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
            if self._tells(first.hop):
                self.health.brought_home(f"{first.host} answers", self._context.clock())
        elif not drain.productive:
            # It takes connections but no mail: not to be asked again at once.
            interval = self._context.jitter(self._context.settings.probe_interval)
            if not self._is_ours:
                interval = self._until_next_probe()
            self._not_before = asyncio.get_running_loop().time() + interval
            self._unreachable(drain.failure, barren=True)

    # Reaching a host

    async def _walk(self) -> Connection:
        """Try the hosts in their order, equal ones by chance; the first connection there is."""
        now = asyncio.get_running_loop().time()
        equals = shuffled(self.hops, self._context.chance)
        hops = tuple(sorted(equals, key=lambda hop: self._barren.get(hop, 0.0) > now))
        health, at = self.health, self._context.clock()
        if health.state is not PrimaryState.DOWN:
            hops = tuple(h for h in hops if not health.ailing(host_text(h), at)) or hops
            stagger = STAGGER
        else:
            interval = self._context.settings.probe_interval
            stagger = min(STAGGER, SPREAD * interval / max(1, len(hops)))
        async with self._context.probes:
            return await first_of(
                hops, self._context.connect, stagger=stagger, failed=self._pass_over
            )

    def _pass_over(self, hop: NextHop, _error: ConnectionFailed) -> None:
        self.health.host_failed(host_text(hop), self._context.clock())

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

    def _tells(self, hop: NextHop) -> bool:
        """Whether a host is the primary itself, or nearer to it than any other that we know."""
        return not hop.intermediate or all(other.intermediate for other in self.hops)

    def _unreachable(self, reason: str, *, barren: bool = False) -> None:
        health = self.health
        if reason == "no answer" and health.state is PrimaryState.DOWN:
            reason = health.reason
        health.down(reason, self._context.clock(), barren=barren)

    def _reached(self, connection: Connection) -> None:
        self._failures = 0
        health = self.health
        if health.state is PrimaryState.DOWN or health.returns != self._returns:
            self._pace.restart()
        if self._tells(connection.hop):
            self._context.healths.reached(self.key, connection.host, connection.capabilities)
        self._returns = health.returns

    def _improved(self, hop: NextHop) -> None:
        if self._tells(hop):
            health, now = self.health, self._context.clock()
            health.took_mail(now)
            if health.state is PrimaryState.RECOVERING and self._pace.at_maximum:
                health.brought_home("it bears the full pace", now)

    def _caught_up(self) -> None:
        if self.health.state is PrimaryState.RECOVERING:
            self.health.brought_home("all that waited has been brought home", self._context.clock())


def offered(health: Health) -> tuple[str, ...]:
    """What the hosts of a route offer, as EHLO would say it."""
    together = health.offers.together
    return words(together) if together is not None else ()
