"""`tideover queue shape`: how many recipients wait, by domain and age."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tideover.cli.options import config_option, filters, json_option, selection


@click.command("shape")
@filters
@config_option
@json_option
def queue_shape(config: Path, as_json: bool, **options: Any) -> None:  # noqa: ANN401
    """Count waiting recipients by domain and age in minutes.

    A healthy queue is full at the left. Numbers that move to the right belong to a primary that is
    down, or that takes less than arrives. T is the total.
    """
    from tideover.cli import output
    from tideover.cli.asking import ask
    from tideover.control.protocol import AGES, Shape, ShapeRow

    answer = ask(config, Shape(wanted=selection(options)))
    rows = [item for item in answer if isinstance(item, ShapeRow)]
    minutes = [str(seconds // 60) for seconds in AGES]
    names = [*minutes, f"{minutes[-1]}+"]
    if as_json:
        output.json(
            {
                row.domain: {
                    "total": sum(row.counts),
                    "minutes": dict(zip(names, row.counts, strict=True)),
                }
                for row in rows
            }
        )
        return
    sums = [sum(column) for column in zip(*(row.counts for row in rows), strict=True)]
    lines = [_line("TOTAL", sums or [0] * len(names)), *(_line(r.domain, r.counts) for r in rows)]
    output.table(("~domain", ">T", *(f">{name}" for name in names)), lines)


def _line(name: str, counts: Sequence[int]) -> list[str]:
    return [name, str(sum(counts)), *map(str, counts)]
