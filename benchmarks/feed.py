"""Measures the hashed feed: making, opening, asking and swapping it, and what it costs to guess.

No server runs; only this process is measured. Exit code 1: a number misses what was promised
(docs/feed.md): a lookup among ten million in 10 µs and 200 MiB, a million exported in 60 s.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

HERE = Path(__file__).parent
DOMAIN = "example.com"
PROMISES = {
    "lookup_p99_us": 10.0,
    "swap_peak_rss_mib": 200.0,
    "export_s": 60.0,
}
console = Console(width=120)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--n", type=int, default=10_000_000, help="entries of the large feed")
    parser.add_argument("--export", type=int, default=1_000_000, help="addresses to export")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--out", type=Path, help="where the result goes as JSON")
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    parser.add_argument("--dir", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.n, options.export = options.n // 10, options.export // 10
    return options


def resident(field: str) -> float:
    """VmRSS or VmHWM of this process in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


def percentiles(times: list[float]) -> dict[str, float]:
    """In microseconds."""
    times.sort()
    return {
        f"p{part}": round(times[min(len(times) - 1, len(times) * part // 100)] * 1e6, 2)
        for part in (50, 99)
    }


def made(path: Path, count: int, serial: int) -> float:
    """A feed of so many made-up names; returns the seconds."""
    from tideover.recipients.feed.keys import signing_key
    from tideover.recipients.feed.writer import FeedPlan, Recipients, write_feed

    key, _ = signing_key(path.parent / "signing.pem")
    begin = time.perf_counter()
    write_feed(
        path,
        FeedPlan(domain=DOMAIN, serial=serial),
        Recipients(names=(f"user{number}" for number in range(count))),
        signing_key=key,
        now=time.time(),
    )
    return time.perf_counter() - begin


def large(options: argparse.Namespace) -> dict[str, Any]:
    """Make the large feed, twice, so that it can be swapped."""
    seconds = made(options.dir / "large1", options.n, 1)
    made(options.dir / "large2", options.n, 2)
    return {
        "entries": options.n,
        "build_s": round(seconds, 2),
        "build_peak_rss_mib": resident("VmHWM"),
        "octets": (options.dir / "large1").stat().st_size,
    }


def asked(options: argparse.Namespace) -> dict[str, Any]:
    """Through the source, as a server does: load, ask at random, swap while it is asked."""
    import asyncio

    from tideover.config.model import Domain, Source
    from tideover.recipients.feed.keys import public_text, signing_key
    from tideover.recipients.sources.feed_source import FeedLoader

    key, _ = signing_key(options.dir / "signing.pem")
    offered = options.dir / "offered"
    offered.hardlink_to(options.dir / "large1")
    of = Domain(primary=None, recipients=("feed:x",), feed_signer=public_text(key))
    loader = FeedLoader(
        f"feed:{offered}", Source(), domain=DOMAIN, of=of, store=options.dir / "store"
    )
    chance = random.Random(1)
    names = [f"user{chance.randrange(2 * options.n)}" for _ in range(200_000)]
    begin_rss = resident("VmRSS")

    async def ask_all(listing: Any) -> tuple[list[float], int]:
        times, found = [], 0
        for number, name in enumerate(names):
            begin = time.perf_counter()
            match = listing.find(name, None)
            times.append(time.perf_counter() - begin)
            found += match is not None
            if number % 100 == 0:
                await asyncio.sleep(0)
        return times, found

    async def main() -> dict[str, Any]:
        begin = time.perf_counter()
        load = await loader.load(None, lambda _: None)
        opened = time.perf_counter() - begin
        await loader.keep(load)
        listing = load.lists[DOMAIN]
        cold, _ = await ask_all(listing)
        warm, found = await ask_all(listing)
        warm_rss = resident("VmRSS")
        offered.unlink()
        offered.hardlink_to(options.dir / "large2")
        task = asyncio.create_task(loader.load("1", lambda _: None))
        during, _ = await ask_all(listing)
        load = await task
        await loader.keep(load)
        listing = load.lists[DOMAIN]
        after, _ = await ask_all(listing)
        warmest = percentiles(warm)
        return {
            "open_s": round(opened, 2),
            "lookup_p50_us": warmest["p50"],
            "lookup_p99_us": warmest["p99"],
            "lookup_first_us": percentiles(cold),
            "lookup_while_swapping_us": percentiles(during),
            "lookup_after_swap_us": percentiles(after),
            "found_share": round(found / len(names), 3),
            "rss_before_mib": begin_rss,
            "rss_in_use_mib": warm_rss,
            "swap_peak_rss_mib": resident("VmHWM"),
        }

    return asyncio.run(main())


def export(options: argparse.Namespace) -> dict[str, Any]:
    """`tideover recipients export` from a file, as a person calls it."""
    listed = options.dir / "list"
    with listed.open("w") as file:
        file.writelines(f"user{number}@{DOMAIN}\n" for number in range(options.export))
    begin = time.perf_counter()
    subprocess.run(
        [
            *(sys.executable, "-m", "tideover", "recipients", "export"),
            *("--from", f"file:{listed}", "--domain", DOMAIN, "--json"),
            *("--signing-key", str(options.dir / "export.pem")),
            *("--out", str(options.dir / "exported.feed")),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return {"export_addresses": options.export, "export_s": round(time.perf_counter() - begin, 2)}


def guessed(options: argparse.Namespace) -> dict[str, Any]:
    """What one guess costs who holds a feed and its key: one core, our own code."""
    from tideover.recipients.feed.format import Cost
    from tideover.recipients.feed.hashing import AddressHash, fast, slow

    address_hash = AddressHash(bytes(32), bytes(16), DOMAIN)
    count = 20_000 if options.quick else 500_000
    begin = time.perf_counter()
    for number in range(count):
        fast(address_hash.stage_one(f"user{number}"))
    result: dict[str, Any] = {
        "guesses_fast_per_s": round(count / (time.perf_counter() - begin)),
        "guesses_slow_per_s": {},
    }
    for cost in (Cost(), Cost(iterations=3, memory=64 * 1024), Cost(memory=256 * 1024)):
        count = 4 if options.quick else 20
        begin = time.perf_counter()
        for number in range(count):
            slow(address_hash.stage_one(f"user{number}"), bytes(16), cost)
        name = f"{cost.memory // 1024} MiB, {cost.iterations} passes"
        result["guesses_slow_per_s"][name] = round(count / (time.perf_counter() - begin), 1)
    return result


PHASES = {"large": large, "asked": asked, "export": export, "guessed": guessed}


def in_own_process(phase: str, options: argparse.Namespace, place: str) -> dict[str, Any]:
    """One phase, so that the memory of one is not counted for the next."""
    command = [sys.executable, __file__, "--phase", phase, "--dir", place]
    command += ["--n", str(options.n), "--export", str(options.export)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def main() -> int:
    """Run it; returns the exit code."""
    options = arguments()
    if options.phase:
        sys.stdout.write(json.dumps(PHASES[options.phase](options)))
        return 0
    data: dict[str, Any] = {"date": time.strftime("%Y-%m-%d %H:%M"), "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory(prefix="tideover-feed-") as place:
        for phase in PHASES:
            result = in_own_process(phase, options, place)
            console.print(f"{time.strftime('%H:%M:%S')} {phase}", result, highlight=False)
            data |= result
    if options.out:
        options.out.write_text(json.dumps(data, indent=1) + "\n")
        console.print(f"stored as {options.out}")
    missed = [name for name, most in PROMISES.items() if data[name] > most]
    for name in missed:
        console.print(f"MISSED {name}: {data[name]}, promised {PROMISES[name]}", style="bold red")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
