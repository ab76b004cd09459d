"""An inquiry to a content engine: what all engines have in common.

Inquiries are bounded in number, in size and in time. Whatever goes wrong with one is that
inquiry's matter alone: the next one tries again, so an engine is in use as soon as it is back.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from tideover.config.policy import Clamav, OnFailure, Rspamd, Spamassassin
from tideover.policy.interface import NOTHING, About, Found, Message, Result, Verb

IN_FLIGHT: Final = 64
"""Messages that one engine is shown at a time; more wait, within their time limit."""

_NOT_PLAIN: Final = re.compile(r"[^ -~]")

Settings = Rspamd | Clamav | Spamassassin
Ask = Callable[[About, Message], Awaitable[Result]]


class EngineError(Exception):
    """The engine gave no answer of use. The text says why, in one line for the operator."""


class Inquiries:
    """All inquiries to one engine, as `settings` has it. `engine` is its name for people."""

    def __init__(self, engine: str, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._slots = asyncio.Semaphore(IN_FLIGHT)

    async def make(self, about: About, ask: Ask) -> Result:
        """What `ask` finds about the message, or what follows from the engine's silence."""
        message = about.message
        if message is None:
            return NOTHING
        if message.body.size > self._settings.max_size:
            return not_shown(self._engine, "larger than max_size")
        # a time limit needs a task of its own, which a check is only in after it was suspended
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(self._settings.timeout), self._slots:
                return await ask(about, message)
        except TimeoutError:
            return self._failed(f"no answer within {self._settings.timeout:g} s")
        except EngineError as error:
            return self._failed(str(error))
        except OSError as error:
            return self._failed(error.strerror or str(error))

    def _failed(self, trouble: str) -> Result:
        return failed(self._engine, trouble, self._settings.on_failure)


def failed(engine: str, trouble: str, on_failure: OnFailure) -> Result:
    """What follows when an engine gives no verdict."""
    found = Found(
        name="engine-failed",
        reason=f"{engine}: {plain(trouble)}",
        action=Verb.DEFER if on_failure is OnFailure.DEFER else 0.0,
    )
    return Result(found=(found,))


def not_shown(engine: str, why: str) -> Result:
    """Nothing is found in a message that the engine does not take."""
    return Result(evidence={engine: f"not shown: {why}"})


async def shown(message: Message) -> AsyncIterator[bytes]:
    """The message as engines see it: our Received field, then what came.

    Raises:
        OSError: our copy of it can't be read.
    """
    yield message.trace
    async for piece in message.body.read():
        yield piece


def shown_size(message: Message) -> int:
    """Octets that `shown` yields."""
    return len(message.trace) + message.body.size


def plain(text: str, longest: int = 200) -> str:
    """One line of printable ASCII, as it may stand in a reply or log."""
    return _NOT_PLAIN.sub("?", " ".join(text[: 4 * longest].split()))[:longest]
