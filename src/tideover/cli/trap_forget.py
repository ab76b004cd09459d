"""`tideover trap forget ADDRESS`: hold nothing against a client."""

from pathlib import Path

import click

from tideover.cli.options import config_option, json_option


@click.command("forget")
@click.argument("address")
@config_option
@json_option
def trap_forget(address: str, config: Path, as_json: bool) -> None:
    """Take back what traps hold against a client.

    ADDRESS is as `trap list` shows it, or any address of an IPv6 /64.
    """
    from tideover.cli import output
    from tideover.cli.asking import order
    from tideover.control.protocol import Forget

    done = order(config, Forget(host=address))
    if as_json:
        output.json({"forgotten": done.count})
    else:
        click.echo(f"{output.printable(address)} is forgotten.")
