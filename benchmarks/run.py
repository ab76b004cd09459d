"""Measures Tideover and Debian's Postfix as backup MX, side by side, in one run.

As root (Postfix needs it), on a real disk. The servers take turns, so that slow drift of the
machine cancels; only the ratios within one run mean anything. See README.md beside this file.
Exit code 1: mail is missing, or an answer was wrong. A missed ratio is no error.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import measure
from load import ACCEPT, source
from phases import ceiling, one_round
from report import defects, show
from rich.console import Console
from servers import DebianPostfix, Tideover, TideoverBare, slow_sync

from tideover.testing import postfix
from tideover.testing.ports import free_port

HERE = Path(__file__).parent
STEP = 10_000
console = Console(width=150)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each server is measured")
    parser.add_argument("--n", type=int, default=10_000, help="messages a phase, at most 10000")
    parser.add_argument("--quick", action="store_true", help="one round of 1000")
    parser.add_argument("--servers", default="tideover,tideover-bare,postfix")
    parser.add_argument("--fsync-delay-ms", type=int, default=0, help="make each fsync slower")
    parser.add_argument("--big", type=int, default=0, help="then queue so many messages in ours")
    parser.add_argument("--dir", type=Path, default=Path("/var/cache/tideover-bench"))
    parser.add_argument("--out", type=Path, help="where the result goes as JSON")
    parser.add_argument("--table", type=Path, help="only show the tables of this result")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.n = 1, 1000
    if not 100 <= options.n <= STEP:
        parser.error("--n: 100 to 10000")
    return options


def log(server: str, phase: str, result: dict[str, Any]) -> None:
    """Tell how far it is."""
    console.print(f"{time.strftime('%H:%M:%S')} {server} {phase}", result, highlight=False)


def big(server: Tideover, count: int) -> dict[str, Any]:
    """Memory and start-up with `count` messages queued, for ours."""
    server.start()
    empty = measure.memory(server.pid)
    rates = []
    for _ in range(0, count, STEP):
        rates.append(round(STEP / source(server.port, STEP, ACCEPT["accept_reuse20"], 1024)))
    measure.settle(server.pid)
    full = measure.memory(server.pid)
    server.stop()
    begin = time.monotonic()
    server.daemon.start()
    start_up = time.monotonic() - begin
    measure.settle(server.pid)
    result = {
        "queued": server.queued(),
        "pss_mib_empty": empty["pss_mib"],
        "pss_mib_full": full["pss_mib"],
        "pss_mib_after_restart": measure.memory(server.pid)["pss_mib"],
        "start_up_s": round(start_up, 2),
        "first_10k_per_s": rates[0],
        "last_10k_per_s": rates[-1],
    }
    server.stop()
    return result


def measure_all(options: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Measure, storing what there is after each step."""
    shutil.rmtree(options.dir, ignore_errors=True)
    options.dir.mkdir(parents=True)
    preload = slow_sync(options.dir, options.fsync_delay_ms) if options.fsync_delay_ms else None
    makers = {maker.name: maker for maker in (Tideover, TideoverBare, DebianPostfix)}
    servers = [makers[name](options.dir, preload) for name in options.servers.split(",")]
    data: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d %H:%M"), "rounds": options.rounds, "n": options.n,
        "fsync_delay_ms": options.fsync_delay_ms, "ceilings": [],
        "servers": {server.name: [] for server in servers},
    }  # fmt: skip
    for number in range(options.rounds):
        console.rule(f"round {number + 1} of {options.rounds}")
        data["ceilings"].append(ceiling(free_port(), options.n))
        for server in servers:
            data["servers"][server.name].append(one_round(server, options.n, options.dir, log))
            out.write_text(json.dumps(data, indent=1) + "\n")
    if options.big:
        ours = next(server for server in servers if type(server) is Tideover)
        data["big"] = big(ours, options.big)
        out.write_text(json.dumps(data, indent=1) + "\n")
    shutil.rmtree(options.dir)
    return data


def main() -> int:
    """Run it; returns the exit code."""
    options = arguments()
    if options.table:
        show(json.loads(options.table.read_text()), console)
        return 0
    if reason := postfix.why_missing():
        console.print(f"smtp-source, smtp-sink and the peer are Postfix's: {reason}")
        return 2
    out = options.out or HERE / "results" / time.strftime("%Y-%m-%d-%H%M.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    data = measure_all(options, out)
    show(data, console)
    console.print(f"stored as {out}")
    found = defects(data)
    for defect in found:
        console.print(f"DEFECT {defect}", style="bold red")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
