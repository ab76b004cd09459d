"""Real mail programs of Debian, run from directories of their own on loopback ports."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

from tideover.testing import postfix
from tideover.testing.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
EXIM = ROOT / "build" / "peers" / "exim" / "usr" / "sbin" / "exim4"
_LIBRARIES = ROOT / "build" / "peers" / "exim" / "usr" / "lib" / "exim4"


def missing(*programs: str) -> str | None:
    """Which of the programs are not here, as a reason to skip; None when all are."""
    absent = [program for program in programs if shutil.which(program) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip, and say which program is missing."""
    reason = missing(*programs)
    return pytest.mark.skipif(reason is not None, reason=reason or "")


def needs_postfix() -> pytest.MarkDecorator:
    reason = postfix.why_missing()
    return pytest.mark.skipif(reason is not None, reason=reason or "")


def _exim_missing() -> str | None:
    if not EXIM.exists():
        return f"Exim is not unpacked below {EXIM.parents[2].relative_to(ROOT)} (see .ci/peers)"
    done = subprocess.run([EXIM, "-bV", "-C", "/dev/null"], capture_output=True, check=False)
    return done.stderr.decode().strip() if done.returncode else None


def needs_exim() -> pytest.MarkDecorator:
    reason = _exim_missing()
    if reason is None and os.geteuid() != 0:
        reason = "Exim is run by root only"
    return pytest.mark.skipif(reason is not None, reason=reason or "")


@contextmanager
def open_directory() -> Iterator[Path]:
    """A directory that other users may enter, unlike pytest's."""
    path = Path(tempfile.mkdtemp(prefix="tideover-interop-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


class Exim:
    """An Exim that hands everything on to one port, or takes everything in to one mbox file."""

    def __init__(self, directory: Path, *, next_hop: int, offer_chunking: bool = True) -> None:
        self.directory = directory
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        (directory / "mail").mkdir()
        for path in (directory, directory / "mail"):
            shutil.chown(path, "Debian-exim", "Debian-exim")
            path.chmod(0o755)
        self.config = directory / "exim.conf"
        self.config.write_text(
            f"""
exim_path = {EXIM}
primary_hostname = exim.example.net
spool_directory = {directory}/spool
log_file_path = {directory}/log-%slog
exim_user = Debian-exim
exim_group = Debian-exim
never_users =
keep_environment =
daemon_smtp_ports = {self.port}
local_interfaces = 127.0.0.1
smtp_accept_max = 200
smtp_accept_queue = 0
smtp_accept_queue_per_connection = 0
queue_run_max = 10
chunking_advertise_hosts = {"*" if offer_chunking else ""}
tls_advertise_hosts =
message_size_limit = 60M
accept_8bitmime = true
dsn_advertise_hosts = *
host_lookup =
acl_smtp_rcpt = accept
acl_smtp_data = accept
begin routers
home:
  driver = accept
  domains = example.com
  condition = ${{if eq{{$received_port}}{{{self.port}}}}}
  transport = mailbox
out:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = smtp
begin transports
smtp:
  driver = smtp
  port = {next_hop}
  hosts_try_chunking = *
  hosts_try_dane =
  user = Debian-exim
mailbox:
  driver = appendfile
  directory = {directory}/mail
  maildir_format
  create_directory
  user = Debian-exim
begin retry
* * F,1h,1m
"""
        )

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [EXIM, "-C", self.config, "-bdf"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as probe:
                    if probe.recv(4) == b"220 ":
                        return self
            except OSError:
                time.sleep(0.05)
        self.__exit__()
        raise RuntimeError(f"Exim does not start: {self.log()}")

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)

    def send(self, message: bytes, sender: str, recipient: str) -> None:
        """Give it a message as a local program would; it is handed on before this returns."""
        done = subprocess.run(
            [EXIM, "-C", self.config, "-f", sender, "-odi", "-oi", recipient],
            input=message, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def mailbox(self) -> list[bytes]:
        """What it took in."""
        return [path.read_bytes() for path in (self.directory / "mail" / "new").glob("*")]

    def log(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.directory.glob("log-*log"))
