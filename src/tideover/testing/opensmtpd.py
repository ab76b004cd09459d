"""An OpenSMTPD of its own. Its paths are built in, so it runs in a mount namespace where the
directories that it wants are empty ones; the system's stay as they are. Root is needed.
"""

import os
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tideover.testing.child import Child
from tideover.testing.ports import free_port

_PROGRAM: Final = (
    Path(__file__).resolve().parents[3] / "build" / "peers" / "opensmtpd" / "usr" / "sbin" / "smtpd"
)
_USERS: Final = ("opensmtpd", "opensmtpq")
_START: Final = """\
set -e
for place in /var/spool /run /var/lib; do mount -t tmpfs tmpfs $place; done
mkdir -p /var/lib/opensmtpd/empty
mkdir -m 711 /var/spool/smtpd
"$0" -n -f "$1"
exec "$0" -d -f "$1"
"""


def why_missing() -> str | None:
    """Why no OpenSMTPD can be run here, or None."""
    if not _PROGRAM.exists():
        return "OpenSMTPD is not unpacked below build/peers/opensmtpd (see .ci/peers)"
    if os.geteuid() != 0:
        return "OpenSMTPD can be started by root only"
    known = {line.partition(":")[0] for line in Path("/etc/passwd").read_text().splitlines()}
    if absent := [user for user in _USERS if user not in known]:
        return f"no user {absent[0]} (see .ci/peers)"
    done = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/run"],
        capture_output=True, text=True, check=False, timeout=10,
    )  # fmt: skip
    return f"no mount namespace: {done.stderr.strip()}" if done.returncode else None


class OpenSmtpd:
    """One instance with this configuration, in which `@PORT@` stands for its port. As a context
    manager: started, and stopped at the end.
    """

    def __init__(self, directory: Path, config: str) -> None:
        self.port = free_port()
        path = directory / "smtpd.conf"
        path.write_text(config.replace("@PORT@", str(self.port)))
        path.chmod(0o600)
        command = ["unshare", "-m", "sh", "-c", _START, str(_PROGRAM), str(path)]
        self.child = Child(command, directory / "smtpd.log", self._answers)

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
            with socket.create_connection(("127.0.0.1", self.port), 5) as probe:
                return bool(probe.recv(4))
        except OSError:
            return False
