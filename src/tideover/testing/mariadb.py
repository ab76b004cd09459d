"""A MariaDB server of its own: all below one directory, a port on 127.0.0.1.

It has a database `mail` and a user `reader` with `PASSWORD`, who may read what is in it.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tideover.testing.ports import free_port

PASSWORD = "m%y:Geheim/42"  # noqa: S105 - of a server that only tests see
_START_TIMEOUT = 30.0
_SMALL = (
    "--innodb-buffer-pool-size=16M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-log-file-size=8M",
    "--skip-log-bin",
    "--skip-name-resolve",
    "--performance-schema=OFF",
    "--max-connections=20",
)


def why_missing() -> str | None:
    """Why no MariaDB can be run here, or None."""
    missing = [name for name in ("mariadbd", "mariadb-install-db") if _program(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class Mariadb:
    """One server. As a context manager: started, and stopped at the end.

    The directory must be one that other users may enter: root does not run it as itself.
    `arguments` follow ours.
    """

    def __init__(self, directory: Path, *, arguments: Sequence[str] = ()) -> None:
        self.directory = directory
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._more = arguments
        self._data = directory / "data"
        self._socket = directory / "socket"
        directory.mkdir(parents=True, exist_ok=True)
        as_user = ["--user=mysql"] if os.geteuid() == 0 else []
        if as_user:
            shutil.chown(directory, "mysql")
        self._arguments = ["--no-defaults", f"--datadir={self._data}", *as_user]
        done = subprocess.run(
            [str(_program("mariadb-install-db")), *self._arguments, "--skip-test-db",
             "--auth-root-authentication-method=normal", *_SMALL],
            capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"mariadb-install-db: {done.stdout}{done.stderr}")

    def url(self, password: str | None = None, kind: str = "mariadb") -> str:
        """The URL for `reader`; with a password in it, or without."""
        secret = "" if password is None else f":{password}"
        return f"{kind}://reader{secret}@127.0.0.1:{self.port}/mail"

    def __enter__(self) -> Self:
        self.start()
        try:
            self.execute(
                "CREATE DATABASE mail CHARACTER SET utf8mb4",
                f"CREATE USER reader@'%' IDENTIFIED BY '{PASSWORD}'",
                "GRANT SELECT ON mail.* TO reader@'%'",
                database=None,
            )
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

    def execute(self, *statements: str, database: str | None = "mail") -> None:
        """Run statements as the administrator."""
        import pymysql  # type: ignore[import-untyped]

        connection = pymysql.connect(
            unix_socket=str(self._socket), user="root", database=database, autocommit=True,
            connect_timeout=10,
        )  # fmt: skip
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
        finally:
            connection.close()

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: it does not start.
        """
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(_program("mariadbd")), *self._arguments, f"--socket={self._socket}",
                 f"--port={self.port}", "--bind-address=127.0.0.1",
                 f"--pid-file={self.directory}/pid", *_SMALL, *self._more],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket(socket.AF_UNIX) as probe:  # pymysql leaves a failed one open
                if probe.connect_ex(str(self._socket)) == 0:
                    return
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"MariaDB does not start: {self.log()[-2000:]}")

    def stop(self) -> None:
        """Stop it; what it holds stays."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def freeze(self) -> None:
        """Let it hang: connections are taken, and nothing is answered."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def log(self) -> str:
        """What it logged."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""
