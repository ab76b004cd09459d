"""The daemon, put together: the only file that knows all packages.

Start: configuration, data directory, ports, a configured certificate; then privileges are dropped,
so that all files are the user's, and root follows no link that the user could put there; then the
log, the spool, the recipients and what serves them. What fails before the ready line ends the start
with one clear line and exit code 2. Stop, in the reverse order, on SIGTERM and SIGINT: no new mail,
bodies and deliveries under way finish or are deferred, then the spool is closed.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import uvloop

from tideover import __version__
from tideover.config.load import load
from tideover.config.mistakes import ConfigError
from tideover.config.model import Config
from tideover.config.reload import restart_needed
from tideover.control.offline import SPOOL
from tideover.control.server import ControlInUse, ControlServer
from tideover.control.service import Service
from tideover.events.console_log import ConsoleLog, as_json
from tideover.events.records import (
    ConfigRejected,
    ConfigReloaded,
    DaemonStarted,
    DaemonStopped,
    Event,
    EventSink,
)
from tideover.events.store import EventStore
from tideover.events.stream import EventStream
from tideover.events.text import text_renderer
from tideover.events.writer import LineWriter
from tideover.inbound.admission import Admission
from tideover.inbound.house import House
from tideover.inbound.limits import ConnectionLimits
from tideover.inbound.listener import ListenError, Listeners, bind
from tideover.inbound.tls import Certificate, CertificateError, open_certificate
from tideover.outbound.aging import Aging
from tideover.outbound.dispatcher import Dispatcher
from tideover.outbound.transport import opportunistic_context
from tideover.primary.resolver import DnsResolver
from tideover.primary.router import ConfigRouter
from tideover.privileges import PrivilegeError, drop, prepare_directory, raise_file_limit
from tideover.recipients.directory import DirectoryTable
from tideover.spool.interface import SpoolUnusable
from tideover.spool.sqlite import SqliteSpool, open_spool

# A stop is over within 10 s: this long for bodies under way, a little more for deliveries.
STOP_GRACE: Final = 8.0
# Open files kept back from clients: deliveries home, spool, log, control socket.
OTHER_FILES: Final = 256
# The garbage collector's first generation: few of our objects form cycles, so it may look seldom.
GC_THRESHOLD: Final = 50_000

_CANNOT_START = (
    ListenError,
    CertificateError,
    PrivilegeError,
    SpoolUnusable,
    ControlInUse,
)


def serve(config_path: Path, log_format: str) -> int:
    """Run the daemon in the foreground until it is told to stop. Returns the exit code.

    Raises:
        ConfigError: the configuration has mistakes.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # there is nothing to reload yet
    config = load(config_path)
    try:
        prepared = _prepare(config, log_format)
        return uvloop.run(_run(config_path, config, prepared))
    except _CANNOT_START as error:
        print(f"tideover: {error}", file=sys.stderr)  # noqa: T201  before there is a log
        return 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """What is made while we may still be root."""

    sockets: list[socket.socket]
    certificate: Certificate
    stream: EventStream
    console: ConsoleLog
    early: list[Event]
    most_clients: int


def _prepare(config: Config, log_format: str) -> _Prepared:
    os.umask(0o077)
    files = raise_file_limit()
    prepare_directory(config.data_dir, config.user)
    sockets = bind(config.smtp.listen)
    early: list[Event] = []
    open_tls = partial(
        open_certificate,
        config.smtp.tls_certificate,
        config.smtp.tls_key,
        data_dir=config.data_dir,
        hostname=config.hostname,
        sink=early.append,
    )
    # a configured one may be readable for root only, a self-made one is written
    configured = open_tls() if config.smtp.tls_certificate else None
    drop(config.user)
    stream, console = _open_log(config, log_format)
    certificate = configured or open_tls()
    certificate.sink = stream.emit
    return _Prepared(
        sockets=sockets,
        certificate=certificate,
        stream=stream,
        console=console,
        early=early,
        most_clients=max(1, files - OTHER_FILES),
    )


def _open_log(config: Config, log_format: str) -> tuple[EventStream, ConsoleLog]:
    render = as_json if log_format == "json" else text_renderer(colour=os.isatty(2))
    console = ConsoleLog(LineWriter(2), level=config.log.level, render=render)
    store = EventStore(config.data_dir / "events", max_size=config.log.max_size)
    return EventStream([store, console]), console


async def _run(config_path: Path, config: Config, prepared: _Prepared) -> int:
    stream = prepared.stream
    stream.attach()
    try:
        async with AsyncExitStack() as stack:
            daemon = await Daemon.open(config_path, config, prepared, stack)
            await daemon.run()
    finally:
        stream.close()
    return 0


class Daemon:
    """The running parts, and what concerns more than one of them. Serves the control verbs."""

    def __init__(
        self,
        config_path: Path,
        config: Config,
        *,
        emit: EventSink,
        console: ConsoleLog,
        spool: SqliteSpool,
        directory: DirectoryTable,
        resolver: DnsResolver,
        router: ConfigRouter,
        house: House,
        listeners: Listeners,
        dispatcher: Dispatcher,
        aging: Aging,
    ) -> None:
        self.config = config
        self.spool = spool
        self.directory = directory
        self.dispatcher = dispatcher
        self.started = time.time()
        self._path = config_path
        self._emit = emit
        self._console = console
        self._resolver = resolver
        self._router = router
        self._house = house
        self._listeners = listeners
        self._aging = aging
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._reason = ""

    @classmethod
    async def open(
        cls, config_path: Path, config: Config, prepared: _Prepared, stack: AsyncExitStack
    ) -> "Daemon":
        """Open all parts; `stack` closes them again, last first."""
        emit = prepared.stream.emit
        spool = await open_spool(config.data_dir / SPOOL, sink=emit)
        stack.push_async_callback(spool.close)
        # the spool's lock is ours, and with it the data directory: only now is its log written
        for event in prepared.early:
            emit(event)
        directory = DirectoryTable(config, config_path.parent, emit)
        directory.load()
        resolver = DnsResolver(config.dns)
        router = ConfigRouter(config, resolver, emit)
        dispatcher = Dispatcher(
            spool,
            router,
            hostname=config.hostname,
            settings=config.outbound,
            emit=emit,
            tls=opportunistic_context(),
            grace=STOP_GRACE,
        )
        notify = _notify_all(dispatcher)
        house = House(
            config=config,
            certificate=prepared.certificate,
            directory=directory,
            spool=spool,
            admission=Admission(spool.free_space, config.min_free_space, emit, time.time),
            limits=ConnectionLimits(config.smtp, prepared.most_clients),
            sink=emit,
            on_accepted=notify,
            clock=time.time,
        )
        listeners = Listeners(house)
        daemon = cls(
            config_path,
            config,
            emit=emit,
            console=prepared.console,
            spool=spool,
            directory=directory,
            resolver=resolver,
            router=router,
            house=house,
            listeners=listeners,
            dispatcher=dispatcher,
            aging=Aging(spool, config, emit, on_queued=notify),
        )
        control = ControlServer(config.data_dir, Service(daemon, emit))
        await control.start()
        stack.push_async_callback(control.close)
        await listeners.start(prepared.sockets)
        return daemon

    async def run(self) -> None:
        """Serve until told to stop."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._told_to_stop, "SIGTERM")
        loop.add_signal_handler(signal.SIGINT, self._told_to_stop, "SIGINT")
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        self._say_ready()
        # all that is alive by now stays: the collector need not look at it again
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(work)
                for work in (
                    self.dispatcher.run(),
                    self._aging.run(),
                    self.directory.watch(),
                    self._look_after(),
                    self._reload_when_told(),
                )
            ]
            await self._stop.wait()
            deliveries, *others = tasks
            deliveries.cancel()
            await self._listeners.stop(STOP_GRACE)
            for task in others:
                task.cancel()
        self._emit(DaemonStopped(reason=self._reason))

    def _told_to_stop(self, reason: str) -> None:
        self._reason = reason
        self._stop.set()

    def _say_ready(self) -> None:
        listen = tuple(str(endpoint) for endpoint in self.config.smtp.listen)
        self._emit(
            DaemonStarted(
                version=__version__,
                hostname=self.config.hostname,
                listen=listen,
                domains=len(self.config.domains),
            )
        )
        print(f"tideover {__version__} ready on {', '.join(listen)}", flush=True)  # noqa: T201

    async def _look_after(self) -> None:
        """Once a second: free space, and whether the certificate has changed."""
        while True:
            await asyncio.sleep(1.0)
            self._house.admission.measure()
            self._house.certificate.refresh()

    async def _reload_when_told(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            try:
                fresh = await asyncio.to_thread(load, self._path)
            except ConfigError as error:
                self._emit(ConfigRejected(errors=tuple(error.lines())))
            else:
                await self._use(fresh)

    async def _use(self, fresh: Config) -> None:
        """Go on with a new configuration; what can't change while running stays as it is."""
        waiting = restart_needed(self.config, fresh)
        await self.directory.reconfigure(fresh)
        self.config = fresh
        self._console.level = fresh.log.level
        self._house.reconfigure(fresh)
        self._aging.reconfigure(fresh)
        self._resolver.reconfigure(fresh.dns)
        self._router.reconfigure(fresh)
        self.dispatcher.reconfigure(
            hostname=fresh.hostname,
            settings=fresh.outbound,
            router=self._router,
        )
        self._emit(ConfigReloaded(domains=len(fresh.domains), restart_needed=waiting))


def _notify_all(dispatcher: Dispatcher) -> Callable[[Iterable[str]], None]:
    def notify(domains: Iterable[str]) -> None:
        for domain in domains:
            dispatcher.notify(domain)

    return notify
