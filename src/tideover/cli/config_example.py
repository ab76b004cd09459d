"""`tideover config example`: a commented configuration to start from."""

import click


@click.command("example")
def config_example() -> None:
    """Print a commented configuration with every setting."""
    from tideover.config.explain import example

    click.echo(example(), nl=False)
