"""What passing through to a primary that is up costs, beside giving it the same mail directly.

    .venv/bin/python benchmarks/pass_through.py            # 2,000 messages a load, under a minute
    .venv/bin/python benchmarks/pass_through.py --quick    # 300
    .venv/bin/python benchmarks/pass_through.py --out FILE # JSON too

As root, with Debian's postfix. Primaries: a real Postfix that grants XCLIENT and discards what it
has queued, and smtp-sink, which is nearly free. Tideover runs with its default checks and DNS that
answers from nearby, `bare` without any check. Messages of 4 KiB.

    rate      smtp-source, 20 at a time: messages/s on new connections and on kept ones
    wait      one client, one message after the other, by turns directly and through us: ms from
              connecting (new) or from MAIL (kept) to the final reply

Exit code 1: a message was not taken by the primary itself, or passing through adds more than 5 ms
at the median to Postfix's own (not with --quick).
"""

import argparse
import json
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from load import ACCEPT, Sink, recipients, source
from rich.console import Console
from rich.table import Table
from servers import NO_CHECKS, ZONE

from tideover.testing import postfix
from tideover.testing.daemon import Daemon
from tideover.testing.nsd import Nsd
from tideover.testing.ports import free_port
from tideover.testing.postfix import Postfix

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from pass_rig import Told, converse, primary_is
from wire import Wire

MOST_ADDED = 5.0
"""ms at the median, promised for a real Postfix."""

LOADS = {"new": ACCEPT["accept_new20"], "kept": ACCEPT["accept_reuse20"]}
_WARM_UP = 100
_SIZE = 4096
_BODY = (b"From: sender@example.net\r\nTo: user@example.com\r\nSubject: one\r\n"
         b"Date: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.net>\r\n\r\n"
         + (b"x" * 76 + b"\r\n") * (_SIZE // 78))  # fmt: skip
_POSTFIX = """
relay_domains = example.com
relay_recipient_maps =
transport_maps = static:discard:
smtpd_relay_restrictions = permit_auth_destination, reject
smtpd_authorized_xclient_hosts = 127.0.0.1
smtpd_client_connection_count_limit = 200
default_process_limit = 200
in_flow_delay = 0s
"""
Result = dict[str, Any]


@contextmanager
def real_postfix(work: Path) -> Iterator[int]:
    """The port of a Postfix; what it takes is queued on disk, then discarded."""
    with Postfix(work / "postfix", port=free_port(), settings=_POSTFIX, hostname="home") as server:
        yield server.port


@contextmanager
def smtp_sink(_: Path) -> Iterator[int]:
    """The port of an smtp-sink."""
    port = free_port()
    with Sink(port):
        yield port


@contextmanager
def passing(work: Path, name: str, primary: int, dns: Nsd, more: str) -> Iterator[Daemon]:
    """A daemon that passes through to a primary that is up."""
    settings = f'[dns]\nservers = ["{dns.endpoint}"]\n{more}'
    daemon = Daemon(work / name, primary=primary, recipients=recipients() + "user@example.com\n",
                    domain='when_primary_up = "pass-through"', more=settings)  # fmt: skip
    with daemon:
        primary_is(daemon, "up")
        yield daemon


def waits(ports: dict[str, int], count: int, *, kept: bool) -> dict[str, list[float]]:
    """ms of each message, the servers by turns."""
    found: dict[str, list[float]] = {name: [] for name in ports}
    wires = {name: _connected(port) for name, port in ports.items()} if kept else {}
    for _ in range(count):
        for name, port in ports.items():
            start = time.perf_counter()
            wire = wires.get(name) or _connected(port)
            _check(converse(wire, _BODY))
            found[name].append((time.perf_counter() - start) * 1000)
            if not kept:
                wire.close()
    for wire in wires.values():
        wire.close()
    return found


def _connected(port: int) -> Wire:
    wire = Wire(port)
    wire.hello()
    return wire


def _check(told: Told) -> None:
    if told.codes() != (b"250", b"250") or b"Queued as" in told.end:
        raise RuntimeError(f"not passed through: {told}")


def summary(times: Sequence[float]) -> Result:
    """Median and 99 %, ms."""
    ordered = sorted(times)
    return {
        "median": round(statistics.median(ordered), 2),
        "p99": round(ordered[int(len(ordered) * 0.99)], 2),
    }


def measure(work: Path, count: int, rounds: int) -> Result:
    """All of it: by primary, then by way of sending, then by server."""
    dns = Nsd(work)
    dns.zone("example.net", ZONE, ttl=86400)
    dns.zone("127.in-addr.arpa", "1.0.0 PTR client.example.net.\n", ttl=86400)
    results: Result = {}
    with dns:
        for name, primary in (("postfix", real_postfix), ("smtp-sink", smtp_sink)):
            with (
                primary(work) as port,
                passing(work, f"ours-{name}", port, dns, "") as ours,
                passing(work, f"bare-{name}", port, dns, NO_CHECKS) as bare,
            ):
                ports = {"direct": port, "tideover": ours.port, "bare": bare.port}
                results[name] = measure_one(ports, count, rounds)
                for daemon in (ours, bare):
                    _nothing_queued(daemon)
    return results


def measure_one(ports: dict[str, int], count: int, rounds: int) -> Result:
    """One primary."""
    for port in ports.values():
        source(port, _WARM_UP, LOADS["kept"])
    result: Result = {"rate": {}, "wait": {}}
    for way, options in LOADS.items():
        rates: dict[str, list[float]] = {server: [] for server in ports}
        for _, (server, port) in product(range(rounds), ports.items()):
            rates[server].append(count / source(port, count, options))
        result["rate"][way] = {
            server: round(statistics.median(found)) for server, found in rates.items()
        }
        times = waits(ports, max(100, count // 4), kept=way == "kept")
        result["wait"][way] = {server: summary(found) for server, found in times.items()}
    return result


def _nothing_queued(daemon: Daemon) -> None:
    """What does not pass through would be in the event log as taken by the spool."""
    queued = sum(1 for _ in daemon.events("message-accepted"))
    if queued:
        raise RuntimeError(f"{queued} messages were queued instead of passed through")


def show(results: Result, console: Console) -> None:
    """The table."""
    table = Table(title="Passing through, beside direct")
    for head in ("primary", "connections", "server", "messages/s", "median ms", "99 % ms", "added"):
        table.add_column(head, justify="left" if head in ("primary", "server") else "right")
    for primary, result in results.items():
        for way in LOADS:
            base = result["wait"][way]["direct"]["median"]
            for server, rate in result["rate"][way].items():
                wait = result["wait"][way][server]
                added = "" if server == "direct" else f"{wait['median'] - base:+.2f}"
                table.add_row(primary, way, server, f"{rate:,}", f"{wait['median']:.2f}",
                              f"{wait['p99']:.2f}", added)  # fmt: skip
    console.print(table)


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="300 messages a load")
    parser.add_argument("--rounds", type=int, default=1, help="how often each load is repeated")
    parser.add_argument("--dir", type=Path, default=Path("/var/cache/tideover-bench-pass"))
    parser.add_argument("--out", type=Path, help="where the result goes as JSON")
    options = parser.parse_args()
    console = Console(width=120)
    if reason := postfix.why_missing():
        console.print(f"the primary, smtp-source and smtp-sink are Postfix's: {reason}")
        return 2
    shutil.rmtree(options.dir, ignore_errors=True)
    options.dir.mkdir(parents=True)
    try:
        results = measure(options.dir, 300 if options.quick else 2000, options.rounds)
    finally:
        shutil.rmtree(options.dir)
    show(results, console)
    if options.out:
        data = {"date": time.strftime("%Y-%m-%d %H:%M"), "python": platform.python_version(),
                "primaries": results}  # fmt: skip
        options.out.write_text(json.dumps(data, indent=1) + "\n")
    waited = results["postfix"]["wait"]
    missed = [
        way for way in LOADS
        if waited[way]["tideover"]["median"] - waited[way]["direct"]["median"] > MOST_ADDED
    ]  # fmt: skip
    if missed:
        console.print(f"more than {MOST_ADDED:g} ms are added on {', '.join(missed)} connections")
    return 1 if missed and not options.quick else 0


if __name__ == "__main__":
    sys.exit(main())
