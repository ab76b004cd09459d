"""One check of a primary: TCP, greeting, EHLO, TLS where it is offered, and, where that is set,
whether mail for postmaster would be taken. Of one that is in doubt it is asked whether it takes
mail at all.

A refused greeting, EHLO or HELO, and silence are failures; so is an answer to MAIL or RCPT that
tells of trouble of the server's own (`answer.is_verdict`). Any other, also a 5xx, is the word of a
server that works: one that takes no mail for postmaster of one domain may take that of others.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from tideover.config.model import Config
from tideover.message.envelope import Recipient
from tideover.outbound.answer import is_verdict, no_service
from tideover.outbound.connection import Connection, ConnectionFailed, host_text
from tideover.outbound.transport import connect, first_of
from tideover.primary.interface import NextHop
from tideover.smtp.capabilities import Capabilities
from tideover.smtp.client_values import Command, Declined, Lost, Mail, Welcome

STAGGER: Final = 1.0
"""Seconds that the next host of a route is not begun while the one before has not answered."""

_FAREWELL: Final = 1.0
_NOBODYS: Final = ((Command.MAIL, b"MAIL FROM:<>\r\n"), (Command.RSET, b"RSET\r\n"))


class Check(Struct, frozen=True, kw_only=True):
    """What came of a check: the host that gave service, or the trouble that all are in. `offered`
    is None when that is not all that it offers, as TLS was not begun.
    """

    host: str = ""
    trouble: str | None = None
    offered: Capabilities | None = None


class Checker:
    """Makes checks; knows no state."""

    def __init__(self, config: Config, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._farewells: set[asyncio.Task[None]] = set()
        self.reconfigure(config)

    def reconfigure(self, config: Config) -> None:
        """Use these settings from the next check on."""
        self._config = config

    async def check(
        self,
        hops: Sequence[NextHop],
        domain: str,
        *,
        limit: float,
        patience: float,
        secure: bool,
        doubtful: bool,
        failed: Callable[[str], None],
    ) -> Check:
        """Check the hops in this order until one gives service. Never raises.

        `limit`: seconds in all; `patience`: seconds for a connection to open; `secure`: begin TLS
        where it is offered; `doubtful`: ask whether it takes mail; `failed` is told each host that
        gave none.
        """
        until = asyncio.get_running_loop().time() + limit
        context = self._tls if secure or self._config.health.ask_postmaster else None

        async def reach(hop: NextHop) -> Connection:
            asked = domain if self._config.health.ask_postmaster else "" if doubtful else None
            return await self._reach(hop, asked, until, patience, context)

        try:
            connection = await first_of(
                hops,
                reach,
                stagger=min(STAGGER, limit / 2 / len(hops)),
                failed=lambda hop, _: failed(host_text(hop)),
            )
        except ConnectionFailed as error:
            return Check(trouble=str(error))
        whole = context is not None or not connection.capabilities.starttls or self._tls is None
        offered = connection.capabilities if whole else None
        farewell = asyncio.ensure_future(_leave(connection))
        self._farewells.add(farewell)
        farewell.add_done_callback(self._farewells.discard)
        return Check(host=connection.host, offered=offered)

    async def _reach(
        self,
        hop: NextHop,
        asked: str | None,
        until: float,
        patience: float,
        context: ssl.SSLContext | None,
    ) -> Connection:
        left = until - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(until):
                connection = await connect(
                    hop,
                    hostname=self._config.hostname,
                    settings=self._config.outbound,
                    context=context,
                    patience=min(patience, 0.95 * left),  # so that it says what it waited for
                )
                if asked is not None:
                    await (_ask(connection, asked) if asked else _ask_at_all(connection))
        except TimeoutError as error:
            raise ConnectionFailed(f"{host_text(hop)} does not answer in time") from error
        return connection


async def _ask(connection: Connection, domain: str) -> None:
    """Whether it is in trouble when asked about mail for postmaster (RFC 5321 §4.5.1)."""
    postmaster = Recipient(address=f"postmaster@{domain}", domain=domain)
    try:
        verdict = await connection.inquire(Mail("", (postmaster,), 0))
    except BaseException:
        connection.abort("given up")
        raise
    if isinstance(verdict, Lost):
        raise ConnectionFailed(f"{connection.host}: {verdict.text}")
    if isinstance(verdict, Welcome):
        return
    asked = verdict.command if isinstance(verdict, Declined) else Command.RCPT
    if not is_verdict(verdict.reply, asked):
        connection.abort("given up")
        raise ConnectionFailed(f"{connection.host} is in trouble", verdict.reply)


async def _ask_at_all(connection: Connection) -> None:
    """Whether it takes mail from anybody: all that it says against us, or the null sender, is the
    word of a server that works.
    """
    try:
        reply, _ = await connection.converse(_NOBODYS)
    except BaseException:
        connection.abort("given up")
        raise
    if no_service(reply) or (reply.enhanced or "").startswith("4.3."):
        connection.abort("given up")
        raise ConnectionFailed(f"{connection.host} is in trouble", reply)


async def _leave(connection: Connection) -> None:
    try:
        async with asyncio.timeout(_FAREWELL):
            await connection.quit()
    except TimeoutError:
        pass
