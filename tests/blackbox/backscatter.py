"""What the tests of backscatter are made of: mail by many senders, a primary that refuses some of
it, and the books about what became of each message for each recipient.
"""

import asyncio
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from itertools import groupby
from typing import Any, Self

from flufl.bounce import all_failures

from forgeries import HELO, MX_ADDRESS, Kind, message
from tideover.config.values import Endpoint
from tideover.testing.daemon import Daemon
from tideover.testing.peer import Peer, Reaction, Step
from tideover.testing.ports import free_port
from tideover.testing.sink import Got, Sink
from wire import Wire

STRICT, LAX, LATE = "example.com", "lax.example", "late.example"
"""Ours. LAX refuses nobody for what he is; the primary of LATE never comes back."""

RECIPIENTS = "user\ngone\nfull\nspam\nbusy\n"
AT_RCPT = {"gone": "550 5.1.1 No such user here", "full": "552 5.2.2 Mailbox full"}
AT_DOT = "554 5.7.1 We don't like it"
MIXES = (
    *(((local,), domain) for local in ("user", "gone", "full", "spam", "busy", "nobody")
      for domain in (STRICT, LAX)),
    (("user", "gone"), LAX),
    (("full", "busy", "gone"), LAX),
    (("gone", "nobody"), STRICT),
    (("user",), LATE),
)  # fmt: skip
"""Local parts and the domain of one message."""

_CASE = re.compile(rb"^X-Case: (\d+)\r$", re.MULTILINE)
_PER_CONNECTION = 25


@dataclass(frozen=True, slots=True)
class Case:
    """One message, found again by its number."""

    number: int
    kind: Kind
    locals: tuple[str, ...]
    domain: str

    def fate(self, local: str) -> str:
        """What has to become of it for a recipient."""
        if local == "nobody" or (self.domain == STRICT and self.kind.refused):
            return "refused"
        if self.kind.name == "null" and sum(one != "nobody" for one in self.locals) > 1:
            return "refused"
        if self.domain != LATE and local in ("user", "busy"):
            return "delivered"
        return "reported" if self.kind.proven and not self.kind.notify else "dead"


def cases(kinds: Sequence[Kind], count: int, start: int = 0) -> list[Case]:
    """So many, kinds and mixes in turn; each pair is there once `count` is large enough."""
    return [
        Case(start + n, kinds[n % len(kinds)], *MIXES[(n + n // len(kinds)) % len(MIXES)])
        for n in range(count)
    ]


def config(dns: Endpoint, home: int) -> str:
    """Everything is decided by what senders are, not by how much speaks against them."""
    nothing = ", ".join(
        f'"{name}" = 0' for name in ("own-sender", "dmarc-reject", "sender-null-mx")
    )
    lax = f'recipients = ["file:recipients"]\nprofile = "lax"\nprimary = ["127.0.0.1:{home}"]\n'
    late = lax.replace(str(home), str(free_port()))
    return f"""
[dns]
servers = ["{dns}"]
timeout = "20s"
[policy]
greet_delay = "0s"
stage_timeout = "60s"
[limits]
bounces_per_recipient = "100000/1h"
bounces_per_domain = "100000/1h"
[profiles.default]
reject_score = 1000
[profiles.lax]
reject_score = 1000
actions = {{ {nothing} }}
[domains."{LAX}"]
{lax}
[domains."{LATE}"]
{late}message_lifetime = "4s"
"""


def why_no_mx() -> str | None:
    """Why the mail host of all senders can't be served here, or None."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((MX_ADDRESS, 25))
        except OSError as error:
            return f"port 25 of {MX_ADDRESS} can't be used ({error.strerror}), and MX needs it"
    return None


class Home:
    """A primary in a thread that refuses some. Until it is `patient`, busy recipients are deferred.

    `at_body` is called with the number of each body that comes. It leaves DSNs to us (RFC 3461).
    """

    def __init__(self, port: int) -> None:
        self.patient = False
        self.at_body: Callable[[int], None] = lambda _: None
        self.bodies = 0
        self._peer = Peer(("PIPELINING", "8BITMIME"), self._behave, port=port)
        self._unwanted: dict[int, bool] = {}
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(20)

    @property
    def messages(self) -> list[tuple[str, list[str], bytes]]:
        """Reverse path, recipients and body of what it took."""
        return [
            (address(one.mail), [address(rcpt) for rcpt in one.rcpts], one.body)
            for one in list(self._peer.messages)
        ]

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with self._peer:
            self._ready.set()
            await self._end.wait()

    def _behave(self, step: Step) -> Reaction | None:
        if step.verb == "MAIL":
            self._unwanted[step.connection] = False
        elif step.verb == "RCPT":
            local = address(step.argument).partition("@")[0]
            if local in AT_RCPT:
                return Reaction(AT_RCPT[local])
            if local == "busy" and not self.patient:
                return Reaction("451 4.2.1 Not now")
            self._unwanted[step.connection] |= local == "spam"
        elif step.verb == "BODY":
            self.bodies += 1
            self.at_body(self.bodies)
            if self._unwanted[step.connection]:
                return Reaction(AT_DOT)
        return None


class Senders(Sink):
    """The mail host of all senders. `at_mail` is called before a message that came is answered."""

    def __init__(self) -> None:
        super().__init__(25, host=MX_ADDRESS)
        self.at_mail: Callable[[], None] = lambda: None

    def take(self, got: Got) -> None:
        super().take(got)
        self.at_mail()


def address(argument: str | bytes) -> str:
    """The address in the argument of MAIL or RCPT."""
    text = argument.decode() if isinstance(argument, bytes) else argument
    return text.partition("<")[2].partition(">")[0]


@dataclass(frozen=True, slots=True)
class Dsn:
    """A report that reached the mail host of the senders."""

    report: str
    case: int
    to: str
    delayed: set[str]
    failed: set[str]
    parsed: Message


def dsn_of(got: Got) -> Dsn:
    """Read it as Mailman does."""
    parsed = message_from_bytes(got.body)
    temporary, permanent = all_failures(parsed)
    found = _CASE.search(got.body)
    assert got.mail.startswith(b"FROM:<>"), got.mail
    assert found, got.body
    assert parsed["Auto-Submitted"] == "auto-replied"
    (to,) = map(address, got.rcpts)
    assert parsed["To"] == f"<{to}>"
    return Dsn(
        report=str(parsed["Message-ID"]).strip("<>").partition("@")[0],
        case=int(found[1]),
        to=to,
        delayed={one.decode() for one in temporary},
        failed={one.decode() for one in permanent},
        parsed=parsed,
    )


class Books:
    """What was said to the senders: by number of the case and local part."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases = {case.number: case for case in cases}
        self.ids: dict[int, str] = {}
        self.refused: dict[tuple[int, str], str] = {}

    def send(self, port: int, cases: Sequence[Case], clients: int = 6) -> None:
        """Send these, by several clients at once."""

        def by_client(case: Case) -> str:
            return case.kind.client

        errors: list[str] = []
        threads = []
        for source, group in groupby(sorted(cases, key=by_client), key=by_client):
            mine = list(group)
            for n in range(clients):
                arguments = (port, source, mine[n::clients], errors)
                threads.append(threading.Thread(target=self._send, args=arguments))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors, errors

    def _send(self, port: int, source: str, cases: Sequence[Case], errors: list[str]) -> None:
        try:
            for at in range(0, len(cases), _PER_CONNECTION):
                with Wire(port, source=source) as wire:
                    greeted = wire.say(f"EHLO {HELO}")
                    assert greeted.startswith(b"250"), greeted
                    for case in cases[at : at + _PER_CONNECTION]:
                        self._one(wire, case)
        except (OSError, AssertionError) as error:
            errors.append(repr(error))

    def _one(self, wire: Wire, case: Case) -> None:
        notify = f" NOTIFY={case.kind.notify}" if case.kind.notify else ""
        lines = [f"MAIL FROM:<{case.kind.reverse_path(case.number)}>"]
        lines += [f"RCPT TO:<{local}@{case.domain}>{notify}" for local in case.locals]
        wire.send("".join(f"{line}\r\n" for line in (*lines, "DATA")).encode())
        sender, *recipients, data = (wire.reply().decode() for _ in range(len(lines) + 1))
        assert sender.startswith("250"), f"MAIL: {sender}"
        for local, reply in zip(case.locals, recipients, strict=True):
            if not reply.startswith("250"):
                self.refused[case.number, local] = reply
        if data.startswith("354"):
            data = wire.say(b"X-Case: %d\r\n%s." % (case.number, message(case.kind))).decode()
        else:
            assert wire.say("RSET").startswith(b"250")
        if data.startswith("250"):
            self.ids[case.number] = data.split()[-1]
        else:
            for local in case.locals:
                self.refused.setdefault((case.number, local), data)

    def expected(self, *fates: str) -> set[tuple[int, str]]:
        """What has to end so, as case and local part."""
        return {
            (case.number, local)
            for case in self.cases.values()
            for local in case.locals
            if case.fate(local) in fates
        }

    def delivered(self, home: Home) -> Counter[tuple[int, str]]:
        """How often the primary took what; nothing of it may be a report."""
        counts: Counter[tuple[int, str]] = Counter()
        for sender, recipients, body in home.messages:
            found = _CASE.search(body)
            assert found, body
            assert sender == self.cases[int(found[1])].kind.reverse_path(int(found[1]))
            counts.update((int(found[1]), one.partition("@")[0]) for one in recipients)
        return counts

    def dead(self, daemon: Daemon) -> dict[tuple[int, str], str]:
        """The reasons of dead letters."""
        numbers = {queue_id: number for number, queue_id in self.ids.items()}
        listed: list[dict[str, Any]] = daemon.ask("queue", "dead")
        return {
            (numbers[one["id"]], recipient["address"].partition("@")[0]): recipient["reason"]
            for one in listed
            for recipient in one["recipients"]
            if recipient["state"] == "dead"
        }


def until(holds: Callable[[], object], patience: float, what: str) -> None:
    """Wait for something.

    Raises:
        AssertionError: it does not come.
    """
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
