"""The real daemon as a child process, for tests that look at Tideover from outside.

Each `Daemon` has a directory of its own with configuration, recipients, data and logs; it can be
started, stopped and killed many times on the same data. Only loopback addresses are used.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tideover.config.values import Endpoint
from tideover.testing import warm
from tideover.testing.dns import DnsServer
from tideover.testing.ports import free_port
from tideover.testing.warm import WarmProcess

READY_TIMEOUT = 30.0
STOP_TIMEOUT = 20.0
_COMMAND = (sys.executable, "-m", "tideover")


@cache
def refusing_dns() -> Endpoint:
    """A DNS server, one for the whole process, that has no zone and so refuses every question
    (REFUSED): tests ask nobody's DNS, and don't wait for it.
    """
    return DnsServer({}).__enter__().endpoint


class DaemonFailedError(Exception):
    """The daemon ended instead of serving. `code` is its exit code, `text` what it said."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"exit code {code}: {text}")
        self.code = code
        self.text = text


class Daemon:
    """A daemon that backs up example.com. As a context manager: started, and killed at the end.

    `primary` is the port of the primary on 127.0.0.1; by default one where nothing listens.
    `recipients` is the text of the list of recipients, `sources` what the domain names instead of
    that file (which stays, as "recipients" beside the configuration). `top`, `smtp`, `outbound`,
    `domain` and `more` are TOML lines put into the section of that name (`more`: at the end).

    Where tests allow it, its process is a fork that need not import anything (see `warm`); with
    `cold`, or an `environment` of its own, it never is.
    """

    def __init__(
        self,
        directory: Path,
        *,
        primary: int | None = None,
        recipients: str = "user\n",
        sources: Sequence[str] | None = None,
        top: str = "",
        smtp: str = "",
        outbound: str = "",
        domain: str = "",
        more: str = "",
        cold: bool = False,
    ) -> None:
        self.directory = directory
        self.cold = cold
        self.data_dir = directory / "data"
        self.config = directory / "tideover.toml"
        self.recipients = directory / "recipients"
        self.port = free_port()
        self.primary = primary if primary is not None else free_port()
        self.sources = tuple(sources or ("file:recipients",))
        self.environment: dict[str, str] = {}
        self.sections = {"top": top, "smtp": smtp, "outbound": outbound, "domain": domain,
                         "more": more}  # fmt: skip
        self.process: subprocess.Popen[bytes] | WarmProcess | None = None
        self._open: list[IO[bytes]] = []
        directory.mkdir(parents=True, exist_ok=True)
        self.recipients.write_text(recipients)
        self.write_config()

    def write_config(self) -> None:
        """Write the configuration file from what the attributes say now."""
        s = self.sections
        self.config.write_text(
            f'hostname = "mx2.example.org"\ndata_dir = "{self.data_dir}"\n'
            f'min_free_space = "1MiB"\n{s["top"]}\n\n'
            f'[smtp]\nlisten = ["127.0.0.1:{self.port}"]\n{s["smtp"]}\n\n'
            f"[outbound]\n{s['outbound']}\n\n"
            f'[domains."example.com"]\nprimary = ["127.0.0.1:{self.primary}"]\n'
            f"recipients = {json.dumps(self.sources)}\n{self._posture()}{s['domain']}\n\n"
            f"{self._dns()}{s['more']}\n"
        )

    def _posture(self) -> str:
        """Most tests queue whether the primary is up or not; others say what they want."""
        return (
            "" if "when_primary_up" in self.sections["domain"] else 'when_primary_up = "accept"\n'
        )

    def _dns(self) -> str:
        """Tests ask nobody's DNS: one where nothing listens, unless they bring their own."""
        if "[dns]" in self.sections["more"]:
            return ""
        return f'[dns]\nservers = ["{refusing_dns()}"]\n\n'

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    # The process

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it serves.

        Raises:
            DaemonFailedError: it ended instead.
            TimeoutError: neither, within 30 seconds.
        """
        if self.process is not None:
            raise ValueError("it is running")
        arguments = ("serve", "--config", str(self.config))
        with ExitStack() as stack:
            out = stack.enter_context((self.directory / "stdout").open("ab"))
            err = stack.enter_context((self.directory / "stderr").open("ab"))
            self._from = (out.tell(), err.tell())
            if not self._cold():
                self.process = warm.start(arguments, self._env(), out.fileno(), err.fileno())
            if self.process is None:
                self.process = subprocess.Popen(
                    [*_COMMAND, *arguments],
                    stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=self._env(),
                    start_new_session=True,
                )  # fmt: skip
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until a started daemon serves. Raises as `start` does."""
        deadline = time.monotonic() + READY_TIMEOUT
        while not self._ready():
            code = self.running.poll()
            if code is not None:
                self.process = None
                raise DaemonFailedError(code, self.output())
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"not ready after {READY_TIMEOUT} s: {self.output()}")
            time.sleep(0.02)

    def stop(self) -> int:
        """Ask it to end (SIGTERM); returns its exit code."""
        process, self.process = self.running, None
        process.terminate()
        try:
            return process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def kill(self) -> None:
        """End it at once (SIGKILL), as a power cut would. Nothing happens when it doesn't run."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()

    def reload(self) -> None:
        """Ask it to read its configuration again (SIGHUP)."""
        self.running.send_signal(signal.SIGHUP)

    @property
    def running(self) -> "subprocess.Popen[bytes] | WarmProcess":
        """The process.

        Raises:
            ValueError: there is none.
        """
        if self.process is None:
            raise ValueError("the daemon does not run")
        return self.process

    # What it says

    def output(self) -> str:
        """What it wrote to standard output and standard error since its last start."""
        texts = []
        for name, start in zip(("stdout", "stderr"), self._from, strict=True):
            with (self.directory / name).open("rb") as file:
                file.seek(start)
                texts.append(file.read().decode("utf-8", "replace"))
        return "".join(texts)

    def events(self, *names: str) -> Iterator[dict[str, Any]]:
        """The event log in its data directory, oldest first; only events of these names, if any."""
        for path in sorted((self.data_dir / "events").glob("*.jsonl")):
            for line in path.read_bytes().splitlines(keepends=True):
                try:
                    record = json.loads(line)
                except ValueError:
                    continue  # a kill has cut it short
                if not names or record["event"] in names:
                    yield record

    # Its command line

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a verb of the command line against it; returns code, output and errors."""
        return subprocess.run(
            [*_COMMAND, *arguments, "--config", str(self.config)],
            capture_output=True, text=True, env=self._env(), check=False,
            stdin=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip

    def ask(self, *arguments: str) -> Any:  # noqa: ANN401  what JSON holds
        """Run a verb with `--json`; returns its answer. As many tests ask often, it is warm.

        Raises:
            DaemonFailedError: its exit code is not 0.
        """
        verb = (*arguments, "--json", "--config", str(self.config))
        done = None if self._cold() else warm.run(verb, self._env(), timeout=60)
        if done is None:
            done = self.run(*arguments, "--json")
        if done.returncode:
            raise DaemonFailedError(done.returncode, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def _cold(self) -> bool:
        """Whether its process has to be its own from the first instruction."""
        return self.cold or bool(self.environment)

    def _env(self) -> dict[str, str]:
        return {**warm.environment(), **self.environment}

    def _ready(self) -> bool:
        """Whether its ready line is out."""
        return " ready on " in self.output()
