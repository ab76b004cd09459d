"""An opendkim of its own: the DKIM filter of many primaries, on a free loopback port.

It finds keys in a file, not in DNS. Configuration lies below one directory; the system's instance
is not touched.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tideover.config.policy_values import SocketAddress
from tideover.config.values import Endpoint
from tideover.testing.child import Child, program
from tideover.testing.ports import free_port

_CONFIG = """\
Background no
Syslog no
AutoRestart no
Socket inet:{port}@127.0.0.1
PidFile {root}/pid
TemporaryDirectory {root}
TestDNSData csl:{keys}
"""


def why_missing() -> str | None:
    """Why no opendkim can be run here, or None."""
    return None if program("opendkim") else "not installed: opendkim (Debian: opendkim)"


class OpenDkim:
    """One filter, at `address`. As a context manager: started, and killed at the end, because it
    takes seconds to stop.

    `settings` are lines of opendkim.conf; `keys` are texts of TXT records by name (without commas,
    which end an item of its list).
    """

    def __init__(self, directory: Path, settings: str, keys: Mapping[str, str]) -> None:
        port = free_port()
        self.address = SocketAddress(Endpoint("127.0.0.1", port), "")
        root = directory / f"opendkim-{port}"
        root.mkdir(parents=True)
        table = ",".join(f"{name}={text}" for name, text in keys.items()) or "none=none"
        text = _CONFIG.format(root=root, port=port, keys=table)
        if os.geteuid() == 0:
            text += "UserID root\n"
        config = root / "opendkim.conf"
        config.write_text(text + settings)
        self.child = Child(
            (str(program("opendkim")), "-f", "-x", str(config)), root / "output", self._answers
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
        self.child.kill()

    def _answers(self) -> bool:
        return takes_connections(self.address)


def takes_connections(address: SocketAddress) -> bool:
    """Whether somebody listens there."""
    if address.endpoint is None:
        return Path(address.path).exists()
    try:
        socket.create_connection(address.endpoint, 1).close()
    except OSError:
        return False
    return True
