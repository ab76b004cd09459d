"""A clamd of its own that knows one signature, that of the EICAR test file. Needs no updates."""

import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from tideover.config.values import Endpoint
from tideover.testing.child import Child, program
from tideover.testing.ports import free_port

# in two parts, so that no scanner takes this file for a virus
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
NAME = "Eicar-Test.UNOFFICIAL"
"""What it calls that."""

STREAM_MAX = 1024 * 1024

_CONFIG = """\
Foreground yes
LogFile {root}/clamd.log
LocalSocket {path}
TCPSocket {port}
TCPAddr 127.0.0.1
DatabaseDirectory {root}/db
TemporaryDirectory {root}
StreamMaxLength {stream_max}
MaxThreads 4
SelfCheck 0
ConcurrentDatabaseReload no
"""


def why_missing() -> str | None:
    """Why no clamd can be run here, or None."""
    return None if program("clamd") else "not installed: clamd (Debian: clamav-daemon)"


class Clamd:
    """One server, at a TCP port (`endpoint`) and a unix socket (`path`). As a context manager:
    started, and stopped at the end. `path` has to be short: pass a directory that is.
    """

    def __init__(self, directory: Path) -> None:
        self.endpoint = Endpoint("127.0.0.1", free_port())
        root = directory / "clamd"
        self.path = root / "socket"
        (root / "db").mkdir(parents=True)
        (root / "db" / "local.ndb").write_text(f"Eicar-Test:0:*:{EICAR.hex()}\n")
        text = _CONFIG.format(
            root=root, path=self.path, port=self.endpoint.port, stream_max=STREAM_MAX
        )
        if os.geteuid() == 0:
            text += "User root\n"
        config = root / "clamd.conf"
        config.write_text(text)
        self.child = Child(
            (str(program("clamd")), "-c", str(config)), root / "output", self._answers
        )

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

    def _answers(self) -> bool:
        try:
            with socket.create_connection(self.endpoint, 5) as sock:
                sock.sendall(b"zPING\0")
                return sock.recv(100) == b"PONG\0"
        except OSError:
            return False
