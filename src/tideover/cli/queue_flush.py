"""`tideover queue flush`: try now, and wait for the end if you like."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tideover.cli.options import (
    DURATION,
    all_option,
    config_option,
    filters,
    json_option,
    need_selection,
    selection,
)
from tideover.cli.trouble import BAD, GOOD

if TYPE_CHECKING:
    from tideover.spool.interface import Filter

_POLL = 0.5


@click.command("flush")
@filters
@all_option
@click.option("--wait", is_flag=True, help="Wait until nothing of it is queued any more.")
@click.option("--timeout", type=DURATION, default="10m", help="The longest to --wait [10m].")
@config_option
@json_option
def queue_flush(
    everything: bool,
    wait: bool,
    timeout: float,
    config: Path,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> None:
    """Try now: deferred messages, and primaries that are down.

    With --wait a bar shows the progress on a terminal; exit code 1 when --timeout came first. What
    is held stays held and is not waited for.
    """
    from tideover.cli import output
    from tideover.cli.asking import order
    from tideover.control.protocol import Flush

    wanted = selection(options)
    need_selection(wanted, everything=everything)
    done = order(config, Flush(wanted=wanted, everything=everything))
    left = _wait(config, wanted, timeout) if wait else None
    if as_json:
        output.json({"woken": done.count} | ({} if left is None else {"queued": left}))
    elif left is None:
        click.echo(
            f"{output.many(done.count, 'deferred recipient')} woken; primaries are tried now."
        )
    elif left:
        click.echo(f"{output.many(left, 'recipient')} still queued after {output.age(timeout)}.")
    else:
        click.echo("Nothing of it is queued any more.")
    click.get_current_context().exit(BAD if left else GOOD)


def _wait(config: Path, wanted: "Filter", timeout: float) -> int:
    """Wait until nothing is queued or the time is over. Returns how many recipients still are."""
    counts = _counts(config, wanted, time.monotonic() + timeout)
    if not sys.stderr.isatty():
        return list(counts)[-1]
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    left = total = next(counts)
    columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("going home", total=total)
        for left in counts:
            total = max(total, left)
            progress.update(task, total=total, completed=total - left)
    return left


def _counts(config: Path, wanted: "Filter", end: float) -> Iterator[int]:
    """How many recipients are queued, again and again; ends at 0 or at the time `end`."""
    while True:
        left = _queued(config, wanted)
        yield left
        if not left or time.monotonic() >= end:
            return
        time.sleep(min(_POLL, max(0.0, end - time.monotonic())))


def _queued(config: Path, wanted: "Filter") -> int:
    """Recipients on their way: by the daemon's counters when a domain or all is meant."""
    from msgspec.structs import replace

    from tideover.cli.asking import ask
    from tideover.control.protocol import DomainInfo, Shape, ShapeRow, Status
    from tideover.spool.interface import Filter, State

    if wanted == Filter(domain=wanted.domain):
        answer = ask(config, Status(domain=wanted.domain))
        return sum(item.queued for item in answer if isinstance(item, DomainInfo))
    moving = replace(wanted, states=(State.QUEUED, State.LEASED, State.DEFERRED))
    rows = ask(config, Shape(wanted=moving))
    return sum(sum(item.counts) for item in rows if isinstance(item, ShapeRow))
