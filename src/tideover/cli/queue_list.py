"""`tideover queue list`: the messages that are here."""

from itertools import islice
from pathlib import Path
from typing import Any

import click

from tideover.cli.options import config_option, filters, json_option, selection

_TABLE = 1000


@click.command("list")
@filters
@click.option("--limit", type=click.IntRange(min=1), help=f"At most so many; tables: {_TABLE}.")
@config_option
@json_option
def queue_list(limit: int | None, config: Path, as_json: bool, **options: Any) -> None:  # noqa: ANN401
    """List the messages that are here, in the order of arrival.

    All, or those that match. Dead letters are listed too, in state `dead`.
    """
    from tideover.cli import output
    from tideover.cli.asking import ask
    from tideover.cli.messages import message_json, only_messages, print_messages
    from tideover.control.protocol import List

    wanted = selection(options)
    if as_json:
        messages = only_messages(ask(config, List(wanted=wanted, limit=limit)))
        output.json_array(message_json(message) for message in islice(messages, limit))
        return
    shown = limit or _TABLE
    answer = ask(config, List(wanted=wanted, limit=shown + (limit is None)))
    if not print_messages(only_messages(answer), shown, reason=False):
        click.echo("No message is here that matches.")
