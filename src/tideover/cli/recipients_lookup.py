"""`tideover recipients lookup ADDRESS`: would we take mail for it?"""

from pathlib import Path

import click

from tideover.cli.options import config_option, json_option
from tideover.cli.trouble import BAD, GOOD

_MEANING = {
    "listed": "is known to exist: RCPT is accepted",
    "unknown": "is in no source: RCPT is refused with 550 5.1.1",
    "foreign": "is not in a domain of ours: RCPT is refused with 554 5.7.1",
    "unavailable": "can't be checked now: RCPT is deferred with 451 4.3.0",
}


@click.command("lookup")
@click.argument("address")
@config_option
@json_option
@click.pass_context
def recipients_lookup(ctx: click.Context, address: str, config: Path, as_json: bool) -> None:
    """Say what is known of an address.

    And what a client would hear for it.

    Exit code 0: it would be accepted; 1: it would not.
    """
    from tideover.cli import output
    from tideover.cli.asking import ask
    from tideover.control.protocol import AddressInfo, Lookup

    found = next(i for i in ask(config, Lookup(address=address)) if isinstance(i, AddressInfo))
    if as_json:
        fields = ("address", "standing", "domain", "source", "reason")
        output.json({name: getattr(found, name) for name in fields})
    else:
        source = f" (from {found.source})" if found.source else ""
        reason = f": {found.reason}" if found.reason else ""
        meaning = _MEANING.get(found.standing, found.standing)
        click.echo(output.printable(f"{address} {meaning}{source}{reason}"))
    ctx.exit(GOOD if found.standing == "listed" else BAD)
