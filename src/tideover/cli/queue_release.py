"""`tideover queue release`: let held messages go, and bring dead letters back."""

from pathlib import Path
from typing import Any

import click

from tideover.cli.options import (
    all_option,
    config_option,
    filters,
    json_option,
    need_selection,
    selection,
)


@click.command("release")
@filters
@all_option
@config_option
@json_option
def queue_release(everything: bool, config: Path, as_json: bool, **options: Any) -> None:  # noqa: ANN401
    """Release held messages, so that they are tried at once.

    With --domain alone, or --all, the hold on the domain is lifted too. Dead letters come back by
    their ids or with --state dead.
    """
    from tideover.cli import output
    from tideover.cli.asking import order
    from tideover.control.protocol import Release

    wanted = selection(options)
    need_selection(wanted, everything=everything)
    done = order(config, Release(wanted=wanted, everything=everything))
    if as_json:
        output.json({"released": done.count})
    else:
        click.echo(f"{output.many(done.count, 'recipient')} released.")
