"""Opening connections to next hops: TCP, greeting, EHLO, and TLS where it is to be had.

TLS is opportunistic (RFC 7435): certificates are not verified, and where the handshake fails the
host is tried once more in clear, since mail that goes in clear is better than mail that doesn't go.
What looks like an attack on STARTTLS is not answered by going on in clear.

Hosts are tried in the order of the route (RFC 5321 §5.1). One that doesn't answer at once is not
waited for alone: the next is begun after a while, and the first to succeed is used.
"""

import asyncio
import math
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence

from tideover.config.model import Outbound
from tideover.outbound.connection import Connection, ConnectionFailed, HandshakeFailed
from tideover.primary.interface import NextHop

Connector = Callable[[NextHop], Awaitable[Connection]]
"""Makes a connection to one hop; raises `ConnectionFailed`."""


def opportunistic_context() -> ssl.SSLContext:
    """TLS without verification: it keeps out those who only listen."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def connect(
    hop: NextHop,
    *,
    hostname: str,
    settings: Outbound,
    context: ssl.SSLContext | None,
    patience: float = math.inf,
) -> Connection:
    """A connection that is ready for mail; without `context`, in clear.

    `patience`: seconds for it to open, if less than the settings allow.

    Raises:
        ConnectionFailed: there is none to be had; says why.
    """
    patience = min(patience, settings.connect_timeout)
    try:
        return await _connect_once(hop, hostname, settings, context, patience)
    except HandshakeFailed:
        return await _connect_once(hop, hostname, settings, None, patience)


async def _connect_once(
    hop: NextHop,
    hostname: str,
    settings: Outbound,
    context: ssl.SSLContext | None,
    patience: float,
) -> Connection:
    connection = Connection(hop, hostname=hostname, settings=settings)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(patience):
            await loop.create_connection(lambda: connection, hop.address, hop.port)
    except TimeoutError as error:
        raise ConnectionFailed(f"no connection to {connection.host} in time") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConnectionFailed(f"can't connect to {connection.host}: {reason}") from error
    try:
        await connection.introduced()
        if context is not None and connection.capabilities.starttls:
            await connection.start_tls(context)
    except BaseException:
        connection.abort("given up before the first message")
        raise
    return connection


async def first_of(
    hops: Sequence[NextHop],
    connector: Connector,
    *,
    stagger: float,
    failed: Callable[[NextHop, ConnectionFailed], None],
) -> Connection:
    """A connection to the first hop, in order, that gives one.

    The next hop is begun when one fails, or when `stagger` seconds have passed without an answer.
    Each failure is told to `failed`.

    Raises:
        ConnectionFailed: no hop gave one.
    """
    waiting = list(reversed(hops))
    running: dict[asyncio.Task[Connection], NextHop] = {}
    last = ConnectionFailed("no next hop")
    try:
        while waiting or running:
            if waiting:
                hop = waiting.pop()
                running[asyncio.ensure_future(connector(hop))] = hop
            done, _ = await asyncio.wait(
                running, timeout=stagger if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in sorted(done, key=lambda one: hops.index(running[one])):
                error = task.exception()
                if error is None:
                    running.pop(task)
                    return task.result()
                if not isinstance(error, ConnectionFailed):
                    raise error
                last = error
                failed(running.pop(task), error)
        raise last
    finally:
        discard(running)


def discard(attempts: Iterable[asyncio.Task[Connection]]) -> None:
    """Cancel attempts that are no longer wanted, and close what they come to all the same.

    Does not wait for them: so nothing is left open when the caller itself is being cancelled.
    """
    for task in list(attempts):
        task.add_done_callback(_close)
        task.cancel()


def _close(task: asyncio.Task[Connection]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().abort("not needed")
