"""`tideover queue hold`: keep messages here until they are released."""

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


@click.command("hold")
@filters
@all_option
@click.option("--reason", default="", help="Why; shown by status and kept in the event log.")
@config_option
@json_option
def queue_hold(
    everything: bool,
    reason: str,
    config: Path,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> None:
    """Hold messages: they stay until `tideover queue release`.

    With --domain alone the domain is held: what is here, and what is yet to come. Mail for it is
    still taken in.
    """
    from tideover.cli import output
    from tideover.cli.asking import order
    from tideover.control.protocol import Hold

    wanted = selection(options)
    need_selection(wanted, everything=everything)
    done = order(config, Hold(wanted=wanted, everything=everything, reason=reason))
    if as_json:
        output.json({"held": done.count})
    else:
        click.echo(f"{output.many(done.count, 'recipient')} held.")
