"""Processes whose imports are made already: forks of one that made them once.

Most of a daemon's start is Python's imports: half a second of work, some hundred times in the
tests. A fork is spared only that. It is a process of its own in a session of its own, with the
environment, directory and files it would have anyway, and runs the entry point of the command line
as `python -m tideover` does. Nothing is kept from one to the next: the process they come from only
imports, and has no thread, loop or file.

They are not our children, so each has a keeper between, which waits for it and tells us over a pipe
how it ended. Nothing is forked unless `allow` was called: benchmarks measure what people run.
"""

import atexit
import gc
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final, NoReturn

import tideover

_COMMAND: Final = (sys.executable, "-m", "tideover.testing.warm")
_NUMBER: Final = struct.Struct("=q")
_LONGEST: Final = 1 << 17

_allowed = threading.Event()


def allow() -> None:
    """From now on there are forks."""
    _allowed.set()


def environment() -> dict[str, str]:
    """Ours, for processes that are to import the same source as we did."""
    return {**os.environ, "PYTHONPATH": str(Path(tideover.__file__).parents[1])}


class WarmProcess:
    """What `subprocess.Popen` has, as far as the tests use it."""

    def __init__(self, arguments: Sequence[str], pid: int, pipe: int) -> None:
        self.args = arguments
        self.pid = pid
        self.returncode: int | None = None
        self._pipe = pipe
        self._one_reads = threading.Lock()  # tests wait in one thread and kill from another
        weakref.finalize(self, os.close, pipe)

    def poll(self) -> int | None:
        """Its exit code, if it has ended; below zero, the signal that ended it."""
        return self._hear(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns its exit code.

        Raises:
            subprocess.TimeoutExpired: it goes on.
        """
        code = self._hear(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing happens if it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # its keeper has yet to tell
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def _hear(self, timeout: float | None) -> int | None:
        """Listen to its keeper so long; None: for ever."""
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._pipe, select.POLLIN)
            if poll.poll(None if timeout is None else timeout * 1000):
                with self._one_reads:
                    if self.returncode is None:
                        (self.returncode,) = _NUMBER.unpack(os.read(self._pipe, _NUMBER.size))
        return self.returncode


def start(
    arguments: Sequence[str], environment: Mapping[str, str], out: int, err: int
) -> WarmProcess | None:
    """A process that runs `tideover` with these arguments and writes to these files. None if that
    is not allowed, or impossible: then start it as people do, and hear why.
    """
    if not _allowed.is_set():
        return None
    ours, keepers = os.pipe()
    try:
        order = json.dumps([str(Path.cwd()), dict(environment), *arguments]).encode()
        socket.send_fds(_mother(), [order], [keepers, out, err])
    except OSError:
        os.close(ours)
        return None
    finally:
        os.close(keepers)
    told = os.read(ours, _NUMBER.size)
    if not told:
        os.close(ours)
        return None
    return WarmProcess(arguments, _NUMBER.unpack(told)[0], ours)


def run(
    arguments: Sequence[str], environment: Mapping[str, str], *, timeout: float
) -> "subprocess.CompletedProcess[str] | None":
    """Run `tideover` with these arguments to its end. None as for `start`.

    Raises:
        subprocess.TimeoutExpired: it went on, and was killed.
    """
    with TemporaryFile() as out, TemporaryFile() as err:
        process = start(arguments, environment, out.fileno(), err.fileno())
        if process is None:
            return None
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(arguments, code, *texts)


@cache
def _mother() -> socket.socket:
    """Where orders for the process with the imports go."""
    ours, hers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with hers:
        process = subprocess.Popen(
            [*_COMMAND, str(hers.fileno())],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=[hers.fileno()], start_new_session=True,
            env=environment(),
        )  # fmt: skip

    def end() -> None:
        ours.close()
        process.wait(10)

    atexit.register(end)
    return ours


# The other process


def _take_orders(number: int) -> int:
    """Fork for each order, until nobody is there to give one. Returns in forks, too."""
    import tideover.app  # noqa: F401  what `serve` will import
    from tideover.cli.main import main

    gc.freeze()  # or the forks would copy all of it, only to look through it at their end
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers leave no trace
    with socket.socket(fileno=number) as orders:
        while True:
            order, files, _, _ = socket.recv_fds(orders, _LONGEST, 3)
            if not order:
                return 0
            if not os.fork():
                break
            for file in files:
                os.close(file)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pipe, out, err = files
    if pid := os.fork():
        _keep(pid, pipe)
    directory, environment, *arguments = json.loads(order)
    os.setsid()
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(out, 1)
    os.dup2(err, 2)
    for file in files:
        os.close(file)
    sys.argv[1:] = arguments
    return main()


def _keep(pid: int, pipe: int) -> NoReturn:
    os.write(pipe, _NUMBER.pack(pid))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(BrokenPipeError):
        os.write(pipe, _NUMBER.pack(code))
    os._exit(0)


if __name__ == "__main__":
    sys.exit(_take_orders(int(sys.argv[1])))
