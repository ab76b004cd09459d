"""A Redis of its own on a free loopback port. It keeps what it holds over a kill."""

import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from tideover.config.values import Endpoint
from tideover.testing.child import Child, program
from tideover.testing.ports import free_port

_CONFIG = """\
bind 127.0.0.1
port {port}
dir {root}
save ""
appendonly yes
appendfsync no
repl-diskless-sync-delay 0
"""


def why_missing() -> str | None:
    """Why no Redis can be run here, or None."""
    missing = program("redis-server") is None
    return "not installed: redis-server (Debian: redis-server)" if missing else None


class Redis:
    """One server. As a context manager: started, and stopped at the end.

    `replica_of` makes it a copy of another one, up to date when `start` returns.
    """

    def __init__(
        self, directory: Path, *, name: str = "redis", replica_of: Endpoint | None = None
    ) -> None:
        self.endpoint = Endpoint("127.0.0.1", free_port())
        root = directory / name
        root.mkdir(parents=True)
        config = root / "redis.conf"
        text = _CONFIG.format(port=self.endpoint.port, root=root)
        if replica_of is not None:
            text += f"replicaof {replica_of.host} {replica_of.port}\n"
        config.write_text(text)
        self._replica = replica_of is not None
        self.child = Child((str(program("redis-server")), str(config)), root / "log", self._answers)

    def __enter__(self) -> Self:
        self.child.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.child.stop()

    def ask(self, *words: str) -> bytes:
        """The first 64 KiB of what it answers to a command, as it came."""
        command = f"*{len(words)}\r\n" + "".join(f"${len(w)}\r\n{w}\r\n" for w in words)
        with socket.create_connection(self.endpoint, 5) as sock:
            sock.sendall(command.encode())
            return sock.recv(64 * 1024)

    def _answers(self) -> bool:
        try:
            if self._replica:
                return b"master_link_status:up" in self.ask("INFO", "replication")
            return self.ask("PING") == b"+PONG\r\n"
        except OSError:
            return False
