"""Which destination each domain's mail goes to, asked of the router a few at a time.

Mail is never given up for what DNS says: without a route a domain waits and its route is asked
again when the router says so. A route that is known stays in use while DNS only has temporary
trouble. A null MX keeps the mail too; it is reported as trouble.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from itertools import count

from tideover.events.domain_records import RouteTrouble
from tideover.outbound.context import Context
from tideover.outbound.destination import Destination
from tideover.outbound.lane import Lane
from tideover.primary.interface import NoRoute, Route, Router, Trouble

ASKERS = 16
"""Look-ups under way at once."""


class Routing:
    """Routes lanes to destinations, which it owns. `changed`: `ask_again` may be due earlier."""

    def __init__(self, router: Router, context: Context, changed: Callable[[], None]) -> None:
        self.router = router
        self.destinations: dict[str, Destination] = {}
        self._context = context
        self._changed = changed
        self._to_ask: deque[Lane] = deque()
        self._askers: set[asyncio.Task[None]] = set()
        self._again: list[tuple[float, int, Lane]] = []  # a heap; see Lane.ask_at
        self._order = count()

    def ask(self, lane: Lane) -> None:
        """Look a lane's route up; the lane is placed when the answer is there."""
        if lane.asking:
            return
        lane.asking = True
        self._to_ask.append(lane)
        # By done(): those that have just ended take nothing more, and are still in the set.
        if sum(not asker.done() for asker in self._askers) < ASKERS:
            asker = self._context.spawn(self._ask_all())
            self._askers.add(asker)
            asker.add_done_callback(self._askers.discard)

    def place(self, lane: Lane) -> None:
        """A lane has mail that may go: hand it to its destination, or find that out first."""
        if lane.stale:
            self.ask(lane)
        if lane.destination is not None:
            lane.destination.add(lane)

    def ask_again(self, now: float) -> float:
        """Look up again what is due. Returns when the next is (Unix time)."""
        while self._again and self._again[0][0] <= now:
            at, _, lane = heapq.heappop(self._again)
            if lane.ask_at != at:
                continue  # asked since then
            lane.stale = True
            if lane.mail:
                self.ask(lane)
        return self._again[0][0] if self._again else float("inf")

    def sweep(self) -> None:
        """Forget destinations that nothing is routed to any more."""
        for key, destination in list(self.destinations.items()):
            if not destination.lanes and destination.idle:
                del self.destinations[key]

    def stop(self) -> None:
        """Wait for DNS no longer."""
        for asker in self._askers:
            asker.cancel()

    async def _ask_all(self) -> None:
        while self._to_ask:
            lane = self._to_ask.popleft()
            lane.stale = False
            now = self._context.clock()
            answer = await self.router.route(lane.domain, now=now)
            if lane.stale:  # meanwhile: a reload, which this answer may not know of
                self._to_ask.append(lane)
                continue
            lane.asking = False
            if isinstance(answer, Route):
                self._routed(lane, answer)
                self._remember(lane, answer.expires_at)
            else:
                self._not_routed(lane, answer)
                self._remember(lane, max(answer.retry_at, now + 1.0))

    def _remember(self, lane: Lane, at: float | None) -> None:
        lane.ask_at = at
        if at is not None:
            heapq.heappush(self._again, (at, next(self._order), lane))
            if self._again[0][2] is lane:
                self._changed()

    def _routed(self, lane: Lane, route: Route) -> None:
        lane.route = route
        lane.trouble = None
        destination = self.destinations.get(route.key)
        if destination is None:
            destination = Destination(route.key, route.hops, self._context)
            self.destinations[route.key] = destination
        destination.hops = route.hops
        if lane.destination is destination:
            return
        self._leave(lane)
        lane.destination = destination
        destination.lanes.add(lane)
        if lane.mail and lane.hold is None:
            destination.add(lane)

    def _not_routed(self, lane: Lane, answer: NoRoute) -> None:
        before, lane.trouble = lane.trouble, answer
        if before is None or (before.trouble, before.text) != (answer.trouble, answer.text):
            self._context.emit(
                RouteTrouble(domain=lane.domain, trouble=answer.trouble.value, text=answer.text)
            )
        if answer.trouble is not Trouble.TEMPORARY:
            self._leave(lane)

    def _leave(self, lane: Lane) -> None:
        old, lane.destination = lane.destination, None
        if old is not None:
            old.leave(lane)
