"""What tests of passing through share: a client that tells what it was answered at each step, and
daemons that don't make newcomers wait.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tideover.testing.daemon import Daemon
from wire import Wire

AT_ONCE = '[policy]\ngreet_delay = "0s"\n'
"""No newcomer waits for the greeting."""

_CHUNK = 50_000
_ID = re.compile(rb"(queued as|id=) ?\S+")


@dataclass(frozen=True)
class Told:
    """What a client was told in one transaction; b"" for what it did not come to."""

    mail: bytes
    rcpts: tuple[bytes, ...]
    end: bytes = b""

    @property
    def verdict(self) -> bytes:
        """The reply that settles it: of the end, or the first refusal."""
        refused = [one for one in (self.mail, *self.rcpts) if not one.startswith(b"250")]
        return self.end or (refused or [b""])[0]

    def codes(self) -> tuple[bytes, ...]:
        """The codes of RCPT and of the end."""
        return tuple(one[:3] for one in (*self.rcpts, self.end) if one)


def transact(
    port: int,
    body: bytes,
    recipients: Sequence[str] = ("user@example.com",),
    *,
    source: str = "127.0.0.5",
    sender: str = "sender@example.net",
    mail: str = "",
    rcpt: str = "",
    by_bdat: bool = False,
) -> Told:
    """One client with one message, on a connection of its own."""
    with Wire(port, source=source) as wire:
        wire.hello()
        told = converse(
            wire, body, recipients, sender=sender, mail=mail, rcpt=rcpt, by_bdat=by_bdat
        )
        wire.say("QUIT")
    return told


def converse(
    wire: Wire,
    body: bytes,
    recipients: Sequence[str] = ("user@example.com",),
    *,
    sender: str = "sender@example.net",
    mail: str = "",
    rcpt: str = "",
    by_bdat: bool = False,
) -> Told:
    """The same on a connection that has said EHLO; without a recipient the client gives up."""
    begun = wire.say(f"MAIL FROM:<{sender}>{mail}")
    if not begun.startswith(b"250"):
        return Told(begun, ())
    rcpts = tuple(wire.say(f"RCPT TO:<{one}>{rcpt}") for one in recipients)
    if not any(one.startswith(b"25") for one in rcpts):
        wire.say("RSET")
        return Told(begun, rcpts)
    end = (_by_bdat if by_bdat else _by_data)(wire, body)
    return Told(begun, rcpts, end)


def _by_data(wire: Wire, body: bytes) -> bytes:
    answer = wire.say("DATA")
    if not answer.startswith(b"354"):
        return answer
    wire.send((b"\r\n" + body).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n")
    return wire.reply()


def _by_bdat(wire: Wire, body: bytes) -> bytes:
    """In chunks, the next one when the last was answered."""
    chunks = [body[at : at + _CHUNK] for at in range(0, len(body), _CHUNK)]
    for number, chunk in enumerate(chunks, 1):
        wire.send(b"BDAT %d%s\r\n" % (len(chunk), b" LAST" if number == len(chunks) else b""))
        wire.send(chunk)
        answer = wire.reply()
        if not answer.startswith(b"250"):
            return answer
    return answer


def anonymous(reply: bytes) -> bytes:
    """A reply without the queue id in it, which differs each time."""
    return _ID.sub(rb"\1 ID", reply)


def primary_is(daemon: Daemon, state: str, within: float = 20.0) -> float:
    """Wait until `status` says so of example.com; returns how long it took."""
    start = time.monotonic()

    def told() -> bool:
        return state_of(daemon) == state

    until(told, within, lambda: f"primary is {state_of(daemon)}, not {state}")
    return time.monotonic() - start


def state_of(daemon: Daemon, domain: str = "example.com") -> str:
    return str(daemon.ask("status")["domains"][domain]["primary"])


def until(
    condition: Callable[[], Any], within: float = 20.0, why: Callable[[], str] = lambda: "in vain"
) -> Any:
    """Wait for something; returns it."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {within:g} s: {why()}")
        time.sleep(0.05)
    return found
