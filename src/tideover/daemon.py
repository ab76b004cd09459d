"""The running daemon: its parts, put together, and what concerns more than one of them."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tideover import __version__, collector
from tideover.config.directory import DomainFiles
from tideover.config.load import Loaded, load_to_serve
from tideover.config.mistakes import ConfigError
from tideover.config.model import Config, Domain
from tideover.config.reload import restart_needed
from tideover.console.server import Console
from tideover.console.server import Prepared as PreparedWeb
from tideover.control.offline import SPOOL
from tideover.control.server import ControlServer
from tideover.control.service import Service
from tideover.dns.client_names import UNKNOWN, ClientNames, client_names
from tideover.dns.names import Names
from tideover.dns.resolver import DnsError, DnsResolver
from tideover.doorway import Doorway
from tideover.events.console_log import ConsoleLog
from tideover.events.domain_records import DomainFilesBroken
from tideover.events.event import Event
from tideover.events.records import (
    ConfigRejected,
    ConfigReloaded,
    DaemonStarted,
    DaemonStopped,
)
from tideover.events.stream import EventStream
from tideover.inbound.admission import Admission
from tideover.inbound.house import House
from tideover.inbound.limits import ConnectionLimits
from tideover.inbound.listener import Listeners
from tideover.inbound.tls import Certificate
from tideover.knowledge import Knowledge
from tideover.outbound.aging import Aging
from tideover.outbound.checking import Checker
from tideover.outbound.connection import host_text
from tideover.outbound.dispatcher import Dispatcher
from tideover.outbound.transport import opportunistic_context
from tideover.outbound.watch import HealthWatch
from tideover.policy.making import ChainMaker
from tideover.primary.discovery import Discovery
from tideover.primary.handover_watch import HandoverWatch
from tideover.primary.healths import Healths
from tideover.primary.router import ConfigRouter
from tideover.primary.store import PrimaryStore
from tideover.primary.watch import Watch
from tideover.recipients.directory import DirectoryTable
from tideover.recipients.domain_list import DomainList
from tideover.recipients.report import Refreshed, SourceStatus
from tideover.smtp.capabilities import Capabilities
from tideover.spool.sqlite import SqliteSpool, open_spool
from tideover.trap.role import TrapRole

# A stop is over within 10 s: this long for bodies under way, a little more for deliveries.
STOP_GRACE: Final = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What is made while we may still be root. `trap` and `walls` are bound and don't listen: the
    latter never do, and are kept so that the kernel refuses whoever comes (nolisting).
    """

    sockets: list[socket.socket]
    certificate: Certificate
    web: PreparedWeb | None
    stream: EventStream
    console: ConsoleLog
    early: list[Event]
    most_clients: int
    trap: list[socket.socket]
    walls: list[socket.socket]
    most_trapped: int


class Daemon:
    """Serves mail and the control verbs. Made by `open`.

    `config` is the configuration in use: that of the files, with the domains that a list names
    (`domains_from`) and those that were discovered.
    """

    directory: DirectoryTable
    mx: Watch
    spool: SqliteSpool
    dispatcher: Dispatcher

    def __init__(self, config_path: Path, loaded: Loaded, prepared: Prepared) -> None:
        self.config = loaded.config
        self.started = time.time()
        self._path = config_path
        self._loaded = loaded
        self._emit = prepared.stream.emit
        self._stream = prepared.stream
        self._console = prepared.console
        self._tls = opportunistic_context()
        self._resolver = DnsResolver(loaded.config.dns)
        self._names: Names | None = None
        self._using = asyncio.Lock()
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._reason = ""

    @classmethod
    async def open(
        cls, config_path: Path, loaded: Loaded, prepared: Prepared, stack: AsyncExitStack
    ) -> "Daemon":
        """Open all parts; `stack` closes them again, last first."""
        daemon = cls(config_path, loaded, prepared)
        emit = daemon._emit
        daemon.spool = await open_spool(daemon.config.data_dir / SPOOL, sink=emit)
        stack.push_async_callback(daemon.spool.close)
        # the spool's lock is ours, and with it the data directory: only now is its log written
        for event in prepared.early:
            emit(event)
        daemon._tell_broken_files()
        await daemon._open_domains(stack)
        daemon._open_outbound()
        await daemon._open_knowledge(stack)
        await daemon._open_inbound(prepared, stack)
        control = ControlServer(daemon.config.data_dir, Service(daemon, emit, trap=daemon._trap))
        await control.start()
        stack.push_async_callback(control.close)
        if prepared.web is not None:
            web = Console(prepared.web, daemon.directory, lambda: daemon.config, emit)
            await web.start()
            stack.push_async_callback(web.close)
        await daemon._listeners.start(prepared.sockets)
        return daemon

    # Opening

    async def _open_domains(self, stack: AsyncExitStack) -> None:
        """Which domains are ours, and where their homes are."""
        files, emit = self._loaded.config, self._emit
        self._list = DomainList(files, self._path.parent, emit, time.time)
        await self._list.restore()
        self.config = self._joined()
        store = await PrimaryStore.open(files.data_dir, emit)
        stack.push_async_callback(store.close)
        self._router = ConfigRouter(self.config, self._resolver, emit, store=store)
        self._discovery = Discovery(
            self.config,
            self._resolver,
            store,
            emit,
            on_found=self._found,
            on_lost=self._lost,
        )
        self._discovery.adopt(self.config)
        self.mx = Watch(self.config, self._router, store, emit)
        self._healths = Healths(self.config.health, self._router, emit, store=store)
        checker = Checker(self.config, self._tls)
        self._health = HealthWatch(self.config, self._router, self._healths, checker, emit)

    def _open_outbound(self) -> None:
        self.handover = HandoverWatch(self._emit, self._offered)
        self._stream.add(self.handover)
        self.dispatcher = Dispatcher(
            self.spool,
            self._router,
            hostname=self.config.hostname,
            settings=self.config.outbound,
            emit=self._emit,
            tls=self._tls,
            healths=self._healths,
            look_up=self._look_up,
            grace=STOP_GRACE,
        )
        self._aging = Aging(self.spool, self.config, self._emit, on_queued=self._notify)

    async def _open_knowledge(self, stack: AsyncExitStack) -> None:
        self._knowledge = await Knowledge.open(
            self.config,
            router=self._router,
            primaries=self,
            primary_up=self.dispatcher.primary_up,
            destination_up=self.dispatcher.destination_up,
            evidence=self._healths,
            is_primary=self._is_primary,
            stream=self._stream,
            tls=self._tls,
            stack=stack,
        )
        self.directory = self._knowledge.directory

    async def _open_inbound(self, prepared: Prepared, stack: AsyncExitStack) -> None:
        config, emit = self.config, self._emit
        make_chain = await ChainMaker.open(config, self._is_ours, emit, stack)
        self._names = make_chain.names
        self._doorway = await Doorway.open(
            config,
            self._router,
            self._healths,
            make_chain.memory,
            names=make_chain.names,
            look_up=self._look_up,
            tls=self._tls,
            emit=emit,
            stack=stack,
        )
        self._house = House(
            config=config,
            certificate=prepared.certificate,
            directory=self.directory,
            spool=self.spool,
            admission=Admission(self.spool.free_space, config.min_free_space, emit, time.time),
            limits=ConnectionLimits(config.smtp, prepared.most_clients),
            sink=emit,
            on_accepted=self._accepted,
            clock=time.time,
            make_chain=make_chain,
            gate=self._doorway.gate,
        )
        self._listeners = Listeners(self._house)
        self._trap = TrapRole(
            config,
            make_chain.memory,
            self._healths,
            self._is_ours,
            emit,
            serving=self._takes_connections,
            ceiling=prepared.most_trapped,
        )
        self._trap.start(prepared.trap)
        stack.callback(self._trap.stop)
        self._stream.add(self._trap.greytrap)

    def _joined(self) -> Config:
        """The configuration of the files and the list, with domains of its own: what is discovered
        is added to these, and must never pass for what the files say.
        """
        config = self._list.joined(self._loaded.config)
        return replace(config, domains=dict(config.domains))

    # What the parts tell each other

    async def _look_up(self, address: str) -> ClientNames:
        """The names of a client, as primaries are told them."""
        return UNKNOWN if self._names is None else await client_names(self._names, address)

    def _takes_connections(self) -> bool:
        """Whether who comes to our listeners is let in: if not, coming to the trap is no sin."""
        house = self._house
        return not house.draining and house.limits.total < house.config.smtp.max_connections

    def _notify(self, domains: Iterable[str]) -> None:
        for domain in domains:
            self.dispatcher.notify(domain)

    def _accepted(self, domains: Iterable[str]) -> None:
        for domain in domains:
            self.dispatcher.notify(domain)
            self._discovery.used(domain)

    def _offered(self, domain: str) -> Capabilities | None:
        return self._healths.standing(domain).capabilities

    def _is_ours(self, domain: str) -> bool:
        return domain in self.config.domains

    def _is_primary(self, domain: str, host: str) -> bool:
        """Whether a host, as events name it, is the domain's primary and not another backup."""
        route = self._router.known(domain)
        return route is not None and any(
            host_text(hop) == host and not hop.intermediate for hop in route.hops
        )

    def closed(self, domain: str) -> str | None:
        """Why a domain takes no mail at all (`recipients.directory.Primaries`)."""
        return self._router.closed(domain, time.time())

    @property
    def may_be_more(self) -> bool:
        """Whether domains that we don't know may be ours (`recipients.directory.Primaries`)."""
        return self._discovery.is_on or self._list.doubt(time.time()) is not None

    async def discover(self, domain: str) -> bool | None:
        """Whether a domain becomes ours (`recipients.directory.Primaries`)."""
        try:
            if await self._discovery.ask(domain) is not None:
                return True
        except DnsError:
            return None
        return None if self._list.doubt(time.time()) is not None else False

    def _found(self, name: str, settings: Domain) -> None:
        """A domain was discovered: from now on it is one like any other."""
        self.config.domains[name] = settings
        self.mx.add(name)

    def _lost(self, name: str) -> None:
        """A discovered domain takes no new mail; what is queued goes on by its MX set."""
        settings = self.config.domains.pop(name, None)
        if settings is not None:
            self.directory.lose(name, settings)
        self._router.forget(name)
        self._health.homes.forget(name)

    # Running

    async def run(self) -> None:
        """Serve until told to stop."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._told_to_stop, "SIGTERM")
        loop.add_signal_handler(signal.SIGINT, self._told_to_stop, "SIGINT")
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        self._say_ready()
        collector.begin()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(work)
                for work in (
                    self.dispatcher.run(),
                    self._aging.run(),
                    self._knowledge.run(),
                    self._doorway.run(self._house),
                    self._trap.run(),
                    self.mx.run(),
                    self._health.run(),
                    self._discovery.run(),
                    self._list.watch(self._use),
                    self._look_after(),
                    self._settle(),
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
        line = f"tideover {__version__} ready on {', '.join(listen)}\n"
        with suppress(OSError):  # a full disk, or nobody who reads: mail is served all the same
            os.write(sys.stdout.fileno(), line.encode())

    async def _look_after(self) -> None:
        """Once a second: free space, and whether the certificate has changed."""
        while True:
            await asyncio.sleep(1.0)
            self._house.admission.measure()
            self._house.certificate.refresh()

    async def _settle(self) -> None:
        """Wait until all was read that is read at a start, which may be a million objects."""
        while not (self._list.was_tried and self.directory.was_read()):  # noqa: ASYNC110
            await asyncio.sleep(1.0)
        collector.much_was_read()

    # Another configuration

    async def _reload_when_told(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            collector.clear()
            try:
                fresh = await asyncio.to_thread(load_to_serve, self._path, self._loaded)
            except ConfigError as error:
                self._emit(ConfigRejected(errors=tuple(error.lines())))
            else:
                waiting = restart_needed(self._loaded.config, fresh.config)
                self._loaded = fresh
                self._tell_broken_files()
                self._list.reconfigure(fresh.config)
                await self._use()
                self._emit(ConfigReloaded(domains=len(self.config.domains), restart_needed=waiting))

    def _tell_broken_files(self) -> None:
        """Files of `domains_dir` that can't be used spoil their own domains, and are told."""
        files = self._loaded.files
        if files is not None and files.mistakes:
            self._emit(
                DomainFilesBroken(
                    files=len({mistake.file for mistake in files.mistakes}) + files.more,
                    kept=files.kept,
                    held=files.held,
                    errors=tuple(f"{mistake.file}: {mistake}" for mistake in files.mistakes),
                )
            )

    @property
    def domain_files(self) -> DomainFiles | None:
        """As `control.interface.House`."""
        return self._loaded.files

    def domain_list(self) -> SourceStatus | None:
        """As `control.interface.House`."""
        return self._list.status(time.time())

    async def refresh_domains(self, *, confirm: bool) -> Refreshed | None:
        """As `control.interface.Daemon`. Who goes away meanwhile stops nothing."""
        if self._list.source is None:
            return None
        work = asyncio.ensure_future(self._refresh_list(confirm=confirm))
        changed = await asyncio.shield(work)
        stands = self._list.status(time.time())
        if stands is None:
            return None
        return Refreshed(
            domain="",
            source=stands.source,
            entries=stands.entries,
            changed=changed,
            refused=self._list.trouble,
        )

    async def _refresh_list(self, *, confirm: bool) -> bool:
        changed = await self._list.refresh(confirmed=confirm)
        if changed:
            await self._use()
        return changed

    async def _use(self) -> None:
        """Go on with the configuration of the files and the list as they are now; what can't
        change while running stays as it is.
        """
        async with self._using:
            fresh = self._joined()
            self._discovery.adopt(fresh)
            self.config = fresh
            self._console.level = fresh.log.level
            self._house.reconfigure(fresh)
            self._aging.reconfigure(fresh)
            self._resolver.reconfigure(fresh.dns)
            self._router.reconfigure(fresh)
            self.mx.reconfigure(fresh)
            self._health.reconfigure(fresh)
            self._doorway.reconfigure(fresh)
            self._trap.reconfigure(fresh)
            self.dispatcher.reconfigure(
                hostname=fresh.hostname,
                settings=fresh.outbound,
                router=self._router,
            )
            await self._knowledge.reconfigure(fresh)
