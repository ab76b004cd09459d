"""Command groups that import a verb's module only when it is needed."""

from collections.abc import Mapping, Sequence
from importlib import import_module

import click


class LazyGroup(click.Group):
    """A group whose verbs are named as `"module:attribute"`; `groups` are given ready-made."""

    def __init__(
        self,
        name: str,
        *,
        help: str,  # noqa: A002 - click's own name
        verbs: Mapping[str, str],
        groups: Sequence[click.Group] = (),
        epilog: str | None = None,
    ) -> None:
        super().__init__(
            name, help=help, epilog=epilog, context_settings={"help_option_names": ["-h", "--help"]}
        )
        self._verbs = verbs
        for group in groups:
            self.add_command(group)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order in which they are declared, then the groups."""
        return [*self._verbs, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb, imported now."""
        if cmd_name not in self._verbs:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._verbs[cmd_name].partition(":")
        command = getattr(import_module(module), attribute)
        return command if isinstance(command, click.Command) else None
