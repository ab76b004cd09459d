"""`tideover agent serve`: the agent beside the primary, in the foreground."""

import asyncio
import signal
import ssl
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from tideover.cli.options import DEFAULT_CONFIG
from tideover.cli.trouble import WRONG, Problem

if TYPE_CHECKING:
    from socket import socket

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from tideover.agent.echo import Echoes
    from tideover.config.agent import Agent
    from tideover.events.event import Event, EventSink
    from tideover.inbound.tls import Certificate

_CONFIG: Final = DEFAULT_CONFIG.with_name("agent.toml")
_REFRESH: Final = 60.0  # seconds between two looks at the certificate's files


@click.command("serve")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar="TIDEOVER_AGENT_CONFIG",
    default=_CONFIG,
    show_default=True,
    help="The agent's own file; also by the environment as TIDEOVER_AGENT_CONFIG.",
)
@click.option(
    "--log-format",
    type=click.Choice(("json", "text")),
    default="json",
    show_default=True,
    help="The log on stderr: for programs, or for people.",
)
def agent_serve(config: Path, log_format: str) -> None:
    """Answer backups that ask whether a client can be reached.

    Runs beside the primary, until SIGTERM. Traces need root or CAP_NET_RAW, or the group in
    net.ipv4.ping_group_range; without them TCP alone decides, which the start says.
    """
    from tideover.agent.echo import Echoes
    from tideover.agent.keys import AgentKeyError, private_key
    from tideover.config.agent import load_agent
    from tideover.inbound.listener import ListenError, bind
    from tideover.inbound.tls import Certificate, CertificateError
    from tideover.privileges import PrivilegeError, drop

    settings = load_agent(config)
    early: list[Event] = []
    try:
        key = private_key(settings.key_file)
        certificate = None
        if settings.tls_certificate is not None:
            certificate = Certificate(settings.tls_certificate, settings.tls_key, early.append)
        listener = bind([settings.listen])[0]
        echoes = Echoes.open()
        drop(settings.user)
    except (AgentKeyError, CertificateError, ListenError, PrivilegeError) as error:
        raise Problem(str(error), WRONG) from None
    emit = _Log(settings.log_level, log_format)
    for event in early:
        emit(event)
    if certificate is not None:
        certificate.sink = emit
    try:
        asyncio.run(_run(settings, key, certificate, listener, echoes, emit))
    finally:
        emit.close()


class _Log:
    """Events to stderr, at once: they are few."""

    def __init__(self, level: str, log_format: str) -> None:
        from tideover.events.console_log import ConsoleLog, as_json
        from tideover.events.text import text_renderer
        from tideover.events.writer import LineWriter

        render = as_json if log_format == "json" else text_renderer(colour=sys.stderr.isatty())
        self._log = ConsoleLog(LineWriter(sys.stderr.fileno()), level=level, render=render)

    def __call__(self, event: "Event") -> None:
        from tideover.events.encoding import encode

        self._log.take(event, encode(event))
        self._log.flush()

    def close(self) -> None:
        self._log.close()


async def _run(
    settings: "Agent",
    key: "Ed25519PrivateKey",
    certificate: "Certificate | None",
    listener: "socket",
    echoes: "Echoes",
    emit: "EventSink",
) -> None:
    from tideover import __version__
    from tideover.agent.desk import Desk
    from tideover.agent.http import HttpServer
    from tideover.agent.keys import public_text
    from tideover.agent.reach import Reach
    from tideover.events.agent_records import AgentStarted, AgentStopped

    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    echoes.attach()
    reach = Reach(echoes, timeout=settings.timeout, hops=settings.max_hops, keep=settings.keep)
    server = HttpServer(Desk(settings, key, reach, emit, time.time).answer)
    server.start(listener, None if certificate is None else _always_fresh(certificate))
    names = listener.getsockname()
    listen = f"[{names[0]}]:{names[1]}" if ":" in names[0] else f"{names[0]}:{names[1]}"
    emit(
        AgentStarted(
            version=__version__,
            listen=listen,
            askers=tuple(settings.askers),
            public_key=public_text(key),
            lacks=echoes.trouble or None,
        )
    )
    click.echo(f"tideover agent {__version__} ready on {listen}")
    while not stop.is_set():
        try:
            async with asyncio.timeout(_REFRESH):
                await stop.wait()
        except TimeoutError:
            if certificate is not None:
                certificate.refresh()
    await server.close()
    await reach.close()
    echoes.close()
    emit(AgentStopped(reason="told to stop"))


def _always_fresh(certificate: "Certificate") -> ssl.SSLContext:
    """A context that hands each handshake over to the certificate's newest one."""
    context = certificate.context

    def newest(connection: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        connection.context = certificate.context

    context.sni_callback = newest
    return context
