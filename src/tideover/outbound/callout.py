"""Callouts: asking primaries by RCPT whether they would take mail for an address.

MAIL FROM:<>, RCPT TO:<address>, RSET: no message is ever sent. Connections are kept for the next
question and used by one at a time; TLS is as for mail.

None while the primary is down; how often and on how many connections, see `callout_destination`.
What is no word on the mailbox is no answer: 4xx, a policy, a refused null sender, a lost
connection.
"""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any, Final

from tideover.config.model import Outbound, Source
from tideover.events.clock import now as wall_clock
from tideover.events.event import EventSink
from tideover.events.recipient_records import CalloutsRefused
from tideover.message.envelope import Recipient
from tideover.outbound.callout_destination import Destination, Past, new_room
from tideover.outbound.connection import Connection, ConnectionFailed, host_text
from tideover.outbound.transport import connect
from tideover.primary.interface import NextHop, Route, Router
from tideover.primary.standing import Evidence
from tideover.recipients.sources.callout import Answer, Probed, Unavailable
from tideover.recipients.sources.interface import SourceError
from tideover.recipients.sources.mailbox import doubts_mailbox, refuses_mailbox
from tideover.smtp.address import quoted
from tideover.smtp.client_values import Command, Declined, Lost, Mail, Verdict, Welcome

DESTINATIONS: Final = 1000
"""Destinations that are remembered while nothing is under way; the rest is forgotten."""

_CONNECT: Final = 10.0
_COMMAND: Final = 30.0
_FAREWELL: Final = 1.0  # when the daemon stops


class Callouts:
    """The `Prober` of `recipients.sources.callout`. `close` it at the end.

    `source` is the configuration of the source `callout`; `destination_up` says of a route's key
    whether mail reaches it, None when that is not known; `evidence` hears of each connection.
    """

    def __init__(
        self,
        router: Router,
        *,
        hostname: str,
        outbound: Outbound,
        source: Source,
        emit: EventSink,
        tls: ssl.SSLContext | None,
        destination_up: Callable[[str], bool | None],
        evidence: Evidence | None = None,
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self._router = router
        self._emit = emit
        self._tls = tls
        self._destination_up = destination_up
        self._evidence = evidence
        self._clock = clock
        self._destinations: dict[str, Destination] = {}
        self._room = new_room()
        self._tasks: set[asyncio.Task[None]] = set()
        self._set(hostname, outbound, source)

    def reconfigure(
        self, *, router: Router, hostname: str, outbound: Outbound, source: Source
    ) -> None:
        """Use these from the next question on. What was asked lately still counts."""
        self._router = router
        if (hostname, outbound, source) == self._settings:
            return
        self._set(hostname, outbound, source)
        for key, destination in self._destinations.items():
            destination.retire()
            self._destinations[key] = self._make(key, destination.past)

    async def probe(self, domain: str, local: str, *, background: bool = False) -> Probed:
        """As `Prober.probe`. `domain` in A-labels, `local` unquoted.

        Raises:
            Unavailable: the primary can't be asked now, or may not.
            SourceError: what it said is no answer.
        """
        route = await self._router.route(domain, now=self._clock())
        if not isinstance(route, Route):
            raise Unavailable(route.text)
        hops = tuple(hop for hop in route.hops if not hop.intermediate)
        if not hops:
            raise Unavailable("only other backups can be reached, and they can't say")
        up = self._destination_up(route.key)
        if up is False:
            raise Unavailable("the primary is down")
        destination = self._destinations.get(route.key)
        if destination is None:
            self._forget_quiet_ones()
            destination = self._destinations[route.key] = self._make(route.key)
        question = _question(domain, local)
        try:
            host, verdict = await destination.ask(
                question, hops, background=background, surely_up=up is True
            )
        except ConnectionFailed as error:
            if error.reply is not None and error.reply.permanent:
                self._tell_refused(destination, domain, host_text(hops[0]), str(error.reply))
            raise Unavailable(str(error)) from None
        return self._judge(destination, domain, host, verdict)

    async def close(self) -> None:
        """Say goodbye on all connections, within a second."""
        for destination in self._destinations.values():
            destination.retire()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_FAREWELL)
            for task in late:
                task.cancel()

    # Parts

    def _set(self, hostname: str, outbound: Outbound, source: Source) -> None:
        self._settings = hostname, outbound, source
        settings = replace(
            outbound,
            connect_timeout=min(outbound.connect_timeout, _CONNECT),
            command_timeout=min(outbound.command_timeout, _COMMAND),
        )
        self._connect = partial(connect, hostname=hostname, settings=settings, context=self._tls)

    def _make(self, key: str, past: Past | None = None) -> Destination:
        _, _, source = self._settings
        connect = partial(self._connect_to, key)
        return Destination(
            connect, source.max_lookups, source.max_rate, self._spawn, self._room, past=past
        )

    async def _connect_to(self, key: str, hop: NextHop) -> Connection:
        try:
            connection = await self._connect(hop)
        except ConnectionFailed as error:
            if self._evidence is not None:
                self._evidence.failed(key, host_text(hop), str(error))
            raise
        if self._evidence is not None:
            self._evidence.reached(key, connection.host, connection.capabilities)
        return connection

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _forget_quiet_ones(self) -> None:
        if len(self._destinations) >= DESTINATIONS:
            self._destinations = {k: d for k, d in self._destinations.items() if not d.quiet()}

    def _judge(
        self, destination: Destination, domain: str, host: str, verdict: Welcome | Verdict
    ) -> Probed:
        if isinstance(verdict, Lost):
            destination.failed(f"{host}: {verdict.text}")
            raise Unavailable(f"{host}: {verdict.text}")
        text = str(verdict.reply)
        if verdict.reply.code == 421:  # RFC 5321 §3.8: it closes, whatever was asked
            destination.failed(f"{host}: {text}")
            raise Unavailable(f"{host}: {text}")
        if isinstance(verdict, Declined) and verdict.command is Command.MAIL:
            if verdict.reply.permanent:
                self._tell_refused(destination, domain, host, text)
                destination.refused(f"{host} refuses the null sender: {text}")
            raise Unavailable(f"{host} won't be asked: {text}")
        destination.answered()
        if isinstance(verdict, Welcome):
            return Probed(Answer.TAKEN, text)
        if refuses_mailbox(text):
            return Probed(Answer.REFUSED, text)
        if doubts_mailbox(text):
            return Probed(Answer.DOUBTED, text)
        raise SourceError(f"{host} can't say: {text}")

    def _tell_refused(self, destination: Destination, domain: str, host: str, reply: str) -> None:
        """Once, until it answers."""
        if not destination.past.told:
            destination.past.told = True
            self._emit(CalloutsRefused(domain=domain, host=host, reply=reply))


def _question(domain: str, local: str) -> Mail:
    recipient = Recipient(address=f"{quoted(local)}@{domain}", domain=domain)
    return Mail("", (recipient,), 0, smtputf8=not local.isascii())
