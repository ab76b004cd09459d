"""What the scenarios of delivery share: spool in memory, fixed routes, dispatcher, its events."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import uvloop

from tideover.config.model import Outbound
from tideover.events.event import Event
from tideover.message.envelope import Client, Envelope, NewMessage, QueueId, Recipient, SessionId
from tideover.outbound.dispatcher import Dispatcher
from tideover.outbound.transport import opportunistic_context
from tideover.primary.interface import NextHop, NoRoute, Route
from tideover.spool.interface import RecipientRow, State
from tideover.spool.memory import MemorySpool

TRACE = b"Received: from client.example by mx2.example.org; today\r\n"
BODY = b"Subject: tide\r\n\r\nhello\r\n.dots\r\n..\r\n"
DOMAIN = "example.com"
CLIENT = Client(session=SessionId("s1"), address="192.0.2.1", port=1, helo="c", protocol="ESMTP")


def settings(**changes) -> Outbound:
    values = {
        "probe_interval": 0.05,
        "connect_timeout": 2.0,
        "command_timeout": 2.0,
        "data_timeout": 2.0,
        "first_backoff": 60.0,
        **changes,
    }
    return Outbound(**values)


class Routes:
    """A router that answers from a table; what isn't there has no route."""

    def __init__(self, **routes) -> None:
        self.table: dict[str, Route | NoRoute] = dict(routes)
        self.asked: list[str] = []

    async def route(self, domain: str, *, now: float) -> Route | NoRoute:
        self.asked.append(domain)
        return self.table[domain]

    def is_ours(self, domain: str) -> bool:
        return domain in self.table


def route_to(*ports: int, key: str | None = None, host: str = "127.0.0.1") -> Route:
    hops = tuple(
        NextHop(f"mx{port}.example", host, port, preference=at) for at, port in enumerate(ports)
    )
    return Route(key=key or ",".join(map(str, ports)), hops=hops)


class Rig:
    """A dispatcher at work. `events` is all that it told."""

    def __init__(
        self,
        route: Route | NoRoute | dict,
        *,
        spool=None,
        router=None,
        tls=True,
        also=None,
        look_up=None,
        **changes,
    ) -> None:
        self.spool = spool if spool is not None else MemorySpool()
        self.routes = router if router is not None else Routes()
        self.routes.table |= route if isinstance(route, dict) else {DOMAIN: route}
        self.events: list[Event] = []
        self._also = also
        self._told = asyncio.Event()
        self.dispatcher = Dispatcher(
            self.spool,
            self.routes,
            hostname="mx2.example.org",
            settings=settings(**changes),
            emit=self._tell,
            tls=opportunistic_context() if tls else None,
            look_up=look_up,
            grace=1.0,
        )

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        if self._also is not None:
            self._also(event)
        self._told.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Rig"]:
        task = asyncio.create_task(self.dispatcher.run())
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def put(
        self,
        *recipients: str | Recipient,
        body: bytes = BODY,
        notify: bool = True,
        declared: str | None = None,
        client: Client | None = None,
        **envelope,
    ) -> QueueId:
        """Accept a message, as inbound does. `declared` is the BODY parameter."""
        queue_id = self.spool.new_id(time.time())
        intake = self.spool.open(queue_id)
        for start in range(0, len(body), 50_000):
            if (wait := intake.write(body[start : start + 50_000])) is not None:
                await wait
        known = tuple(
            one
            if isinstance(one, Recipient)
            else Recipient(address=one, domain=one.rpartition("@")[2])
            for one in recipients or ("user@example.com",)
        )
        await intake.commit(
            NewMessage(
                queue_id=queue_id,
                received_at=time.time(),
                envelope=Envelope(
                    sender=envelope.pop("sender", "sender@example.net"),
                    recipients=known,
                    body=declared,
                    **envelope,
                ),
                client=client or CLIENT,
                trace=TRACE,
            )
        )
        if notify:
            for domain in {one.domain for one in known}:
                self.dispatcher.notify(domain)
        return queue_id

    async def rows(self, queue_id: QueueId) -> tuple[RecipientRow, ...]:
        message = await self.spool.show(queue_id)
        return message.recipients if message is not None else ()

    async def told(self, kind: type, count: int = 1, within: float = 10.0) -> list[Event]:
        """Wait until `count` events of this kind were told."""
        async with asyncio.timeout(within):
            while len(found := [e for e in self.events if isinstance(e, kind)]) < count:
                self._told.clear()
                await self._told.wait()
        return found

    async def state(self, queue_id: QueueId, *wanted: State, within: float = 10.0) -> None:
        """Wait until the recipients are in these states."""
        async with asyncio.timeout(within):
            while tuple(row.state for row in await self.rows(queue_id)) != wanted:
                self._told.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await self._told.wait()


def run(scenario, *, loop: str = "uvloop") -> None:
    """Run a scenario (an async function) on the daemon's loop, or on asyncio's own."""
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(scenario())
