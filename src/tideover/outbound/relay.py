"""Opens transactions at primaries: the `Relay` of `primary.relay`.

Only the primary's own hosts are asked: another backup's word is not its.
"""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any, Final

from tideover.config.model import Outbound
from tideover.config.primaries import PassThrough
from tideover.dns.client_names import LookUp
from tideover.events.clock import now as wall_clock
from tideover.message.envelope import Client, Envelope
from tideover.outbound.connection import ConnectionFailed
from tideover.outbound.kept import new_room
from tideover.outbound.live import LiveTransaction
from tideover.outbound.pool import Full, Pool
from tideover.outbound.transport import connect
from tideover.primary.interface import Route, Router
from tideover.primary.relay import Crowded, Gone, LiveMail
from tideover.primary.standing import Evidence
from tideover.smtp.client_values import Mail
from tideover.smtp.replies import Reply

POOLS: Final = 1000
"""Primaries whose hosts that failed lately are remembered while there is no connection to them."""

_FAREWELL: Final = 1.0  # seconds, when the daemon stops


class LiveRelay:
    """Passes transactions through. `close` it at the end.

    `outbound` says what `settings` leave open; `evidence` hears what becomes of connections;
    without `look_up` primaries that want to know the client hear no name of it.
    """

    def __init__(
        self,
        router: Router,
        evidence: Evidence,
        *,
        hostname: str,
        outbound: Outbound,
        settings: PassThrough,
        tls: ssl.SSLContext | None,
        look_up: LookUp | None = None,
        clock: Callable[[], float] = wall_clock,
        chance: Random | None = None,
    ) -> None:
        self._router = router
        self._evidence = evidence
        self._tls = tls
        self._look_up = look_up
        self._clock = clock
        self._chance = chance or Random()  # noqa: S311 - spreads load, keeps no secret
        self._pools: dict[str, Pool] = {}
        self._retired: list[Pool] = []  # with transactions under way yet
        self._room = new_room()
        self._tasks: set[asyncio.Task[None]] = set()
        self._set(hostname, outbound, settings)

    async def open(
        self, domain: str, client: Client, envelope: Envelope, *, size: int = 0
    ) -> LiveMail | Reply | Crowded | Gone:
        """As `Relay.open`. `size`: octets that will be written, if the client said (RFC 1870)."""
        route = await self._router.route(domain, now=self._clock())
        if not isinstance(route, Route):
            return Gone(text=route.text)
        hops = tuple(hop for hop in route.hops if not hop.intermediate)
        if not hops:
            return Gone(text="only other backups can be reached, and they can't say")
        pool = self._pool(route.key)
        try:
            kept = await pool.take(hops, client)
        except Full:
            return Crowded()
        except ConnectionFailed as error:
            return Gone(text=str(error), reply=error.reply)
        live = LiveTransaction(pool, kept, hops, client, _mail(envelope, size), self._look_up)
        try:
            answer = await live.introduce()
        except BaseException:
            live.abandon()
            raise
        return live if answer is None else answer

    def reconfigure(
        self, *, router: Router, hostname: str, outbound: Outbound, settings: PassThrough
    ) -> None:
        """Use these from the next transaction on; those under way end as they began."""
        self._router = router
        if (hostname, outbound, settings) == self._settings:
            return
        self._set(hostname, outbound, settings)
        for pool in self._pools.values():
            pool.retire()
        self._retired = [pool for pool in self._retired if not pool.quiet()]
        self._retired += self._pools.values()
        self._pools = {}

    async def close(self) -> None:
        """Say goodbye on all connections, within a second; transactions under way are lost."""
        pools = [*self._pools.values(), *self._retired]
        for pool in pools:
            pool.retire()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_FAREWELL)
            for task in late:
                task.cancel()
        for pool in pools:
            pool.abort("shutting down")

    # Parts

    def _set(self, hostname: str, outbound: Outbound, settings: PassThrough) -> None:
        self._settings = hostname, outbound, settings
        ours = replace(
            outbound,
            connect_timeout=settings.connect_timeout,
            command_timeout=settings.command_timeout,
            data_timeout=settings.data_timeout,
        )
        self._connect = partial(connect, hostname=hostname, settings=ours, context=self._tls)

    def _pool(self, key: str) -> Pool:
        pool = self._pools.get(key)
        if pool is None:
            if len(self._pools) >= POOLS:
                self._pools = {k: p for k, p in self._pools.items() if not p.quiet()}
            settings = self._settings[2]
            pool = self._pools[key] = Pool(
                key,
                self._connect,
                most=settings.max_connections,
                idle_time=settings.idle_time,
                patience=settings.connect_timeout,
                evidence=self._evidence,
                room=self._room,
                spawn=self._spawn,
                chance=self._chance,
            )
        return pool

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _mail(envelope: Envelope, size: int) -> Mail:
    return Mail(
        envelope.sender, (), size, envelope.body, envelope.smtputf8, envelope.ret, envelope.envid
    )
