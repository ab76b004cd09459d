"""`tideover trap status`: whether the trap is open."""

from pathlib import Path

import click

from tideover.cli.options import config_option, json_option


@click.command("status")
@config_option
@json_option
def trap_status(config: Path, as_json: bool) -> None:
    """Show whether the trap is open, and why not.

    It is silent, and refuses connections, while any better MX host is not known to be up.
    """
    from tideover.cli import output
    from tideover.cli.trap_asking import ask_trap

    info, marks = ask_trap(config)
    strong = sum(mark.strong for mark in marks)
    if as_json:
        output.json(
            {
                "state": info.state,
                "since": output.iso(info.since),
                "reason": info.reason,
                "connections": info.connections,
                "waiting": info.waiting,
                "caught": {"strong": strong, "weak": len(marks) - strong},
            }
        )
        return
    state = info.state or "not known, as the daemon does not run"
    since = f" since {output.local(info.since)}" if info.since else ""
    click.echo(f"Trap: {state}{since}{': ' if info.reason else ''}{output.printable(info.reason)}")
    click.echo(f"{output.many(info.connections, 'connection')}, {info.waiting} contacts not judged")
    click.echo(f"{output.many(strong, 'client')} caught, {len(marks) - strong} with a weak mark")
