"""The trap as a part of the daemon: open while all better hosts are known to be up, else silent."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Literal

from msgspec import Struct

from tideover.config.model import Config
from tideover.events.clock import now as wall_clock
from tideover.events.event import EventSink
from tideover.events.trap_records import TrapOpened, TrapSilent, TrapTrouble
from tideover.policy.memory import Memory
from tideover.primary.standing import Standings
from tideover.trap.better import AllUp, BetterHosts, NotUp
from tideover.trap.catch import Catch, Caught, Greytrap
from tideover.trap.evidence import Contact
from tideover.trap.forged import Forged
from tideover.trap.holding import Holding

_STEP: Final = 0.25  # seconds between two looks at what is known of the better hosts
_RETRY: Final = 10.0
_TURNS: Final = 2
"""Checks of a route that are waited for beyond the first: as many hosts as most have."""


class TrapState(Struct, frozen=True, kw_only=True):
    """How the trap stands: "off" when none is configured. `since` is Unix time; `reason` is why it
    is silent; `waiting` counts contacts that are not judged yet.
    """

    state: Literal["off", "silent", "open"]
    since: float
    reason: str
    connections: int
    waiting: int


class TrapRole:
    """Made once, on the loop that runs it. `serving` tells whether our own listeners take
    connections, as they are better hosts, too. `ceiling` bounds connections whatever is configured.
    """

    def __init__(
        self,
        config: Config,
        memory: Memory,
        standings: Standings,
        is_ours: Callable[[str], bool],
        emit: EventSink,
        *,
        serving: Callable[[], bool] = lambda: True,
        ceiling: int | None = None,
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self.catch = Catch(config, memory, emit, clock)
        self.greytrap = Greytrap(self.catch)
        self._better = BetterHosts(config, standings)
        self._is_ours = is_ours
        self._emit = emit
        self._serving = serving
        self._clock = clock
        self._sockets: Sequence[socket.socket] = ()
        self._reason = "not known yet whether the better hosts are up"
        self._since = clock()
        self._up_since: float | None = None
        self._open = False
        self._troubled = False
        self._retry_at = 0.0
        self._config = config
        self._forged = Forged(config, is_ours)
        self._holding = Holding(
            config.trap,
            config.hostname,
            ended=self._over,
            is_newcomer=self.catch.is_newcomer,
            is_forged=self._is_forged,
            clock=clock,
            ceiling=ceiling,
        )

    # Life

    def start(self, sockets: Sequence[socket.socket]) -> None:
        """Use these sockets, which are bound and don't listen. `run` opens the trap when it may."""
        self._sockets = sockets

    async def run(self) -> None:
        """Open and close the trap until cancelled."""
        try:
            while True:
                if self._sockets:
                    self._look()
                await asyncio.sleep(_STEP)
        finally:
            self._holding.close()
            self._open = False

    def stop(self) -> None:
        """End all connections, and free the addresses."""
        self._holding.close()
        for sock in self._sockets:
            with suppress(OSError):
                sock.close()
        self._sockets = ()
        self._open = False

    def reconfigure(self, config: Config) -> None:
        """All but the addresses changes at once."""
        self._config = config
        self._forged = Forged(config, self._is_ours)
        self._better.reconfigure(config)
        self.catch.reconfigure(config)
        self._holding.reconfigure(config.trap, config.hostname)

    # What is told

    def state(self) -> TrapState:
        """How it stands now."""
        return TrapState(
            state="open" if self._open else "silent" if self._sockets else "off",
            since=self._since,
            reason="" if self._open or not self._sockets else self._reason,
            connections=self._holding.count,
            waiting=self.catch.waiting,
        )

    def caught(self) -> list[Caught]:
        """All marks that count."""
        return self.catch.caught()

    def forget(self, host: str) -> bool:
        """Take a client's marks back; whether there were any."""
        return self.catch.forget(host)

    # Parts

    def _look(self) -> None:
        seen = self._better.step()
        if isinstance(seen, AllUp) and not self._serving():
            seen = NotUp("our own listeners take no more connections")
        if isinstance(seen, NotUp):
            self._silence(seen.reason)
            return
        if seen.since is None:
            return
        if self._up_since is None:
            self._up_since = self._clock()
        if not self._open:
            self._listen()
        # the hosts of a route are checked in turn
        self.catch.confirm(seen.since - _TURNS * self._config.health.check_interval)

    def _silence(self, reason: str) -> None:
        self._reason, self._up_since = reason, None
        dropped = self.catch.drop()
        if self._open:
            self._open, self._since = False, self._clock()
            closed = self._holding.close()
            self._emit(TrapSilent(reason=reason, closed=closed, dropped=dropped))

    def _listen(self) -> None:
        now = self._clock()
        if now < self._retry_at:
            return
        try:
            self._holding.open(self._sockets)
        except OSError as error:
            self._holding.close()
            self._reason, self._retry_at = f"can't listen: {error.strerror or error}", now + _RETRY
            if not self._troubled:
                self._emit(TrapTrouble(reason=self._reason))
            self._troubled = True
            return
        self._troubled = False
        self._open, self._since = True, now
        self._emit(TrapOpened())

    def _is_forged(self, helo: str, client: str) -> bool:
        return self._forged(helo, client)

    def _over(self, contact: Contact) -> None:
        """A newcomer has gone. Who came too soon after an outage is not to blame for it."""
        if (
            self._up_since is not None
            and contact.began >= self._up_since + self._config.trap.settle
        ):
            self.catch.add(contact)
