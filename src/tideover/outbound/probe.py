"""Noticing soon that a destination is back, however it was gone.

A host that refuses connections answers a probe at once. One that drops packets does not: the
kernel repeats its SYN ever more rarely, so that an attempt begun before the host's return would
notice it late. Therefore a fresh attempt begins at each interval, beside those under way, and the
first to succeed wins. No more than `IN_FLIGHT` are under way: then the second oldest gives way to
the fresh one. The oldest keeps its full time, so that a host which greets very slowly is reached
too.
"""

import asyncio
from collections.abc import Awaitable, Callable

from tideover.outbound.connection import Connection, ConnectionFailed
from tideover.outbound.transport import discard

IN_FLIGHT = 5


async def probe(
    attempt: Callable[[], Awaitable[Connection]],
    *,
    interval: Callable[[], float],
    failed: Callable[[ConnectionFailed], None],
    hurry: asyncio.Event,
) -> Connection:
    """Attempt, again and again, until there is a connection.

    `interval` gives the seconds until the next attempt, asked anew each time; `hurry` set begins
    one at once. Each attempt that fails is told to `failed`.
    """
    running: list[asyncio.Task[Connection]] = []
    waker = asyncio.ensure_future(hurry.wait())
    try:
        while True:
            if len(running) == IN_FLIGHT:
                discard([running.pop(1)])
            running.append(asyncio.ensure_future(attempt()))
            winner = await _until_next(running, waker, interval(), failed)
            if winner is not None:
                return winner
            if waker.done():
                hurry.clear()
                waker = asyncio.ensure_future(hurry.wait())
    finally:
        waker.cancel()
        discard(running)


async def _until_next(
    running: list[asyncio.Task[Connection]],
    waker: asyncio.Task[bool],
    seconds: float,
    failed: Callable[[ConnectionFailed], None],
) -> Connection | None:
    """Wait until the next attempt is due; the connection, when one of those running succeeds."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while (left := until - loop.time()) > 0 and not waker.done():
        done, _ = await asyncio.wait(
            {*running, waker}, timeout=left, return_when=asyncio.FIRST_COMPLETED
        )
        for task in [task for task in running if task in done]:
            running.remove(task)
            error = task.exception()
            if error is None:
                return task.result()
            if not isinstance(error, ConnectionFailed):
                raise error
            failed(error)
    return None
