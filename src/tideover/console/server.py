"""The listener of the HTTP interface: `prepare` while we may be root, then a `Console`.

HTTPS, or plain HTTP on loopback only (for a reverse proxy on this machine). Connections are
bounded, all together and by client network, before anything is spent on them.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from tideover.config.model import Config
from tideover.config.model import Console as Settings
from tideover.console.attempts import Attempts
from tideover.console.interface import Feeds
from tideover.console.upload import Uploads
from tideover.events.event import EventSink
from tideover.inbound.limits import client_network
from tideover.inbound.listener import ListenError, bind
from tideover.inbound.tls import Certificate
from tideover.message.client_address import plain_address

if TYPE_CHECKING:
    from tideover.console.connection import Connections, HttpConnection

MOST: Final = 64
"""Connections at once."""
MOST_OF_ONE: Final = 8
"""Connections at once from one client network; loopback is not counted."""
_HANDSHAKE: Final = 10.0
_LIFE: Final = 2700.0
_GRACE: Final = 2.0
_ACCEPT_RETRY: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A bound socket, and the certificate to use on it (None: plain HTTP)."""

    listener: socket.socket
    certificate: Certificate | None


def prepare(settings: Settings, emit: EventSink) -> Prepared | None:
    """Bind the port and read the certificate, which may need root; None: it is not configured.

    Raises:
        ListenError: the port can't be bound, or plain HTTP is asked for on a foreign address.
        CertificateError: the certificate can't be used.
    """
    if settings.listen is None:
        return None
    certificate = None
    if settings.tls_certificate is not None:
        certificate = Certificate(settings.tls_certificate, settings.tls_key, emit)
    elif not ip_address(settings.listen.host).is_loopback:
        text = "plain HTTP is for loopback only; set console.tls_certificate"
        raise ListenError(f"cannot listen on {settings.listen}: {text}")
    return Prepared(listener=bind([settings.listen])[0], certificate=certificate)


class Console:
    """Serves HTTP between `start` and `close`. `config_of` gives the configuration in use."""

    def __init__(
        self, prepared: Prepared, feeds: Feeds, config_of: Callable[[], Config], emit: EventSink
    ) -> None:
        self._listener = prepared.listener
        self._certificate = prepared.certificate
        self._feeds = feeds
        self._config_of = config_of
        self._emit = emit
        self._tasks: set[asyncio.Task[None]] = set()
        self._by_network: Counter[str] = Counter()
        self._connections: Connections | None = None
        self._tls = None if self._certificate is None else _always_fresh(self._certificate)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    async def start(self) -> None:
        """Begin to accept.

        Raises:
            ListenError: the directory for what is pushed can't be made.
        """
        # libraries of some MB that servers without this interface never load
        from tideover.console.application import application
        from tideover.console.connection import Connections
        from tideover.console.feeds import FeedPushes

        uploads = Uploads(self._config_of().data_dir)
        try:
            await asyncio.to_thread(uploads.clean)
        except OSError as error:
            raise ListenError(f"{error.filename}: can't be made: {error.strerror}") from None
        pushes = FeedPushes(uploads, self._feeds, self._config_of, self._emit, Attempts())
        self._connections = Connections(application(pushes))
        self._listen()

    async def close(self) -> None:
        """Accept no more, let what is under way finish for a moment, then end it."""
        if self._listener.fileno() < 0:
            return
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        await asyncio.sleep(0)  # each connection's task has begun then, and closes what it has
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_GRACE)
        if self._connections is not None:
            await self._connections.close()
        left = tuple(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _listen(self) -> None:
        if self._listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        """Take one connection, if there is room for it."""
        loop = asyncio.get_running_loop()
        try:
            connection, peer = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # out of descriptors: others will be closed
            loop.remove_reader(self._listener)
            loop.call_later(_ACCEPT_RETRY, self._listen)
            return
        address = plain_address(str(peer[0]))
        network = client_network(address)
        counted = not ip_address(address).is_loopback
        if len(self._tasks) >= MOST or (counted and self._by_network[network] >= MOST_OF_ONE):
            connection.close()
            return
        self._by_network[network] += 1
        connection.setblocking(False)
        task = loop.create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._gone(done, network))

    def _gone(self, task: asyncio.Task[None], network: str) -> None:
        self._tasks.discard(task)
        self._by_network[network] -= 1
        if not self._by_network[network]:
            del self._by_network[network]

    async def _serve(self, connection: socket.socket) -> None:
        """Serve one connection to its end, which comes in any case."""
        if self._connections is None:
            raise AssertionError("accepted before the start")
        if self._certificate is not None:
            self._certificate.refresh()
        protocol: HttpConnection = self._connections.make()
        transport: asyncio.BaseTransport | None = None
        try:
            with suppress(OSError, TimeoutError):  # ssl.SSLError is an OSError
                async with asyncio.timeout(_LIFE):
                    transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                        lambda: protocol,
                        connection,
                        ssl=self._tls,
                        ssl_handshake_timeout=None if self._tls is None else _HANDSHAKE,
                    )
                    await protocol.closed
        finally:
            if isinstance(transport, asyncio.Transport):
                transport.abort()
            else:
                connection.close()


def _always_fresh(certificate: Certificate) -> ssl.SSLContext:
    """A context that hands each handshake over to the certificate's newest one."""
    context = certificate.context

    def newest(connection: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        connection.context = certificate.context

    context.sni_callback = newest
    return context
