"""100,000 domains: how long they take to read, what they weigh, and whether a reload is felt.

    .venv/bin/python benchmarks/domains.py            # 100,000 domains in each layout, a minute
    .venv/bin/python benchmarks/domains.py --quick    # 10,000
    .venv/bin/python benchmarks/domains.py --out FILE # JSON too

Layouts: one `file`; a `directory` with a file for each (`domains_dir`); `distinct`, a directory in
which no two files are equal, so that nothing can be shared; `own`, in which each domain has a file
of recipients of its own too; and a `list` from a database (`domains_from`). No root is needed.
Exit code 1: an answer was wrong, or (not with --quick) the start took more than 5 s.

    load      `config.load` in a fresh process: seconds, and octets a domain that stay
    ready     `tideover serve`, from the start of the process to its ready line; when the list of
              domains, or the last domain's own file, was read; RSS then
    reload    a client asks RCPT again and again while SIGHUP makes the daemon read all of it anew:
              the latencies before and during the reload

The page cache is warm: the files were just written. On a cold disk the reading of 100,000 files
comes on top.
"""

import argparse
import json
import os
import platform
import shutil
import smtplib
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from measure import memory

from tideover.testing.daemon import Daemon

_A_CONNECTION = 20
READY = 5.0  # seconds, promised
LAYOUTS = ("file", "directory", "distinct", "own", "list")
_LOAD = """
import json, sys, time
from contextlib import closing
from pathlib import Path
from tideover.config.load import load
def rss():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
before, start = rss(), time.perf_counter()
config = load(Path(sys.argv[1]))
print(json.dumps({"seconds": time.perf_counter() - start, "octets": rss() - before,
                  "domains": len(config.domains)}))
"""


def write(directory: Path, layout: str, count: int) -> tuple[str, str]:
    """Write the domains; returns what goes to the top and to the end of the configuration."""
    people = directory / "people"
    people.write_text("".join(f"user@d{n}.example\n" for n in range(count)))
    if layout == "list":
        return write_list(directory / "list.sqlite", count)
    if layout == "file":
        return "", "".join(f'[domains."d{n}.example"]\n{_table(n, layout)}' for n in range(count))
    domains = directory / "domains"
    domains.mkdir()
    for n in range(count):
        (domains / f"d{n}.example.toml").write_text(_table(n, layout))
        if layout == "own":
            (directory / f"people.d{n}.example").write_text("user\ninfo\n")
    return 'domains_dir = "domains"', ""


def write_list(database: Path, count: int) -> tuple[str, str]:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE d (domain, primary_, recipients)")
        rows = (
            (f"d{n}.example", f"mail{n % 500}.example.net", "file:people,learn")
            for n in range(count)
        )
        connection.executemany("INSERT INTO d VALUES (?, ?, ?)", rows)
        connection.commit()
    query = 'SELECT domain, primary_ AS "primary", recipients FROM d'
    details = f'[sources."sql:list"]\nurl = "sqlite:{database}"\nquery = \'{query}\'\n'
    return 'domains_from = "sql:list"', details


def _table(n: int, layout: str) -> str:
    people = "people.{domain}" if layout == "own" else "people"
    host = f"mail{n}.example.net" if layout == "distinct" else f"mail{n % 500}.example.net"
    return f'primary = ["{host}:25"]\nrecipients = ["file:{people}", "learn"]\n'


def measure_load(config: Path, count: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, str(config)], capture_output=True, text=True, check=True,
        timeout=300, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")},
    )  # fmt: skip
    found = json.loads(done.stdout)
    return {
        "load_s": round(found["seconds"], 2),
        "octets_a_domain": round(found["octets"] / count),
    }


class Asker(threading.Thread):
    """A client that asks for a recipient again and again, and notes how long each answer took."""

    def __init__(self, port: int, count: int) -> None:
        super().__init__()
        self.latencies: list[tuple[float, float]] = []
        self.wrong: list[tuple[int, bytes]] = []
        self._count = count
        self._stopped = threading.Event()
        self._port = port

    def run(self) -> None:
        n = 0
        while not self._stopped.is_set():
            # the daemon bounds how much one connection may ask without sending mail
            with smtplib.SMTP("127.0.0.1", self._port, timeout=60) as smtp:
                smtp.ehlo("bench.example")
                for _ in range(_A_CONNECTION):
                    n = (n + 7919) % self._count
                    smtp.mail("a@example.org")
                    start = time.perf_counter()
                    code, text = smtp.rcpt(f"user@d{n}.example")
                    self.latencies.append((start, time.perf_counter() - start))
                    if code != 250:
                        self.wrong.append((code, text))
                    smtp.rset()
                    time.sleep(0.002)

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def between(self, start: float, end: float) -> dict[str, float]:
        """Latencies in milliseconds of what was asked between these moments."""
        found = sorted(1000 * took for at, took in self.latencies if start <= at <= end)
        return {
            "n": len(found),
            "median_ms": round(statistics.median(found), 2),
            "p99_ms": round(found[int(len(found) * 0.99)], 2),
            "max_ms": round(found[-1], 2),
        }


def wait_until_read(daemon: Daemon, layout: str, count: int) -> float:
    """Until the list of domains, or each domain's own file, was read; seconds from the start."""
    start = time.perf_counter()
    wanted = {"own": count, "list": 2}.get(layout, 0)
    while time.perf_counter() - start < 120:
        listed = layout != "list" or list(daemon.events("domain-list-loaded"))
        if listed and copies(daemon) >= wanted:
            break
        time.sleep(0.1)
    return time.perf_counter() - start


def copies(daemon: Daemon) -> int:
    """Of how many sources a last good copy is kept."""
    path = daemon.data_dir / "recipients.sqlite"
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM copy").fetchone()[0])


def measure_daemon(daemon: Daemon, layout: str, count: int, reloads: int) -> dict[str, Any]:
    start = time.perf_counter()
    daemon.start()
    ready = time.perf_counter() - start
    all_read = wait_until_read(daemon, layout, count)
    weighs = memory(daemon.running.pid)["rss_mib"]
    asker = Asker(daemon.port, count)
    try:
        asker.start()
        quiet = time.perf_counter()
        time.sleep(2.0)
        begin = time.perf_counter()
        seconds = [reload(daemon) for _ in range(reloads)]
        end = time.perf_counter()
        time.sleep(0.2)
    finally:
        asker.stop()
    if asker.wrong:
        raise SystemExit(f"{len(asker.wrong)} wrong answers, as {asker.wrong[0]}")
    return {
        "ready_s": round(ready, 2),
        "all_read_s": round(ready + all_read, 2),
        "rss_mib": weighs,
        "rss_reloaded_mib": memory(daemon.running.pid)["rss_mib"],
        "reload_s": round(max(seconds), 2),
        "before": asker.between(quiet, begin),
        "during": asker.between(begin, end),
    }


def reload(daemon: Daemon) -> float:
    """Make the daemon read its configuration again; seconds until it has."""
    had = len(list(daemon.events("config-reloaded")))
    start = time.perf_counter()
    daemon.reload()
    while len(list(daemon.events("config-reloaded"))) == had:
        if time.perf_counter() - start > 60 or list(daemon.events("config-rejected")):
            raise SystemExit(f"no reload: {daemon.output()[-2000:]}")
        time.sleep(0.05)
    return time.perf_counter() - start


def measure(directory: Path, layout: str, count: int, reloads: int) -> dict[str, Any]:
    daemon = Daemon(directory)
    top, more = write(directory, layout, count)
    daemon.sections["top"], daemon.sections["more"] = top, more
    daemon.write_config()
    with_load = measure_load(daemon.config, count)
    try:
        return {**with_load, **measure_daemon(daemon, layout, count, reloads)}
    finally:
        daemon.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="10,000 domains, one reload")
    parser.add_argument("--count", type=int, help="so many domains")
    parser.add_argument("--layouts", default=",".join(LAYOUTS))
    parser.add_argument("--out", type=Path, help="write JSON here")
    arguments = parser.parse_args()
    count = arguments.count or (10_000 if arguments.quick else 100_000)
    slow: list[str] = []
    results: dict[str, object] = {"domains": count, "python": platform.python_version()}
    for layout in arguments.layouts.split(","):
        directory = Path(tempfile.mkdtemp(prefix="tideover-domains-"))
        try:
            found = measure(directory, layout, count, 1 if arguments.quick else 3)
        finally:
            shutil.rmtree(directory)
        results[layout] = found
        if found["ready_s"] > READY:
            slow.append(layout)
        print(f"{layout}: {json.dumps(found)}", flush=True)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    if not arguments.quick and slow:
        raise SystemExit(f"slower than {READY} s to the ready line: {', '.join(slow)}")


if __name__ == "__main__":
    main()
