"""An Exim with a configuration of the caller's, unpacked rather than installed (see .ci/peers)."""

import os
import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tideover.testing.child import Child
from tideover.testing.ports import free_port

PROGRAM: Final = (
    Path(__file__).resolve().parents[3] / "build" / "peers" / "exim" / "usr" / "sbin" / "exim4"
)
USER: Final = "Debian-exim"

_MAIN: Final = f"""\
exim_path = {PROGRAM}
primary_hostname = mail.example.com
spool_directory = @DIR@/spool
log_file_path = @DIR@/log-%slog
exim_user = {USER}
exim_group = {USER}
never_users =
keep_environment =
daemon_smtp_ports = @PORT@
local_interfaces = 127.0.0.1
host_lookup =
tls_advertise_hosts =
"""


def why_missing() -> str | None:
    """Why no Exim can be run here, or None."""
    if not PROGRAM.exists():
        return "Exim is not unpacked below build/peers/exim (see .ci/peers)"
    if os.geteuid() != 0:
        return "Exim is run by root only"
    done = subprocess.run([PROGRAM, "-bV", "-C", "/dev/null"], capture_output=True, check=False)
    return done.stderr.decode().strip() if done.returncode else None


class Exim:
    """One instance. As a context manager: started, and stopped at the end.

    `config` follows a main part that puts everything below `directory`, which other users may
    enter; `@DIR@` in it stands for the directory.
    """

    def __init__(self, directory: Path, config: str) -> None:
        self.directory = directory
        self.port = free_port()
        shutil.chown(directory, USER, USER)
        path = directory / "exim.conf"
        whole = (_MAIN + config).replace("@DIR@", str(directory))
        path.write_text(whole.replace("@PORT@", str(self.port)))
        self._command = [str(PROGRAM), "-C", str(path)]
        self.child = Child([*self._command, "-bdf"], directory / "output", self._answers)

    def check(self) -> str:
        """What Exim says of its configuration: "" when nothing is wrong with it."""
        done = subprocess.run(
            [*self._command, "-bV"], capture_output=True, text=True, check=False, timeout=30
        )
        return done.stderr if done.returncode else ""

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

    def log(self) -> str:
        """What it logged."""
        logs = self.directory.glob("log-*log")
        return "".join(path.read_text(errors="replace") for path in logs)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as probe:
                return probe.recv(4) == b"220 "
        except OSError:
            return False
