"""`tideover trap export`: who was caught, for DNS servers and firewalls."""

import time
from pathlib import Path

import click

from tideover.cli.options import config_option, json_option


@click.command("export")
@click.option(
    "--format",
    "form",
    type=click.Choice(("dnsbl", "nft", "plain")),
    default="plain",
    show_default=True,
    help="A zone file of a DNS list, a script for nft -f, or a line each.",
)
@click.option("--weak", is_flag=True, help="Also those that only came to the last MX first.")
@click.option("--name-server", help="NS of the zone. Default: our host name.")
@config_option
@json_option
def trap_export(
    form: str, weak: bool, name_server: str | None, config: Path, as_json: bool
) -> None:
    """Print who was caught.

    The zone file fits any origin. It has 127.0.0.2 for who did what no honest sender does, and
    127.0.0.3 for weak marks. The script makes and fills the sets trap4 and trap6 of the table inet
    tideover; each element times out by itself. With --json the lines are an array.
    """
    from tideover.cli import output
    from tideover.cli.trap_asking import ask_trap
    from tideover.trap import export

    _, marks = ask_trap(config)
    chosen = [mark for mark in marks if mark.strong or weak]
    match form:
        case "dnsbl":
            server = _host_name(name_server) if name_server else _own_name(config)
            lines = export.dnsbl(chosen, name_server=server, now=time.time())
        case "nft":
            lines = export.nft(chosen, now=time.time())
        case _:
            lines = export.plain(chosen)
    if as_json:
        output.json_array(lines)
        return
    for line in lines:
        click.echo(line)


def _host_name(text: str) -> str:
    from tideover.config.values import parse_hostname

    try:
        return parse_hostname(text.rstrip("."))
    except ValueError as error:
        raise click.UsageError(f"--name-server {text!r}: {error} is wanted.") from None


def _own_name(config: Path) -> str:
    from tideover.config.load import load

    return load(config).hostname
