"""`tideover trap list`: who was caught."""

from pathlib import Path

import click

from tideover.cli.options import config_option, json_option


@click.command("list")
@config_option
@json_option
def trap_list(config: Path, as_json: bool) -> None:
    """List the clients that were caught, oldest first.

    "trapped" did what no honest sender does; "last-mx-first" only came to the last MX first. The
    log says more of each: event client-trapped.
    """
    from tideover.cli import output
    from tideover.cli.trap_asking import ask_trap

    _, marks = ask_trap(config)
    if as_json:
        output.json_array(
            {
                "host": mark.host,
                "found": _found(strong=mark.strong),
                "since": output.iso(mark.at),
                "until": output.iso(mark.until),
            }
            for mark in marks
        )
        return
    if not marks:
        click.echo("Nobody is caught.")
        return
    output.table(
        ("host", "found", "since", "until"),
        [
            (mark.host, _found(strong=mark.strong), output.local(mark.at), output.local(mark.until))
            for mark in marks
        ],
    )


def _found(*, strong: bool) -> str:
    """As `config.findings` calls it."""
    return "trapped" if strong else "last-mx-first"
