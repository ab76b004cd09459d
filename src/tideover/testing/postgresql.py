"""A PostgreSQL server of its own: all below one directory, a port on 127.0.0.1.

It has a database `mail` and a user `reader` with `PASSWORD`, who may read what is in it.
"""

import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tideover.testing.ports import free_port

PASSWORD = "p%g:Geheim/42"  # noqa: S105 - of a server that only tests see
_PROGRAMS = Path("/usr/lib/postgresql")
_START_TIMEOUT = 20.0
_SETTINGS = """\
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
shared_buffers = 16MB
max_connections = 20
"""


def _bin() -> Path | None:
    found = sorted(_PROGRAMS.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def why_missing() -> str | None:
    """Why no PostgreSQL can be run here, or None."""
    return None if _bin() else "not installed: PostgreSQL"


class Postgresql:
    """One server. As a context manager: started, and stopped at the end.

    The directory must be one that other users may enter: root can't run it as itself. `settings`
    are lines of postgresql.conf.
    """

    def __init__(self, directory: Path, *, settings: str = "") -> None:
        self.directory = directory
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._data = directory / "data"
        self._user = "postgres" if os.geteuid() == 0 else None
        directory.mkdir(parents=True, exist_ok=True)
        secret = directory / "password"
        secret.write_text(PASSWORD)
        if self._user is not None:
            for path in (directory, secret):
                shutil.chown(path, self._user)
        self._run(
            "initdb", "-D", self._data, "-U", "admin", "--pwfile", secret, "-A", "scram-sha-256",
            "--no-sync", "-E", "UTF8", "--locale", "C",
        )  # fmt: skip
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(f"{_SETTINGS}port = {self.port}\n{settings}\n")

    def url(self, password: str | None = None) -> str:
        """The URL for `reader`; with a password in it, or without."""
        secret = "" if password is None else f":{password}"
        return f"postgresql://reader{secret}@127.0.0.1:{self.port}/mail"

    def __enter__(self) -> Self:
        self.start()
        try:
            self.execute("CREATE DATABASE mail", database="postgres")
            self.execute(f"CREATE USER reader PASSWORD '{PASSWORD}'")
            self.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader")
        except BaseException:
            self.stop()  # __exit__ is not called
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def execute(self, *statements: str, database: str = "mail") -> None:
        """Run statements as the administrator, each in a transaction of its own."""
        import psycopg

        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="admin", password=PASSWORD, dbname=database,
            autocommit=True, connect_timeout=10,
        ) as connection:  # fmt: skip
            for statement in statements:
                connection.execute(statement)

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: it does not start.
        """
        import psycopg

        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._program("postgres"), "-D", self._data],
                user=self._user, group=self._group(), extra_groups=self._groups(),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                cwd="/",
            )  # fmt: skip
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.execute("SELECT 1", database="postgres")
                return
            except psycopg.OperationalError:
                time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"PostgreSQL does not start: {self.log()[-2000:]}")

    def stop(self) -> None:
        """Stop it at once, its clients notwithstanding; what it holds stays."""
        process, self.process = self.process, None
        if process is not None and process.poll() is None:
            self._signal(process, signal.SIGCONT)
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                self._signal(process, signal.SIGKILL)
                process.wait()

    def freeze(self) -> None:
        """Let it hang, with all that it does: connections are taken, and nothing is answered."""
        if self.process is not None:
            self._signal(self.process, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        if self.process is not None:
            self._signal(self.process, signal.SIGCONT)

    def log(self) -> str:
        """What it logged."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _signal(self, process: subprocess.Popen[bytes], how: signal.Signals) -> None:
        """To the server and each backend: they have process groups of their own."""
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for pid in (process.pid, *map(int, children)):
            os.kill(pid, how)

    def _program(self, name: str) -> Path:
        directory = _bin()
        if directory is None:
            raise RuntimeError("PostgreSQL is not installed")
        return directory / name

    def _group(self) -> int | None:
        return pwd.getpwnam(self._user).pw_gid if self._user else None

    def _groups(self) -> list[int] | None:
        return [] if self._user else None

    def _run(self, name: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self._program(name), *arguments],
            user=self._user, group=self._group(), extra_groups=self._groups(), cwd="/",
            capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr}")
