"""The result as a table: medians, spreads, ratios, and whether the goals are met."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

UNDECIDED = 1.5
MOST_CPU = 1.0  # ms of CPU that all checks may cost a message
# phase, field, what it is, digits, whether more is better, goal: the ratio to Postfix, or None
ROWS = (
    ("accept_new20", "per_s", "accept, new connection each, 20 at a time: msgs/s", 0, True, 3.0),
    ("accept_new20", "cpu_per_1000", "… CPU s per 1000", 2, False, None),
    ("accept_new200", "per_s", "accept, new connection each, 200 at a time: msgs/s", 0, True, 3.0),
    ("accept_reuse20", "per_s", "accept, 20 connections reused: msgs/s", 0, True, 3.0),
    ("accept_reuse20", "cpu_per_1000", "… CPU s per 1000", 2, False, None),
    ("accept_reuse20", "flushes_per_message", "… disk cache flushes a message", 2, False, None),
    ("reject1", "per_s", "refuse, 1 RCPT a session: rejects/s", 0, True, 3.0),
    ("reject1", "cpu_per_1000", "… CPU s per 1000", 2, False, None),
    ("reject5", "per_s", "refuse, 5 RCPTs a session: rejects/s", 0, True, 3.0),
    ("reject5", "cpu_per_1000", "… CPU s per 1000", 2, False, None),
    ("drain", "per_s", "drain to the recovered primary: msgs/s", 0, True, 3.0),
    ("drain", "per_s_from_first", "… from the first message on", 0, True, None),
    ("drain", "cpu_per_1000", "… CPU s per 1000", 2, False, None),
    ("first_home", "seconds", "primary back → first message home, unasked: s", 2, False, None),
    ("memory", "pss_mib", "memory with the queue full: PSS, MiB", 0, False, None),
    ("memory", "rss_mib", "… RSS summed over the processes, MiB", 0, False, None),
)
Rounds = Sequence[dict[str, Any]]


def values(rounds: Rounds, phase: str, field: str) -> list[float]:
    """A field of a phase, for each round that has it."""
    found = [one[phase][field] for one in rounds if field in one.get(phase, {})]
    return [value for value in found if value is not None]


def cell(found: Sequence[float], digits: int) -> str:
    """Median (least–most)."""
    if not found:
        return "–"
    text = f"{median(found):,.{digits}f}"
    if len(found) > 1:
        text += f" ({min(found):,.{digits}f}–{max(found):,.{digits}f})"
    return text


def verdict(ratio: float, more_is_better: bool, goal: float | None) -> str:
    """What a ratio means; differences under 1.5 times are undecided."""
    better = ratio if more_is_better else 1 / ratio
    if goal is not None:
        return f"goal {goal:g}× {'met' if better >= goal else 'MISSED'}"
    if max(better, 1 / better) < UNDECIDED:
        return "undecided"
    return "better" if better > 1 else "worse"


def show(data: dict[str, Any], console: Console) -> None:
    """Print the tables of a run."""
    servers = data["servers"]
    title = f"{data['date']} · {data['rounds']} rounds · {data['n']:,} messages of 4 KiB"
    if data["fsync_delay_ms"]:
        title += f" · each fsync {data['fsync_delay_ms']} ms slower"
    table = Table(title=title, caption="median (least–most); read only the ratios")
    table.add_column("")
    for name in servers:
        table.add_column(name, justify="right")
    ours = "tideover-bare" if "tideover-bare" in servers else "tideover"  # as the peers: no checks
    both = {ours, "postfix"} <= set(servers)
    if both:
        table.add_column("ratio", justify="right")
        table.add_column("verdict")
    for phase, field, what, digits, more_is_better, goal in ROWS:
        found = {name: values(rounds, phase, field) for name, rounds in servers.items()}
        cells = [cell(found[name], digits) for name in servers]
        if phase == "first_home":
            cells = [c if c != "–" else f"> {_waited(servers[name])}" for c, name in
                     zip(cells, servers, strict=True)]  # fmt: skip
        if both and all(found.values()) and (base := median(found["postfix"])):
            ratio = median(found[ours]) / base
            cells += [f"{ratio:.2f}×", verdict(ratio, more_is_better, goal)]
        table.add_row(what, *cells)
    console.print(table)
    _show_ceilings(data, console)
    _show_checks(servers, console)
    if data.get("big"):
        console.print("With many queued:", data["big"])


def _show_checks(servers: dict[str, Rounds], console: Console) -> None:
    """What the checks cost that need no other program, DNS cached."""
    for phase in ("accept_new20", "accept_reuse20"):
        with_them, without = (
            values(servers.get(name, ()), phase, "cpu_per_1000")
            for name in ("tideover", "tideover-bare")
        )
        if with_them and without:
            cost = median(with_them) - median(without)
            met = "met" if cost <= MOST_CPU else "MISSED"
            console.print(
                f"checks, {phase}: {cost:.2f} ms CPU a message (goal ≤ {MOST_CPU:g}: {met})"
            )
        rates = (values(servers.get(name, ()), phase, "per_s") for name in ("tideover", "postfix"))
        checked, peer = rates
        if checked and peer:
            ratio = median(checked) / median(peer)
            console.print(f"with all checks, {phase}: {ratio:.2f}× Postfix without any")


def _waited(rounds: Rounds) -> str:
    limits = [one["first_home"].get("more_than") for one in rounds if "first_home" in one]
    return f"{limits[0]:g} (not waited for)" if limits and limits[0] else "–"


def _show_ceilings(data: dict[str, Any], console: Console) -> None:
    ceilings = data.get("ceilings") or []
    for way in ceilings[0] if ceilings else ():
        top = median([one[way] for one in ceilings])
        ours = values(data["servers"].get("tideover", ()), way, "per_s")
        share = f", {median(ours) / top:.0%} of it reached" if ours else ""
        console.print(f"smtp-source to smtp-sink, {way}: {top:,.0f}/s{share}")


def defects(data: dict[str, Any]) -> list[str]:
    """What must never be, whatever the rates: mail that is missing, wrong answers."""
    found = []
    for name, rounds in data["servers"].items():
        for number, one in enumerate(rounds, 1):
            for phase, result in one.items():
                if result.get("lost"):
                    found.append(f"{name}, round {number}, {phase}: {result['lost']} lost")
                if result.get("left"):
                    found.append(f"{name}, round {number}, {phase}: {result['left']} left")
                if result.get("wrong"):
                    found.append(f"{name}, round {number}, {phase}: {result['wrong']}")
    return found
