"""`tideover status`: how the domains and their primaries stand."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tideover.cli.options import config_option, json_option

if TYPE_CHECKING:
    from tideover.control.protocol import DaemonInfo, DomainInfo


@click.command("status")
@click.option("--domain", help="Only this domain.")
@config_option
@json_option
def status(domain: str | None, config: Path, as_json: bool) -> None:
    """Show the domains, their primaries, and what waits.

    Works while the daemon does not run; the primaries' states are then unknown.
    """
    from tideover.cli.asking import ask
    from tideover.control.protocol import DaemonInfo, DomainInfo, Status

    answer = list(ask(config, Status(domain=domain)))
    daemon = next(item for item in answer if isinstance(item, DaemonInfo))
    domains = [item for item in answer if isinstance(item, DomainInfo)]
    if as_json:
        _print_json(daemon, domains)
    else:
        _print_table(daemon, domains)


def _print_json(daemon: "DaemonInfo", domains: "list[DomainInfo]") -> None:
    from tideover.cli import output

    output.json(
        {
            "running": daemon.started is not None,
            "version": daemon.version,
            "hostname": daemon.hostname,
            "started": output.iso(daemon.started),
            "domains": {row.domain: _fields(row) for row in domains},
        }
    )


def _fields(row: "DomainInfo") -> dict[str, Any]:
    from tideover.cli import output

    fields: dict[str, Any] = {name: getattr(row, name) for name in row.__struct_fields__}
    del fields["domain"]
    return fields | {"since": output.iso(row.since), "oldest": output.iso(row.oldest)}


def _print_table(daemon: "DaemonInfo", domains: "list[DomainInfo]") -> None:
    from tideover.cli import output

    now = time.time()
    running = "is not running; this is the spool as it lies there"
    if daemon.started is not None:
        running = f"has been running for {output.age(now - daemon.started)}"
    click.echo(f"{daemon.hostname}: tideover {daemon.version} {running}")
    output.table(
        ("domain", "primary", ">for", ">queued", ">held", ">dead", ">size", ">oldest", "~reason"),
        (
            (
                row.domain,
                row.primary,
                output.age(now - row.since) if row.since is not None else "",
                str(row.queued),
                str(row.held),
                str(row.dead),
                output.octets(row.octets),
                output.age(now - row.oldest) if row.oldest is not None else "",
                row.reason,
            )
            for row in domains
        ),
    )
