"""A primary that dies at a chosen step: an SMTP server in a process of its own.

Whatever it is about to answer `250` to is on disk before, so what it has taken is known whatever
became of it. A test arms it with a step and a way to break; the first connection that comes to the
step breaks, and the peer is as good as new (unless it was killed: then it must be started again)::

    with BreakingPeer(directory, port) as peer:
        peer.arm("DOT", "rst")

Steps: CONNECT (before the banner), EHLO, XCLIENT, MAIL, RCPT, DATA (which is BDAT, too; before its
answer), BODY (after 1,000 octets of it), DOT (all has come, nothing is stored), STORED (before the
answer), HALF (in the middle of the answer), ANSWERED (behind it).
"""

import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Final, NoReturn, Self

from msgspec import Struct, convert, to_builtins

from tideover.testing.child import Child

STEPS: Final = (
    "CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "BODY", "DOT", "STORED", "HALF", "ANSWERED",
)  # fmt: skip
WAYS: Final = ("fin", "rst", "kill", "hang")
"""End of the connection in order, its reset, death of the process (SIGKILL), silence."""

XCLIENT: Final = "XCLIENT NAME ADDR PORT PROTO HELO REVERSE_NAME DESTADDR DESTPORT"
OFFERS: Final = (
    "PIPELINING", "SIZE 104857600", "8BITMIME", "DSN", "SMTPUTF8", "ENHANCEDSTATUSCODES",
    "CHUNKING",
)  # fmt: skip
_AFTER: Final = 1000
_SILENCE: Final = 60.0


class Taken(Struct, frozen=True, kw_only=True):
    """A message that it took: the arguments of MAIL and RCPT, what XCLIENT said, and the body."""

    mail: str
    rcpts: tuple[str, ...]
    xclient: dict[str, str]
    body: bytes


class Rules(Struct, frozen=True, kw_only=True):
    """How it behaves. `users`: the local parts that exist, None: all. `replies`: what is said
    instead, by step, or by step and local part ("RCPT full"). `banner`: its first line.
    """

    port: int
    host: str = "127.0.0.1"
    offers: tuple[str, ...] = OFFERS
    users: tuple[str, ...] | None = None
    replies: dict[str, str] = {}
    banner: str = "220 home.primary.test ESMTP"


class BreakingPeer:
    """The server. As a context manager: started, and killed at the end."""

    def __init__(
        self,
        directory: Path,
        port: int,
        *,
        host: str = "127.0.0.1",
        offers: tuple[str, ...] = OFFERS,
        users: Collection[str] | None = None,
        replies: dict[str, str] | None = None,
    ) -> None:
        self._directory = directory
        (directory / "taken").mkdir(parents=True)
        self.rules = Rules(
            port=port, host=host, offers=offers, replies=replies or {},
            users=tuple(users) if users is not None else None,
        )  # fmt: skip
        command = [sys.executable, "-m", "tideover.testing.breaking_peer", str(directory)]
        self.child = Child(command, directory / "log", (directory / "ready").exists)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.child.kill()

    def start(self) -> None:
        """Start it, armed or not, and wait until it listens."""
        rules = json.dumps(to_builtins(self.rules))
        (self._directory / "rules").write_text(rules)
        (self._directory / "ready").unlink(missing_ok=True)
        self.child.start()

    def kill(self) -> None:
        """Let it die now."""
        self.child.kill()

    def arm(self, step: str, way: str) -> None:
        """Break at this step, once."""
        new = self._directory / "arm.new"
        new.write_text(f"{step} {way}")
        new.rename(self._directory / "arm")

    @property
    def armed(self) -> bool:
        """Whether it would still break."""
        return (self._directory / "arm").exists()

    def taken(self) -> list[Taken]:
        """What it has taken, oldest first."""
        files = sorted((self._directory / "taken").glob("*.json"))
        return [convert(json.loads(file.read_bytes()), Taken) for file in files]

    def commands(self) -> list[str]:
        """All commands that it got, each with the number of its connection before it."""
        path = self._directory / "commands"
        return path.read_text(errors="replace").splitlines() if path.exists() else []


# The other process


class _Server:
    """Where it keeps what, and who listens."""

    def __init__(self, directory: Path) -> None:
        self.rules = convert(json.loads((directory / "rules").read_bytes()), Rules)
        self._directory = directory
        self._lock = threading.Lock()
        self._number = 0

    def serve(self) -> NoReturn:
        """A thread for each connection."""
        with socket.create_server((self.rules.host, self.rules.port), backlog=200) as listener:
            (self._directory / "ready").touch()
            while True:
                connection, _ = listener.accept()
                self._number += 1
                session = _Session(self, connection, self._number)
                threading.Thread(target=session.run, daemon=True).start()

    def armed(self, step: str) -> str | None:
        """How to break at this step, which is then done with."""
        file = self._directory / "arm"
        with self._lock:
            if not file.exists() or file.read_text().split()[0] != step:
                return None
            way = file.read_text().split()[1]
            file.unlink()
            return way

    def note(self, line: str) -> None:
        """A command, for the tests to read."""
        with self._lock, (self._directory / "commands").open("a") as file:
            file.write(line + "\n")

    def take(self, taken: Taken) -> None:
        """Store it: when this returns, it is on disk."""
        name = self._directory / "taken" / f"{time.time_ns():020}"
        new = name.with_suffix(f".{threading.get_ident()}")
        with new.open("w") as file:
            json.dump(to_builtins(taken), file)
            file.flush()
            os.fsync(file.fileno())
        new.rename(name.with_suffix(".json"))


class _Broken(Exception):  # noqa: N818  no error: the session is over
    """The connection has ended."""


class _Session:
    """One connection, read and answered in order."""

    def __init__(self, server: _Server, connection: socket.socket, number: int) -> None:
        self._server = server
        self._socket = connection
        self._file = connection.makefile("rb")
        self._number = number
        self._mail = ""
        self._rcpts: list[str] = []
        self._xclient: dict[str, str] = {}
        self._chunks = bytearray()

    def run(self) -> None:
        """The whole of it."""
        try:
            self._step("CONNECT")
            self._say(self._server.rules.banner)
            while line := self._file.readline():
                self._command(line.decode("utf-8", "replace").rstrip("\r\n"))
        except (_Broken, OSError):
            pass
        finally:
            self._file.close()
            self._socket.close()

    def _command(self, line: str) -> None:
        self._server.note(f"{self._number} {line}")
        verb, _, argument = line.partition(" ")
        verb = verb.upper()
        step = "DATA" if verb == "BDAT" and not self._chunks else verb
        if step in STEPS or step == "XCLIENT":
            self._step(step)
        match verb:
            case "EHLO":
                self._say(self._own(verb) or "\n".join(self._offers()))
            case "XCLIENT":
                self._xclient |= dict(one.partition("=")[::2] for one in argument.split())
                self._say(self._own(verb) or self._server.rules.banner)
            case "MAIL":
                self._mail, self._rcpts = argument, []
                self._say(self._own(verb) or "250 2.1.0 Home takes it from you")
            case "RCPT":
                self._recipient(argument)
            case "DATA":
                self._data()
            case "BDAT":
                self._bdat(argument)
            case "RSET":
                self._rcpts = []
                self._chunks.clear()
                self._say("250 2.0.0 Home forgot")
            case "QUIT":
                self._say("221 2.0.0 Home says bye")
                raise _Broken
            case _:
                self._say("250 2.0.0 Home says OK")

    def _offers(self) -> list[str]:
        lines = ["home.primary.test", *self._server.rules.offers]
        return [f"250{'-' if n < len(lines) else ' '}{one}" for n, one in enumerate(lines, 1)]

    def _recipient(self, argument: str) -> None:
        local = argument.partition("<")[2].partition("@")[0]
        users = self._server.rules.users
        answer = self._own(f"RCPT {local}") or self._own("RCPT")
        if answer is None and users is not None and local not in users:
            answer = f"550 5.1.1 <{local}@example.com>: home has no such user"
        if answer is None or answer.startswith("2"):
            self._rcpts.append(argument)
        self._say(answer or "250 2.1.5 Home knows them")

    def _data(self) -> None:
        if not self._rcpts:
            self._say("503 5.5.1 Home needs recipients")
            return
        answer = self._own("DATA")
        self._say(answer or "354 Home listens")
        if answer is not None:
            return
        body = bytearray()
        after = _AFTER
        while (line := self._file.readline()) != b".\r\n":
            if not line:
                raise _Broken
            body += line.removeprefix(b".") if line.startswith(b".") else line
            if len(body) >= after:
                self._step("BODY")
                after = sys.maxsize
        self._end(bytes(body))

    def _bdat(self, argument: str) -> None:
        size, _, last = argument.partition(" ")
        left = int(size)
        while left:
            piece = self._file.read(min(left, _AFTER))
            if not piece:
                raise _Broken
            if len(self._chunks) < _AFTER <= len(self._chunks) + len(piece):
                self._step("BODY")
            self._chunks += piece
            left -= len(piece)
        if not self._rcpts:
            self._say("503 5.5.1 Home needs recipients")
        elif last:
            self._end(bytes(self._chunks))
            self._chunks.clear()
        else:
            self._say(f"250 2.0.0 Home has {size} octets")

    def _end(self, body: bytes) -> None:
        self._step("DOT")
        answer = self._own("DOT") or "250 2.0.0 Home queued it as H4711"
        if answer.startswith("2"):
            self._server.take(
                Taken(mail=self._mail, rcpts=tuple(self._rcpts), xclient=self._xclient, body=body)
            )
        self._rcpts = []
        self._step("STORED")
        half = len(answer) // 2
        if way := self._server.armed("HALF"):
            self._socket.sendall(answer[:half].encode())
            self._break(way)
        self._say(answer)
        self._step("ANSWERED")

    def _own(self, step: str) -> str | None:
        return self._server.rules.replies.get(step)

    def _say(self, answer: str) -> None:
        self._socket.sendall(answer.replace("\n", "\r\n").encode() + b"\r\n")

    def _step(self, step: str) -> None:
        if way := self._server.armed(step):
            self._break(way)

    def _break(self, way: str) -> NoReturn:
        self._server.note(f"{self._number} broken: {way}")
        match way:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "rst":
                linger = struct.pack("ii", 1, 0)
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            case "fin":
                # what has come is read, or the system would send a reset
                self._socket.shutdown(socket.SHUT_WR)
                self._socket.settimeout(0.2)
                self._drain()
            case _:
                time.sleep(_SILENCE)
        raise _Broken

    def _drain(self) -> None:
        try:
            while self._socket.recv(1 << 16):
                pass
        except OSError:
            pass


if __name__ == "__main__":
    _Server(Path(sys.argv[1])).serve()
