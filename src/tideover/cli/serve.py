"""`tideover serve`: the daemon, in the foreground."""

from pathlib import Path

import click

from tideover.cli.options import config_option


@click.command("serve")
@config_option
@click.option(
    "--log-format",
    type=click.Choice(("json", "text")),
    default="json",
    show_default=True,
    help="The log on stderr: for programs, or for people.",
)
@click.option(
    "--try",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Serve an example from this directory, which is filled first; needs no configuration.",
)
def serve(config: Path, log_format: str, directory: Path | None) -> None:
    """Take mail in and bring it home, until SIGTERM.

    SIGHUP reloads the configuration; one with mistakes is refused and the running one stays. A
    stop finishes or defers open transactions within 10 seconds.
    """
    from tideover.app import serve as run_daemon

    if directory is not None:
        from tideover.cli.tryout import next_steps, prepare

        config = prepare(directory)
        click.echo(next_steps(config))
    click.get_current_context().exit(run_daemon(config, log_format))
