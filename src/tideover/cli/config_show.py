"""`tideover config show`: every setting in force, and where it comes from."""

from pathlib import Path

import click

from tideover.cli.options import config_option, json_option


@click.command("show")
@config_option
@click.option("--changed", is_flag=True, help="Only what the file sets.")
@json_option
def config_show(config: Path, changed: bool, as_json: bool) -> None:
    """Show every setting in force, and where it comes from."""
    from tideover.cli import output
    from tideover.config.explain import in_force
    from tideover.config.load import load

    rows = [r for r in in_force(load(config), config) if r.origin == "file" or not changed]
    if as_json:
        output.json({row.key: {"value": row.value, "origin": row.origin} for row in rows})
        return
    output.table(
        ("~setting", "~value", "from"), ((r.key, r.value or "(not set)", r.origin) for r in rows)
    )
