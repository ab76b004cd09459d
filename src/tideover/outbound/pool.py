"""Connections to one primary, kept for the transactions that pass through to it.

Each is used by one transaction at a time, and waits for the next only when nothing is open on it.
There are never more in use than allowed; who finds none within a moment is told so. A connection is
ended before the server would begin to slow it down, as most do after some errors.

A host that fails is passed over for a while as long as there are others; a kept connection to one
that is not among the best now is ended instead of used.

Where a connection speaks for one client only, as after Postfix's XCLIENT, it is kept for that
client for a moment, and others are opened ahead: so many that few clients find none ready, and none
while there is no traffic.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Final

from tideover.message.envelope import Client
from tideover.outbound.connection import Connection, ConnectionFailed, host_text
from tideover.outbound.kept import Kept
from tideover.outbound.places import Places
from tideover.outbound.room import Room
from tideover.outbound.transport import first_of
from tideover.primary.choice import shuffled
from tideover.primary.interface import NextHop
from tideover.primary.standing import Evidence
from tideover.smtp.client_values import Command

PATIENCE: Final = 1.0
"""Seconds to wait for a connection while all that may be are in use."""

PASS_OVER: Final = 30.0
"""Seconds that a host which failed is passed over while there are others."""

FRESH: Final = 2.0
"""Seconds after which a connection that waited is asked whether it is alive. While there is more
traffic than that, the first command asks."""

ALIVE: Final = 1.0
"""Seconds for the answer to that."""

RESET: Final = 10.0
"""Seconds for the reply to RSET while nobody waits for it."""

STAGGER: Final = 1.0
"""Seconds that the next host of a route is not begun while the one before has not answered."""

SPARES: Final = 10
"""Connections that are opened ahead, at most."""

SAME_CLIENT: Final = 5.0
"""Seconds that a connection is kept for the client whom it speaks for."""

HELD: Final = 5
"""Such connections that are kept at once: each is a process at the primary."""

_RSET: Final = ((Command.RSET, b"RSET\r\n"),)


class Full(Exception):  # noqa: N818 - says what happened
    """As many connections as may be are in use, by our rule or by the primary's."""


class Pool:
    """Connections to the primary with the route `key`.

    `connect` makes one. `most`: in use at once; `idle_time`: how long they wait; `patience`: how
    long it may take until a new one is of use. `spawn` starts a task that ends within seconds.
    """

    def __init__(
        self,
        key: str,
        connect: Callable[[NextHop], Coroutine[Any, Any, Connection]],
        *,
        most: int,
        idle_time: float,
        patience: float,
        evidence: Evidence,
        room: Room[Kept],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        chance: Random,
    ) -> None:
        self.key = key
        self._connect = connect
        self._idle_time = idle_time
        self._patience = patience
        self._evidence = evidence
        self._spawn = spawn
        self._chance = chance
        self._most = most
        self._places = Places(most, room, spawn)
        self._passed_over: dict[NextHop, float] = {}
        self._one_client = False  # a connection speaks for one client only
        self._spares = 1  # to be had ready then
        self._preparing = 0
        self._loop = asyncio.get_running_loop()

    # What transactions ask

    async def take(self, hops: tuple[NextHop, ...], client: Client) -> Kept:
        """A connection of one's own, until it is given back in one of the ways below.

        Raises:
            Full: none is free, and no other may be made.
            ConnectionFailed: there is none to be had.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                await self._places.enter()
        except TimeoutError:
            raise Full from None
        kept = await self._own(hops, client)
        if self._one_client:
            self._prepare(hops, missed=not kept.waited)
        return kept

    async def renew(self, kept: Kept, hops: tuple[NextHop, ...]) -> Kept:
        """A new connection in the place of one that has gone stale. Raises as `take` does."""
        kept.connection.abort("gone stale")
        self._places.taken.discard(kept)
        self._doubt(kept.hop)
        return await self._own(hops, None)

    def put_back(self, kept: Kept) -> None:
        """Nothing is open on it: the next transaction may have it."""
        if self._places.put_back(kept):
            self._keep(kept)

    def reset(self, kept: Kept) -> None:
        """A transaction is open on it that comes to nothing."""
        if kept.connection.usable():
            self._spawn(self._reset(kept))
        else:
            self.drop(kept, "given up")

    def drop(self, kept: Kept, text: str) -> None:
        """It is of no more use."""
        self._places.drop(kept, text)

    def reached(self, kept: Kept) -> None:
        """A connection that waited still gives service."""
        self._evidence.reached(self.key, kept.host, kept.offered)

    def failed(self, hop: NextHop, reason: str) -> None:
        """A host gave no service: others go first for a while, and what is kept is doubted."""
        if self._places.retired:
            return
        self._passed_over[hop] = self._loop.time() + PASS_OVER
        self._doubt(hop)
        self._evidence.failed(self.key, host_text(hop), reason)

    # What the owner asks

    def quiet(self) -> bool:
        """Whether nothing is lost when it is forgotten."""
        return not (self._places.waiting or self._places.in_use)

    def retire(self) -> None:
        """End all connections, those in use after their transaction."""
        self._places.retire()

    def abort(self, text: str) -> None:
        """Drop all connections that are in use; their transactions learn of it by themselves."""
        for kept in list(self._places.taken):
            kept.connection.abort(text)

    # Connections

    async def _own(self, hops: tuple[NextHop, ...], client: Client | None) -> Kept:
        """A connection for who has a slot; if there is none the slot is given back. For no client,
        a new one.
        """
        try:
            mine = await self._kept(hops, client) if client is not None else None
            if mine is None:
                if self._places.waiting and self._left() < 0:
                    self._places.end(next(iter(self._places.waiting)))
                mine = Kept(await self._open(hops))
        except BaseException:
            self._places.leave()
            raise
        self._places.taken.add(mine)
        return mine

    def _well(self, hops: tuple[NextHop, ...]) -> tuple[NextHop, ...]:
        """Those that did not fail lately, or all."""
        if not self._passed_over:
            return hops
        now = self._loop.time()
        self._passed_over = {hop: at for hop, at in self._passed_over.items() if at > now}
        return tuple(hop for hop in hops if hop not in self._passed_over) or hops

    async def _kept(self, hops: tuple[NextHop, ...], client: Client) -> Kept | None:
        """One that waits and is well."""
        best = min(hop.preference for hop in self._well(hops))
        while (kept := self._fitting(client)) is not None:
            self._places.take_out(kept)
            if not kept.connection.usable():
                continue  # the server has closed it
            if kept.hop not in hops or kept.hop.preference > best:
                self._spawn(kept.connection.quit())
            elif self._loop.time() - kept.since <= FRESH or await self._alive(kept):
                return kept
        return None

    def _fitting(self, client: Client) -> Kept | None:
        """The latest that may speak for a client; rather one that does so already."""
        fit = [kept for kept in reversed(self._places.waiting) if kept.connection.may_tell(client)]
        return next((kept for kept in fit if kept.connection.told), fit[0] if fit else None)

    async def _alive(self, kept: Kept) -> bool:
        try:
            async with asyncio.timeout(ALIVE):
                if (await kept.connection.converse(_RSET))[0].code // 100 == 2:
                    return True
        except ConnectionFailed:
            pass
        except TimeoutError:  # the host has fallen silent, and so have all connections to it
            for other in [one for one in self._places.waiting if one.hop == kept.hop]:
                self._places.take_out(other)
                other.connection.abort("gone stale")
        except BaseException:
            kept.connection.abort("given up")
            raise
        kept.connection.abort("gone stale")
        return False

    async def _open(self, hops: tuple[NextHop, ...]) -> Connection:
        """The first in order that answers, those of equal preference by chance."""
        hops = shuffled(self._well(hops), self._chance)
        left = set(hops)
        full = False

        def failed(hop: NextHop, error: ConnectionFailed) -> None:
            nonlocal full
            left.discard(hop)
            if error.reply is not None and error.reply.code == 421 and self._serves(hop):
                full = True  # it has a limit of its own
            else:
                self.failed(hop, str(error))

        stagger = min(STAGGER, self._patience / (len(hops) + 1))
        try:
            async with asyncio.timeout(self._patience):
                connection = await first_of(hops, self._connect, stagger=stagger, failed=failed)
        except TimeoutError:
            text = f"no answer within {self._patience:g} s"
            for hop in left:
                self.failed(hop, text)
            raise ConnectionFailed(text) from None
        except ConnectionFailed:
            if full:
                raise Full from None
            raise
        for hop in hops[: hops.index(connection.hop)]:  # slow ones are not waited for each time
            self._passed_over[hop] = self._loop.time() + PASS_OVER
        self._passed_over.pop(connection.hop, None)
        self._evidence.reached(self.key, host_text(connection.hop), connection.capabilities)
        return connection

    def _serves(self, hop: NextHop) -> bool:
        """Whether a host has other connections of ours that it let in."""
        return any(kept.hop == hop for kept in (*self._places.taken, *self._places.waiting))

    def _doubt(self, hop: NextHop) -> None:
        """What waits on connections to this host is asked before it is used."""
        for kept in self._places.waiting:
            if kept.hop == hop:
                kept.since = -math.inf

    def _keep(self, kept: Kept) -> None:
        idle_time = self._idle_time
        connection = kept.connection
        if connection.told == Command.XCLIENT.name and not connection.xclient_again:
            self._one_client = True
            idle_time = min(idle_time, SAME_CLIENT)
            held = [one for one in self._places.waiting if one.connection.told]
            if len(held) >= HELD:
                self._places.end(held[0])
        kept.since = self._loop.time()
        self._places.keep(kept, idle_time, self._expired)

    def _expired(self, kept: Kept) -> None:
        if not kept.connection.told:
            self._spares = max(1, self._spares - 1)
        self._places.end(kept)

    def _prepare(self, hops: tuple[NextHop, ...], *, missed: bool) -> None:
        """Open connections ahead. `missed`: there was none ready."""
        if missed:
            self._spares = min(SPARES, self._spares + 1)
        ready = sum(not kept.connection.told for kept in self._places.waiting) + self._preparing
        for _ in range(min(self._spares - ready, self._left() - self._preparing)):
            self._preparing += 1
            self._spawn(self._open_ahead(hops))

    async def _open_ahead(self, hops: tuple[NextHop, ...]) -> None:
        try:
            connection = await self._open(hops)
        except (ConnectionFailed, Full):
            return
        finally:
            self._preparing -= 1
        self._keep(Kept(connection))
        if self._places.retired:
            self.retire()

    def _left(self) -> int:
        """Connections that may be opened yet, until some that wait have to end for others."""
        return self._most - self._places.in_use - len(self._places.waiting)

    async def _reset(self, kept: Kept) -> None:
        """Nothing may stay open for the next transaction to run into."""
        try:
            async with asyncio.timeout(RESET):
                (reply,) = await kept.connection.converse(_RSET)
            clean = reply.code // 100 == 2
        except (ConnectionFailed, TimeoutError):
            clean = False
        except BaseException:
            self.drop(kept, "given up")
            raise
        if clean:
            self.put_back(kept)
        else:
            self.drop(kept, "RSET failed")
