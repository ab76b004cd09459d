"""The trap: what 10,000 held connections weigh, and what they cost those who bring mail.

    .venv/bin/python benchmarks/trap.py            # 10,000 connections, a minute
    .venv/bin/python benchmarks/trap.py --quick    # 2,000
    .venv/bin/python benchmarks/trap.py --out FILE # JSON too

The real daemon, a primary that is up, and a process of clients that hold connections to its trap.
Mail for another domain, whose primary is down, is taken on new connections: 4 KiB each, durable.

    alone     messages a second while nobody is in the trap
    held      the same while all connections are held and silent; RSS grown a connection
    talking   the same while each of them says a command whenever the trap has answered

Exit code 1: a connection costs more than 10 KiB, or the rate fell below 60 % while they are held
(that not with --quick, whose second of measuring says too little).
"""

import argparse
import json
import platform
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

from measure import memory

from tideover.testing.crowd import crowd
from tideover.testing.daemon import Daemon
from tideover.testing.ports import free_port
from tideover.testing.sink import Sink

_THREADS = 8
_SECONDS = 4.0
_ROUNDS = 3
_MOST = 10.0  # KiB a connection
_LEAST = 0.6
_BODY = b"Subject: x\r\n\r\n" + b"x" * 76 * 50 + b"\r\n.\r\n"
_DELAY = 5.0
_COMMANDS = (
    b"HELO a.example\r\n",
    b"MAIL FROM:<a@example.net>\r\n",
    b"RCPT TO:<user@example.com>\r\n",
    b"DATA\r\n",
    _BODY,
    b"QUIT\r\n",
)


def _message(port: int) -> None:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as sock,
        sock.makefile("rb") as f,
    ):
        f.readline()
        for command in _COMMANDS:
            sock.sendall(command)
            reply = f.readline()
            if reply[:1] not in b"23":
                raise RuntimeError(reply.decode())


def rate(port: int, seconds: float) -> float:
    """Messages a second that are taken."""
    counts, until = [0] * _THREADS, time.monotonic() + seconds

    def work(number: int) -> None:
        while time.monotonic() < until:
            _message(port)
            counts[number] += 1

    threads = [threading.Thread(target=work, args=(n,)) for n in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def rates(port: int, seconds: float) -> float:
    """The median of some rounds."""
    return round(median(rate(port, seconds) for _ in range(_ROUNDS)), 1)


def measure(count: int, seconds: float, directory: Path) -> dict[str, Any]:
    """All figures."""
    port, home = free_port(), free_port()
    more = (
        f'[trap]\nlisten = ["127.0.0.1:{port}"]\ndomains = ["example.org"]\n'
        f'max_connections = {count}\ndelay = "{_DELAY}s"\n'
        '[policy]\ntrusted_networks = ["127.0.0.1"]\n'
        f'[domains."example.org"]\nprimary = ["127.0.0.1:{home}"]\n'
        'recipients = ["file:recipients"]\n'
    )
    with Sink(home), Daemon(directory, more=more) as daemon:
        _until_open(daemon)
        rate(daemon.port, 1.0)
        found: dict[str, Any] = {"connections": count}
        before_all = rates(daemon.port, seconds)
        before = memory(daemon.running.pid)["rss_mib"]
        with crowd(port, count):
            grown = memory(daemon.running.pid)["rss_mib"] - before
            found["kib_each"] = round(grown * 1024 / count, 2)
            found["rss_mib"] = round(grown, 1)
            found["held"] = rates(daemon.port, seconds)
        with crowd(port, count, talk=True):
            found["talking"] = rates(daemon.port, seconds)
            found["lines_each_second"] = round(count / _DELAY)
        # the queue has grown meanwhile, and the machine does other things, too
        found["alone"] = round((before_all + rates(daemon.port, seconds)) / 2, 1)
        found["alone_before"] = before_all
    return found


def _until_open(daemon: Daemon) -> None:
    deadline = time.monotonic() + 30
    while daemon.ask("trap", "status")["state"] != "open":
        if time.monotonic() > deadline:
            raise TimeoutError("the trap stays silent")
        time.sleep(0.2)


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="2,000 connections")
    parser.add_argument("--out", type=Path, help="where the result goes as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tideover-trap-") as directory:
        count, seconds = (2_000, 1.0) if options.quick else (10_000, _SECONDS)
        found = measure(count, seconds, Path(directory))
    found["machine"] = f"{platform.machine()}, Python {platform.python_version()}"
    print(json.dumps(found, indent=2))
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n")
    slowed = not options.quick and found["held"] < _LEAST * found["alone"]
    return 1 if slowed or found["kib_each"] > _MOST else 0


if __name__ == "__main__":
    sys.exit(main())
