"""The daemon's start and end. With `daemon` and `knowledge` the only file that knows all packages.

Start: configuration, data directory, ports, configured certificates; then privileges are dropped,
so that all files are the user's, and root follows no link that the user could put there; then the
log, the spool, the recipients and what serves them. What fails before the ready line ends the start
with one clear line and exit code 2. Stop, in the reverse order, on SIGTERM and SIGINT: no new mail,
bodies and deliveries under way finish or are deferred, then the spool is closed.
"""

import os
import signal
import sys
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

import uvloop

from tideover.config.load import Loaded, load_to_serve
from tideover.config.model import Config
from tideover.console.server import prepare as prepare_console
from tideover.control.server import ControlInUse
from tideover.daemon import Daemon, Prepared
from tideover.events.console_log import ConsoleLog, as_json
from tideover.events.event import Event
from tideover.events.store import EventStore
from tideover.events.stream import EventStream
from tideover.events.text import text_renderer
from tideover.events.writer import LineWriter
from tideover.inbound.listener import ListenError, bind
from tideover.inbound.tls import CertificateError, open_certificate
from tideover.policy.body import share_of_files
from tideover.privileges import PrivilegeError, drop, prepare_directory, raise_file_limit
from tideover.spool.interface import SpoolUnusable

# Open files kept back from clients: deliveries home, spool, log, control socket.
OTHER_FILES: Final = 256

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
    loaded = load_to_serve(config_path)
    try:
        prepared = _prepare(loaded.config, log_format)
        return uvloop.run(_run(config_path, loaded, prepared))
    except _CANNOT_START as error:
        print(f"tideover: {error}", file=sys.stderr)  # noqa: T201  before there is a log
        return 2


def _prepare(config: Config, log_format: str) -> Prepared:
    os.umask(0o077)
    files = raise_file_limit()
    prepare_directory(config.data_dir, config.user)
    sockets = bind(config.smtp.listen)
    trap = bind(config.trap.listen, listening=False)
    walls = bind(config.trap.nolisting, listening=False, alone=True)
    for_trap = min(config.trap.max_connections, files // 2) if trap else 0
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
    web = prepare_console(config.console, early.append)
    drop(config.user)
    stream, console = _open_log(config, log_format)
    certificate = configured or open_tls()
    certificate.sink = stream.emit
    if web is not None and web.certificate is not None:
        web.certificate.sink = stream.emit
    return Prepared(
        sockets=sockets,
        certificate=certificate,
        web=web,
        stream=stream,
        console=console,
        early=early,
        most_clients=max(1, files - for_trap - OTHER_FILES - share_of_files(files)),
        trap=trap,
        walls=walls,
        most_trapped=for_trap,
    )


def _open_log(config: Config, log_format: str) -> tuple[EventStream, ConsoleLog]:
    render = as_json if log_format == "json" else text_renderer(colour=os.isatty(2))
    console = ConsoleLog(LineWriter(2), level=config.log.level, render=render)
    store = EventStore(config.data_dir / "events", max_size=config.log.max_size)
    return EventStream([store, console]), console


async def _run(config_path: Path, loaded: Loaded, prepared: Prepared) -> int:
    stream = prepared.stream
    stream.attach()
    try:
        async with AsyncExitStack() as stack:
            daemon = await Daemon.open(config_path, loaded, prepared, stack)
            await daemon.run()
    finally:
        stream.close()
    return 0
