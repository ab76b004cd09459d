"""`tideover config check`: is this configuration fit to serve?"""

from pathlib import Path

import click

from tideover.cli.options import config_option, json_option
from tideover.cli.trouble import GOOD, WRONG


@click.command("check")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@config_option
@json_option
@click.pass_context
def config_check(ctx: click.Context, file: Path | None, config: Path, as_json: bool) -> None:
    """Check a configuration; name all mistakes at once.

    FILE may be given instead of --config. Exit code 0: the daemon would serve with it (warnings are
    shown but do no harm); 2: it has mistakes.
    """
    from tideover.cli import output
    from tideover.config.check import warnings
    from tideover.config.load import load
    from tideover.config.mistakes import ConfigError

    path = file or config
    try:
        found = list(warnings(load(path)))
    except ConfigError as error:
        if as_json:
            output.json({"good": False, "mistakes": error.mistakes, "warnings": []})
        else:
            click.echo("\n".join(map(output.printable, error.lines())), err=True)
            number = output.many(len(error.mistakes), "mistake")
            click.echo(f"{path}: {number}; nothing of it is used", err=True)
        ctx.exit(WRONG)
    if as_json:
        output.json({"good": True, "mistakes": [], "warnings": found})
    else:
        for text in found:
            click.echo(f"{path}: warning: {output.printable(text)}")
        click.echo(f"{path}: good")
    ctx.exit(GOOD)
