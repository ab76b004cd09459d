"""`tideover config check`: is this configuration fit to serve?"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tideover.cli.options import config_option, json_option
from tideover.cli.trouble import GOOD, WRONG

if TYPE_CHECKING:
    from tideover.config.mistakes import ConfigError


@click.command("check")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@config_option
@json_option
@click.pass_context
def config_check(ctx: click.Context, file: Path | None, config: Path, as_json: bool) -> None:
    """Check a configuration; name all mistakes at once.

    FILE may be given instead of --config. Exit code 0: the daemon would serve with it (warnings are
    shown but do no harm); 2: it has mistakes. With a mistake in a file of domains_dir only, the
    daemon would serve all other domains.
    """
    from tideover.cli import output
    from tideover.config.check import warnings
    from tideover.config.load import load_to_serve
    from tideover.config.mistakes import ConfigError

    path = file or config
    try:
        loaded = load_to_serve(path)
    except ConfigError as error:
        _show(error, as_json, [], "nothing of it is used")
        ctx.exit(WRONG)
    found = list(warnings(loaded.config, loaded.files))
    if loaded.files is not None and loaded.files.mistakes:
        spoilt = ConfigError(path, loaded.files.mistakes, loaded.files.more)
        _show(spoilt, as_json, found, "mail for these domains is deferred, all others are served")
        ctx.exit(WRONG)
    if as_json:
        output.json({"good": True, "mistakes": [], "warnings": found})
    else:
        for text in found:
            click.echo(f"{path}: warning: {output.printable(text)}")
        click.echo(f"{path}: good")
    ctx.exit(GOOD)


def _show(error: "ConfigError", as_json: bool, warnings: Sequence[str], outcome: str) -> None:
    from tideover.cli import output

    if as_json:
        output.json({"good": False, "mistakes": error.mistakes, "warnings": warnings})
        return
    for text in warnings:
        click.echo(f"{error.file}: warning: {output.printable(text)}")
    click.echo("\n".join(map(output.printable, error.lines())), err=True)
    number = output.many(len(error.mistakes), "mistake")
    click.echo(f"{error.file}: {number}; {outcome}", err=True)
