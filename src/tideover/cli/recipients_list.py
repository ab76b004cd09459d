"""`tideover recipients list DOMAIN`: the addresses that the sources name."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tideover.cli.options import config_option, json_option

if TYPE_CHECKING:
    from tideover.control.protocol import Item
    from tideover.recipients.report import SourceStatus


@click.command("list")
@click.argument("domain")
@config_option
@json_option
def recipients_list(domain: str, config: Path, as_json: bool) -> None:
    """List the recipients that are known in clear.

    A hashed feed can't be read back: it is named on stderr, with the number of its entries. So
    are sources that are asked for each address.
    """
    from tideover.cli import output
    from tideover.cli.asking import ask
    from tideover.control.protocol import Recipients

    nameless: list[SourceStatus] = []
    addresses = _addresses(ask(config, Recipients(domain=domain)), nameless)
    if as_json:
        output.json_array(addresses)
    else:
        for address in addresses:
            click.echo(output.printable(address))
    for status in nameless:
        click.echo(output.printable(f"{status.source}: {_why_nameless(status)}"), err=True)


def _addresses(items: "Iterable[Item]", nameless: "list[SourceStatus]") -> Iterator[str]:
    from tideover.control.protocol import Address, SourceInfo

    for item in items:
        if isinstance(item, Address):
            yield item.address
        elif isinstance(item, SourceInfo):
            nameless.append(item.status)


def _why_nameless(status: "SourceStatus") -> str:
    if status.state == "asked" or status.entries is None:
        return "is asked for each address; it has no list"
    return f"{status.entries:,} entries, hashed: their names can't be told from it"
