"""A server of the real world as a child process: started, waited for, stopped, killed, frozen."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_STOP_TIMEOUT = 10.0


class Child:
    """`command` with its output in `log`, in a process group of its own.

    `ready` tells whether it serves. A command that ends before that is started again: someone else
    may have had its port for a moment.
    """

    def __init__(
        self, command: Sequence[str], log: Path, ready: Callable[[], bool], *, timeout: float = 20.0
    ) -> None:
        self._command = tuple(command)
        self._log = log
        self._ready = ready
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it. Returns when it serves.

        Raises:
            RuntimeError: it does not.
        """
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                self._spawn()
            if self._ready():
                return
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"{self._command[0]} does not start: {self.log()[-2000:]}")

    def stop(self) -> None:
        """Stop it as an operator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Let it and all its processes die at once."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it hang: connections are taken, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def log(self) -> str:
        """What it said."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _spawn(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _signal(self, what: signal.Signals) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, what)

    def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            os.killpg(process.pid, how)
            os.killpg(process.pid, signal.SIGCONT)
            try:
                process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._process = None


def program(name: str) -> str | None:
    """Where a program is, or None; servers are often not in the PATH of people."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
