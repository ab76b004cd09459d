"""`tideover queue remove`: delete messages for good, on your order."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tideover.cli.options import (
    all_option,
    config_option,
    filters,
    json_option,
    need_selection,
    selection,
)

if TYPE_CHECKING:
    from tideover.spool.interface import Filter

_SHOWN = 10


@click.command("remove")
@filters
@all_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@json_option
def queue_remove(
    everything: bool,
    yes: bool,
    config: Path,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> None:
    """Delete messages for good.

    They can't be brought back; your name is kept in the event log.

    On a terminal it shows what would go and asks; elsewhere --yes is needed. Messages that are
    being delivered at this moment stay.
    """
    from tideover.cli import output
    from tideover.cli.asking import order
    from tideover.control.protocol import Remove

    wanted = selection(options)
    need_selection(wanted, everything=everything)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("say --yes, as nobody can be asked here.")
        _ask(config, wanted)
    done = order(config, Remove(wanted=wanted, everything=everything))
    if as_json:
        output.json({"removed": done.ids})
    else:
        click.echo(f"{output.many(done.count, 'message')} removed.")


def _ask(config: Path, wanted: "Filter") -> None:
    """Show what would go, and ask.

    Raises:
        click.Abort: the answer is no.
    """
    from tideover.cli.asking import ask
    from tideover.cli.messages import only_messages, print_messages
    from tideover.control.protocol import List

    messages = only_messages(ask(config, List(wanted=wanted, limit=_SHOWN + 1)))
    if print_messages(messages, _SHOWN, reason=False):
        click.confirm("Remove these messages (and all others that match) for good?", abort=True)
