"""A daemon with all that its checks depend on, real servers each, and a load of mail upon it."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import Self

import engines
from tideover.testing import clamd, nsd, redis, rspamd
from tideover.testing.child import Child
from tideover.testing.clamd import EICAR, Clamd
from tideover.testing.daemon import Daemon
from tideover.testing.nsd import Nsd
from tideover.testing.redis import Redis
from tideover.testing.rspamd import Rspamd
from tideover.testing.signing import dkim_signed, public_record, rsa_key

MISSING = (
    nsd.why_missing() or rspamd.why_missing() or clamd.why_missing() or redis.why_missing()
)  # fmt: skip
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
STAGE = 2.0
ENGINE = 3.0
DNS = 2.0
MESSAGE = 6.0
SLACK = 2.0
"""What a loaded machine may add to a time limit."""

KINDS = {"honest": 14, "listed": 2, "gtube": 2, "virus": 1, "forged": 1, "grey": 2}
"""How many clients send what, all the time."""

NORMAL = {
    "honest": "250 2.0.0",
    "listed": "550 5.7.1",
    "gtube": "554 5.7.1",
    "virus": "554 5.7.1",
    "forged": "550 5.7.2",
    "grey": "451 4.7.1",
}
"""How each kind is answered when all is well."""

_LOCAL = {
    "classifier-bayes.conf": 'backend = "redis";\nnew_schema = true;\nmin_learns = 2;\n',
    "worker-normal.inc": "task_timeout = 1s;\n",  # how long it waits for a hung Redis
    "greylist.conf": "timeout = 300s;\ncheck_local = true;\n",
}
_WORDS = (b"the minutes of our meeting on thursday agenda budget project schedule colleague report "
          b"attached regards team discussion review planning\r\n")  # fmt: skip
_PILLS = (b"cheap pills pharmacy discount order now casino winner lottery prize claim your money "
          b"today limited offer exclusive bargain\r\n")  # fmt: skip


@dataclass(frozen=True)
class Session:
    """One client's whole session: when it began and ended, how long each step took, and the reply
    by which its message was judged.
    """

    kind: str
    began: float
    ended: float
    steps: dict[str, float]
    reply: str


class Rig:
    """Made by `running`."""

    def __init__(self, directory: Path) -> None:
        self.nsd = Nsd(directory)
        self.redis = Redis(directory)
        local = {**_LOCAL, "redis.conf": f'servers = "{self.redis.endpoint}";\ntimeout = 0.5s;\n'}
        self.rspamd = Rspamd(directory, enable=("greylist",), local=local, dns=self.nsd.endpoint)
        self.clamd = Clamd(directory)
        self.daemon = Daemon(directory / "daemon", more=self.settings())
        self.parts: dict[str, Nsd | Child] = {
            "dns": self.nsd,
            "rspamd": self.rspamd.child,
            "clamd": self.clamd.child,
            "redis": self.redis.child,
        }

    def settings(self, on_failure: str = "defer") -> str:
        return (
            f'[dns]\nservers = ["{self.nsd.endpoint}"]\ntimeout = "{DNS:g}s"\n'
            f'[policy]\nstage_timeout = "{STAGE:g}s"\nmessage_timeout = "{MESSAGE:g}s"\n'
            '[dns_lists."bl.example"]\nweight = 12\n'
            f'[rspamd]\nurl = "{self.rspamd.url}"\ntimeout = "{ENGINE:g}s"\n'
            f'on_failure = "{on_failure}"\n'
            f'[clamav]\nsocket = "{self.clamd.endpoint}"\ntimeout = "{ENGINE:g}s"\n'
            f'on_failure = "{on_failure}"\n'
        )

    def zones(self) -> None:
        """Each sender of honest mail has a domain of its own. TTLs are short, or an outage would
        not be felt.
        """
        key = public_record(rsa_key())
        lines = []
        for n in range(KINDS["honest"]):
            at = f"c{n}"
            lines += [
                f"{at} MX 10 mail.honest.example.", f"{at} A 192.0.2.1",
                f'{at} TXT "v=spf1 include:_spf.honest.example -all"',
                f'_dmarc.{at} TXT "v=DMARC1; p=reject"', f's1._domainkey.{at} TXT "{key}"',
            ]  # fmt: skip
        lines += ["mail A 192.0.2.1", '_spf TXT "v=spf1 ip4:127.0.2.0/24 -all"',
                  "@ A 192.0.2.1", '@ TXT "v=spf1 ip4:127.0.2.0/24 -all"',
                  '_dmarc TXT "v=DMARC1; p=reject"']  # fmt: skip
        self.nsd.zone("honest.example", "\n".join(lines) + "\n", ttl=1)
        self.nsd.zone("other.example", '@ A 192.0.2.2\n@ TXT "v=spf1 ip4:127.0.0.0/8 -all"\n'
                      "mail A 192.0.2.2\n", ttl=1)  # fmt: skip
        listed = "".join(f"{n}.9.0.127 A 127.0.0.2\n" for n in range(1, 9))
        self.nsd.zone("bl.example", listed, ttl=1)
        self.nsd.zone("127.in-addr.arpa", "", ttl=1)

    def teach(self) -> None:
        """So that rspamd asks Redis about each message."""
        for n in range(2):
            for verb, text in (("learnspam", _PILLS), ("learnham", _WORDS)):
                status, answer = self.rspamd.control(
                    verb, engines.HEADER + b"\r\n" + text + b"number %d of %d\r\n" % (n, n * 7)
                )
                assert status == 200, answer


@contextmanager
def running(directory: Path) -> Iterator[Rig]:
    """All of it, started."""
    rig = Rig(directory)
    rig.zones()
    with ExitStack() as stack:
        for part in (rig.nsd, rig.redis, rig.rspamd, rig.clamd, rig.daemon):
            stack.enter_context(part)
        rig.teach()
        yield rig


class Load:
    """Clients in threads, each with an address of its own, that come again and again."""

    def __init__(self, port: int, *, pause: float = 0.15) -> None:
        self._port = port
        self._pause = pause
        self._numbers = count()
        self._ending = threading.Event()
        self.sessions: list[Session] = []
        self.troubles: list[str] = []
        self._threads = [
            threading.Thread(target=self._come_again, args=(kind, n), daemon=True)
            for kind, clients in KINDS.items()
            for n in range(clients)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in self._threads)

    def _come_again(self, kind: str, client: int) -> None:
        try:
            while not self._ending.wait(self._pause):
                self.sessions.append(self._session(kind, client))
        except (OSError, AssertionError) as error:
            self.troubles.append(f"{kind}: {type(error).__name__}: {error}")

    def _session(self, kind: str, client: int) -> Session:
        address, helo, sender, message = _mail(kind, client, next(self._numbers))
        began = time.monotonic()
        steps: dict[str, float] = {}
        with socket.create_connection(("127.0.0.1", self._port), 30, (address, 0)) as sock:
            file = sock.makefile("rb")

            def say(step: str, data: bytes) -> str:
                start = time.monotonic()
                sock.sendall(data)
                lines = [file.readline()]
                while lines[-1][3:4] == b"-":
                    lines.append(file.readline())
                steps[step] = time.monotonic() - start
                return lines[-1].decode("latin-1").strip()

            say("CONNECT", b"")
            say("EHLO", f"EHLO {helo}\r\n".encode())
            say("MAIL", f"MAIL FROM:<{sender}>\r\n".encode())
            reply = say("RCPT", b"RCPT TO:<user@example.com>\r\n")
            if reply.startswith("250"):
                reply = say("DATA", b"DATA\r\n")
            if reply.startswith("354"):
                reply = say("END", message + b".\r\n")
            say("QUIT", b"QUIT\r\n")
        assert reply[:1] in ("2", "4", "5"), f"no answer but {reply!r} after {steps}"
        return Session(kind, began, time.monotonic(), steps, reply)

    # What came of it

    def between(self, start: float, end: float) -> list[Session]:
        """Sessions that lay wholly in this time."""
        return [one for one in list(self.sessions) if start <= one.began and one.ended <= end]

    def wait_normal(self, since: float, within: float = 20.0) -> float:
        """Wait until each client was answered as normal twice, in sessions begun after `since`.
        Returns how many seconds after `since` the last session began that was not.
        """
        deadline = time.monotonic() + within
        while True:
            begun = [one for one in list(self.sessions) if one.began >= since]
            odd = max((one.began for one in begun if not is_normal(one)), default=since)
            good = Counter(one.kind for one in begun if one.began > odd)
            if all(good[kind] >= 2 * clients for kind, clients in KINDS.items()):
                return odd - since
            if time.monotonic() > deadline:
                late = Counter((one.kind, one.reply[:9]) for one in begun if not is_normal(one))
                raise AssertionError(f"not as before: {late}, {good}, {self.troubles}")
            time.sleep(0.02)


def is_normal(session: Session) -> bool:
    return session.reply.startswith(NORMAL[session.kind])


def figures(sessions: Sequence[Session]) -> str:
    """Replies by kind, then median and longest wait of each step."""
    replies = Counter((one.kind, one.reply[:9]) for one in sessions)
    said = ", ".join(f"{kind} {code} x{n}" for (kind, code), n in sorted(replies.items()))
    waits = []
    for step in ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "END"):
        times = [one.steps[step] for one in sessions if step in one.steps]
        if times:
            waits.append(f"{step} {median(times) * 1000:.0f}/{max(times) * 1000:.0f}")
    return f"{len(sessions)} sessions; {said}; ms median/max: {', '.join(waits)}"


def _mail(kind: str, client: int, number: int) -> tuple[str, str, str, bytes]:
    """Address, HELO name, sender and message."""
    domain, text = "other.example", b"Text number %d.\r\n" % number
    address, more = f"127.0.3.{client + 1}", b""
    match kind:
        case "honest":
            domain, address, text = f"c{client}.honest.example", f"127.0.2.{client + 1}", _WORDS
        case "listed":
            address = f"127.0.9.{client + 1}"
        case "gtube":
            address, text = f"127.0.4.{client + 1}", GTUBE + b"\r\n"
        case "virus":
            address, text = f"127.0.5.{client + 1}", EICAR + b"\r\n"
        case "forged":
            domain, address = "honest.example", "127.0.6.1"
        case "grey":
            more = b"X-Test-Five: 1\r\n"
    sender = f"{kind}{number}@{domain}" if kind == "grey" else f"{kind}@{domain}"
    message = (
        b"From: <%s>\r\nTo: user@example.com\r\nSubject: number %d\r\n"
        b"Date: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%d@%s>\r\n%s\r\n%s"
    ) % (sender.encode(), number, number, domain.encode(), more, text)
    if kind == "honest":
        message = dkim_signed(message, rsa_key(), {"d": domain})
    return (
        address,
        f"mail.{domain.partition('.')[2] if kind == 'honest' else domain}",
        sender,
        message,
    )
