"""Options that several verbs share, and what they turn into."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tideover.config.values import parse_duration

if TYPE_CHECKING:
    from tideover.spool.interface import Filter

DEFAULT_CONFIG = Path("/etc/tideover/tideover.toml")
F = TypeVar("F", bound=Callable[..., Any])
STATES = ("queued", "leased", "deferred", "held", "dead")


class DurationType(click.ParamType[float]):
    """`30s`, `5m`, `4h`, `14d` -> seconds."""

    name = "duration"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Seconds; click shows the text of the ValueError."""
        if isinstance(value, float):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


DURATION = DurationType()


def config_option(function: F) -> F:
    """`--config FILE`, as the argument `config`."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        envvar="TIDEOVER_CONFIG",
        default=DEFAULT_CONFIG,
        show_default=True,
        help="The configuration file; also by the environment as TIDEOVER_CONFIG.",
    )(function)


def json_option(function: F) -> F:
    """`--json`, as the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(
        function
    )


_FILTERS = (
    click.argument("ids", nargs=-1, metavar="[ID]..."),
    click.option("--domain", help="Only recipients of this domain."),
    click.option(
        "--state",
        "states",
        multiple=True,
        type=click.Choice(STATES),
        help="Only this state; may be given several times.",
    ),
    click.option(
        "--older-than", type=DURATION, help="Only messages received longer ago than this."
    ),
    click.option("--younger-than", type=DURATION, help="Only messages received since this time."),
    click.option("--sender", help='Only messages with this reverse path ("" for bounces).'),
    click.option("--recipient", help="Only messages with this recipient."),
)
FILTER_NAMES = ("ids", "domain", "states", "older_than", "younger_than", "sender", "recipient")


def filters(function: F) -> F:
    """Ids and the options that select messages; give them all to `selection`."""
    for option in reversed(_FILTERS):
        function = option(function)
    return function


def selection(options: dict[str, Any]) -> "Filter":
    """Take the options of `filters` out of `options` and make the filter of them."""
    from tideover.spool.interface import Filter, State

    chosen = {name: options.pop(name) for name in FILTER_NAMES}
    now = time.time()
    older, younger = chosen["older_than"], chosen["younger_than"]
    return Filter(
        ids=chosen["ids"] or None,
        domain=chosen["domain"],
        states=tuple(map(State, chosen["states"])) or None,
        received_before=None if older is None else now - older,
        received_after=None if younger is None else now - younger,
        sender=chosen["sender"],
        recipient=chosen["recipient"],
    )


def all_option(function: F) -> F:
    """`--all`, as the argument `everything`: for verbs that act."""
    return click.option(
        "--all", "everything", is_flag=True, help="Mean the whole queue; else ids or a filter."
    )(function)


def need_selection(wanted: "Filter", *, everything: bool) -> None:
    """An act on the whole queue must be meant.

    Raises:
        click.UsageError: nothing selects, and --all is not there either.
    """
    from tideover.spool.interface import Filter

    if wanted == Filter() and not everything:
        raise click.UsageError("name ids, --domain or another filter, or say --all.")
    if wanted != Filter() and everything:
        raise click.UsageError("--all can't go together with ids or filters.")
