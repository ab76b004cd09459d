"""The load: Postfix's smtp-source and smtp-sink, and clients that send to unknown recipients."""

import json
import os
import re
import subprocess
import threading
import time
from pathlib import Path
from typing import Self

from native import compiled

SIZE = 4096
LIMIT = 900
ACCEPT = {
    "accept_new20": ("-s", "20"),  # a new connection for each message
    "accept_reuse20": ("-d", "-s", "20"),  # 20 connections, reused
    "accept_new200": ("-s", "200"),
}
REJECT = {"reject1": (20, 1), "reject5": (20, 5)}  # sessions at a time, RCPTs in each
USERS = 10_000


def recipients() -> str:
    """The recipients that exist: smtp-source -N puts the number of the message first."""
    return "".join(f"{n}user@example.com\n" for n in range(1, USERS + 1))


def source(port: int, count: int, options: tuple[str, ...], size: int = SIZE) -> float:
    """Send messages; returns the seconds until the last 250.

    Raises:
        RuntimeError: not all were taken.
    """
    start = time.monotonic()
    done = subprocess.run(
        ["smtp-source", *options, "-m", str(count), "-l", str(size), "-N",
         "-M", "client.example.net", "-f", "sender@example.net", "-t", "user@example.com",
         f"127.0.0.1:{port}"],
        capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    if done.returncode or done.stderr:
        raise RuntimeError(f"smtp-source: {(done.stdout + done.stderr)[-300:]}")
    return time.monotonic() - start


class Sink:
    """smtp-sink as the primary; counts what it gets, and when the first and the last came. `told`:
    it offers XCLIENT and XFORWARD, by which ours names each client; Postfix by default does not.
    """

    def __init__(self, port: int, *, told: bool = True) -> None:
        command = ["smtp-sink", "-c", f"127.0.0.1:{port}", "1000"]
        if not told:
            command[1:1] = ["-C", "-F"]
        if os.geteuid() == 0:
            command[1:1] = ["-u", "nobody"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self.started = time.monotonic()
        self.got = 0
        self.first = self.last = 0.0
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def _read(self) -> None:
        """It prints its counters after each message, ended by CR."""
        tail = b""
        while data := os.read(self.process.stdout.fileno(), 1 << 16):
            tail = (tail + data)[-400:]
            counters = re.findall(rb"mesg=(\d+)\r", tail)
            if counters and int(counters[-1]) != self.got:
                self.last = time.monotonic()
                self.first = self.first or self.last
                self.got = int(counters[-1])
            time.sleep(0.005)


def reject(work: Path, port: int, total: int, sessions: int, each: int) -> dict[str, float]:
    """Send RCPTs that must be refused; returns what `reject_load.c` found."""
    arguments = (str(number) for number in (port, total, sessions, each))
    done = subprocess.run(
        [compiled("reject_load", work), *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )
    return json.loads(done.stdout)
