"""`tideover config explain KEY`: what one setting means."""

import click

from tideover.cli.options import json_option
from tideover.cli.trouble import BAD, Problem


@click.command("explain")
@click.argument("key")
@json_option
def config_explain(key: str, as_json: bool) -> None:
    """Explain a setting: its meaning, type, form and default.

    KEY is dotted, as in `tideover config explain smtp.listen`.
    """
    from tideover.cli import output
    from tideover.config.explain import UnknownSettingError, explain, find

    try:
        setting = find(key)
    except UnknownSettingError as error:
        raise Problem(str(error), BAD) from None
    if as_json:
        output.json(setting)
    else:
        click.echo(explain(setting))
