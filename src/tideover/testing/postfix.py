"""A Postfix of its own: configuration, queue and log below one directory, ports on 127.0.0.1.

It uses the programs of the installed package but none of its files in /etc, and is started and
stopped without touching the system's instance. Root is needed: Postfix drops its rights itself.
"""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

DAEMONS = Path("/usr/lib/postfix/sbin")
_START_TIMEOUT = 20.0
_QUEUES = ("maildrop", "incoming", "active", "deferred")

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

_MAIN = """\
compatibility_level = 3.6
queue_directory = {root}/spool
data_directory = {root}/data
maillog_file = {root}/log
maillog_file_prefixes = {root}
command_directory = /usr/sbin
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
import_environment = MAIL_CONFIG LANG=C LD_PRELOAD
export_environment = MAIL_CONFIG LANG LD_PRELOAD
myhostname = {hostname}
myorigin = $myhostname
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks =
alias_maps =
alias_database =
local_recipient_maps =
local_transport = error:no local mail here
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_peername_lookup = no
smtpd_tls_security_level = none
smtp_tls_security_level = none
"""


def why_missing() -> str | None:
    """Why no Postfix can be run here, or None."""
    if not (DAEMONS / "master").exists():
        return "Postfix is not installed"
    if os.geteuid() != 0:
        return "Postfix can be started by root only"
    return None


class Postfix:
    """One instance. As a context manager: started, and stopped at the end.

    `settings` are lines of main.cf that follow ours; `@DIR@` in them stands for the directory,
    which must be one that other users may enter.
    """

    def __init__(
        self, directory: Path, *, port: int, settings: str, hostname: str = "mx2.example.org"
    ) -> None:
        self.directory = directory
        self.port = port
        self.environment: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self._config = directory / "etc"
        self._queue = directory / "spool"
        for path in (self._config, self._queue, directory / "data"):
            path.mkdir(parents=True, exist_ok=True)
        shutil.chown(directory / "data", "postfix")
        main = _MAIN.format(root=directory, daemons=DAEMONS, hostname=hostname)
        (self._config / "main.cf").write_text(main + settings.replace("@DIR@", str(directory)))
        (self._config / "master.cf").write_text(_MASTER.format(port=port))
        # our copy lacks the set-gid bit, with which it would refuse a directory of our own
        shutil.copy("/usr/sbin/postqueue", directory / "postqueue")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def table(self, name: str, text: str) -> str:
        """Write a look-up table; returns how main.cf names it."""
        path = self.directory / name
        path.write_text(text)
        self._age()
        self._command("/usr/sbin/postmap", f"hash:{path}")
        return f"hash:{path}"

    def start(self) -> None:
        """Start it and wait until its port answers.

        Raises:
            RuntimeError: it does not start.
        """
        self._age()
        self._command("/usr/sbin/postfix", "check")
        self.process = subprocess.Popen(
            [DAEMONS / "master", "-c", self._config, "-d"],
            env=self._env(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as probe:
                    if probe.recv(4) == b"220 ":
                        return
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"Postfix does not start: {self.log()[-2000:]}")

    def stop(self) -> None:
        """Stop it and what it started."""
        process, self.process = self.process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def queued(self) -> int:
        """How many messages lie in its queues."""
        return sum(1 for queue in _QUEUES for path in (self._queue / queue).rglob("*")
                   if path.is_file())  # fmt: skip

    def flush(self) -> None:
        """Make it try its whole queue now."""
        self._command(str(self.directory / "postqueue"), "-f")

    def clean(self) -> None:
        """Empty the queue and the log of a stopped instance."""
        for queue in (*_QUEUES, "defer", "bounce"):
            shutil.rmtree(self._queue / queue, ignore_errors=True)
        (self.directory / "log").unlink(missing_ok=True)

    def log(self) -> str:
        """What it logged."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _age(self) -> None:
        """Let its configuration look old: each program of Postfix that finds main.cf changed in
        this second or the last one takes it for half written, and waits.
        """
        then = time.time() - 60
        for path in self._config.iterdir():
            os.utime(path, (then, then))

    def _command(self, *arguments: str) -> None:
        done = subprocess.run(
            arguments, env=self._env(), capture_output=True, text=True, check=False, timeout=60,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")

    def _env(self) -> dict[str, str]:
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "MAIL_CONFIG": str(self._config),
                **self.environment}  # fmt: skip
