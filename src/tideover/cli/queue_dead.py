"""`tideover queue dead`: what could not be delivered, and why."""

from pathlib import Path
from typing import Any

import click

from tideover.cli.options import config_option, filters, json_option, selection

_TABLE = 1000


@click.command("dead")
@filters
@config_option
@json_option
def queue_dead(config: Path, as_json: bool, **options: Any) -> None:  # noqa: ANN401
    """List the dead letters with their reasons.

    `tideover queue release ID` puts one back into the queue.
    """
    from msgspec.structs import replace

    from tideover.cli import output
    from tideover.cli.asking import ask
    from tideover.cli.messages import message_json, only_messages, print_messages
    from tideover.control.protocol import List
    from tideover.spool.interface import State

    if options["states"]:
        raise click.UsageError("--state makes no sense here: these are dead.")
    wanted = replace(selection(options), states=(State.DEAD,))
    limit = None if as_json else _TABLE + 1
    messages = only_messages(ask(config, List(wanted=wanted, limit=limit)))
    if as_json:
        output.json_array(message_json(message, reason=True) for message in messages)
    elif not print_messages(messages, _TABLE, reason=True):
        click.echo("There are no dead letters that match.")
