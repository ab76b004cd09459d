"""`tideover recipients refresh`: load the sources now."""

import sys
from collections.abc import Iterable
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING

import click

from tideover.cli.options import config_option, json_option
from tideover.cli.trouble import BAD, GOOD

if TYPE_CHECKING:
    from tideover.control.protocol import Item
    from tideover.recipients.report import Refreshed


@click.command("refresh")
@click.option("--domain", help="Only the sources of this domain.")
@click.option("--domains", is_flag=True, help="Instead of sources, the list of domains_from.")
@click.option("--confirm", is_flag=True, help="Take lists although they shrank too much.")
@config_option
@json_option
@click.pass_context
def recipients_refresh(
    ctx: click.Context,
    domain: str | None,
    domains: bool,
    confirm: bool,
    config: Path,
    as_json: bool,
) -> None:
    """Load recipient sources now, without waiting for their time.

    A list that lost more than the source's max_shrink is refused until --confirm says that it is
    meant; an empty list never replaces a full one.

    Exit code 0: all sources were taken; 1: one was refused, which the table explains.
    """
    from tideover.cli import output
    from tideover.cli.asking import order_at_length
    from tideover.control.protocol import Refresh

    done = _follow(
        order_at_length(config, Refresh(domain=domain, domains=domains, confirm=confirm))
    )
    if as_json:
        output.json_array(
            {name: getattr(result, name) for name in result.__struct_fields__} for result in done
        )
    elif not done:
        click.echo("There is no source with a list: nothing was to be loaded.")
    else:
        output.table(
            ("~source", "~domain", ">entries", "result", "~refused because"),
            [_row(result) for result in done],
        )
    ctx.exit(BAD if any(result.refused for result in done) else GOOD)


def _row(result: "Refreshed") -> tuple[str, ...]:
    state = "new" if result.changed else "unchanged"
    return (
        result.source,
        result.domain,
        "" if result.entries is None else f"{result.entries:,}",
        "refused" if result.refused else state,
        result.refused or "",
    )


def _follow(items: "Iterable[Item]") -> "list[Refreshed]":
    """Collect the results; on a terminal show how far the loads have come."""
    from tideover.control.protocol import Progress, RefreshInfo

    done: list[Refreshed] = []
    shown = sys.stderr.isatty()
    for item in items:
        if isinstance(item, RefreshInfo):
            done.append(item.refreshed)
        elif isinstance(item, Progress) and shown:
            _show(f"{item.source}: {item.entries:,} entries")
    if shown:
        _show("")
    return done


def _show(text: str) -> None:
    """Replace the terminal's last line."""
    from tideover.cli import output

    width = get_terminal_size().columns
    click.echo(f"\r\x1b[K{output.printable(text)[: width - 1]}", nl=False, err=True)
