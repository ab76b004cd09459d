"""`tideover recipients list DOMAIN`: the addresses that the sources name."""

from pathlib import Path

import click

from tideover.cli.options import config_option, json_option


@click.command("list")
@click.argument("domain")
@config_option
@json_option
def recipients_list(domain: str, config: Path, as_json: bool) -> None:
    """List the recipients that the sources of DOMAIN name."""
    from tideover.cli import output
    from tideover.cli.asking import ask
    from tideover.control.protocol import Address, Recipients

    answer = ask(config, Recipients(domain=domain))
    addresses = (item.address for item in answer if isinstance(item, Address))
    if as_json:
        output.json_array(addresses)
        return
    for address in addresses:
        click.echo(output.printable(address))
