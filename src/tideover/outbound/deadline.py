"""How long a connection may wait for its server (RFC 5321 §4.5.3.2)."""

import asyncio
import math
from collections.abc import Callable
from typing import Final

from tideover.config.model import Outbound
from tideover.smtp.client import ClientSession
from tideover.smtp.client_values import Command

DATA_GO_AHEAD: Final = 120.0
"""Seconds to wait for 354 (RFC 5321 §4.5.3.2.4); a shorter command_timeout goes first."""

DATA_BLOCK: Final = 180.0
"""Seconds for a piece of the body to leave (RFC 5321 §4.5.3.2.5)."""


class Deadline:
    """One deadline that is moved with each command; `expired` is called when it has passed.

    It is looked at every `tick` seconds only, as a timer a command would cost more than it.
    """

    __slots__ = ("_at", "_expired", "_loop", "_stopped", "_tick", "_timer")

    def __init__(self, tick: float, expired: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._tick = tick
        self._expired = expired
        self._at = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def set(self, seconds: float, *, exact: bool = False) -> None:
        """Let it be so many seconds from now; with `exact` not a tick later."""
        self._at = self._loop.time() + seconds
        if exact and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and not self._stopped:
            self._timer = self._loop.call_later(min(self._tick, seconds), self._check)

    def suspend(self) -> None:
        """None until it is set again."""
        self._at = math.inf

    def stop(self) -> None:
        """None any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        left = self._at - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(min(self._tick, left), self._check)
        else:
            self._expired()


def patience(session: ClientSession, settings: Outbound, *, full: bool) -> float:
    """Seconds that the reply which is due next may take, or what keeps it from coming.

    `full`: the socket takes no more just now.
    """
    awaited = session.awaited
    if awaited is None:
        return math.inf
    if awaited is Command.BODY:
        if session.sending and not full:
            return math.inf  # it is the body that comes slowly
        if session.sending:
            return min(DATA_BLOCK, settings.command_timeout)
        return settings.data_timeout
    if awaited is Command.DATA:
        return min(DATA_GO_AHEAD, settings.command_timeout)
    return settings.command_timeout


def timeout_text(session: ClientSession) -> str:
    """What a connection ends with that has waited too long."""
    awaited = session.awaited
    if awaited is None:
        return "timeout"
    what = {Command.GREETING: "the greeting", Command.BODY: "the reply to the message"}
    return f"timeout waiting for {what.get(awaited, f'the reply to {awaited.name}')}"
