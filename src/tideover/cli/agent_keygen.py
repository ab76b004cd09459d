"""`tideover agent keygen`: the key of an agent, or of a backup that asks one."""

from pathlib import Path

import click

from tideover.cli.options import json_option
from tideover.cli.trouble import BAD, Problem


@click.command("keygen")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def agent_keygen(file: Path, as_json: bool) -> None:
    """Make a private key, and print its public key.

    FILE can be read by its owner only; one that is there stays as it is. An agent's public key is
    the backup's agent_key, a backup's public key stands among the agent's askers.

    Exit code 1: the file is there already, or can't be written.
    """
    from tideover.agent.keys import AgentKeyError, make_key, public_text
    from tideover.cli import output

    try:
        public = public_text(make_key(file))
    except AgentKeyError as error:
        raise Problem(str(error), BAD) from None
    if as_json:
        output.json({"file": str(file), "public_key": public})
        return
    click.echo(output.printable(f"{file}: a new key was made; who uses it must be able to read it"))
    click.echo(f"public key: {public}")
