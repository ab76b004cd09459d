"""Write docs/reference and docs/states.md from the code. With --check: say what is stale.

The pages can't be wrong about the code, as nothing in them is written by hand.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import msgspec

from tideover.cli.main import ROOT
from tideover.config.explain import example
from tideover.config.findings import CHECKS, FINDINGS, Finding
from tideover.config.model import Config
from tideover.config.policy import Clamav, Greylist, Milter, Rspamd, Spamassassin
from tideover.config.policy_values import SocketAddress
from tideover.config.settings import Setting, settings
from tideover.events.encoding import kinds
from tideover.events.event import Event
from tideover.policy.catalogue import entries
from tideover.policy.services import Services
from tideover.smtp.states import IN_ORDER, TRANSITIONS, State, Step

DOCS = Path(__file__).resolve().parent
_MADE = "<!-- Made by docs/generate.py (make docs). Change the code, not this page. -->\n"


_CONFIG = """\
One TOML file, `/etc/tideover/tideover.toml` unless `--config` or `TIDEOVER_CONFIG` says otherwise.
Unknown keys are mistakes; `tideover config check` names all mistakes at once. Relative paths start
at the file's directory. `SIGHUP` reloads it.

Durations are written with units, which may be joined: `ms`, `s`, `m`, `h`, `d`, `w`, as in
`"1d12h"`. Sizes are numbers of octets, or text with `B`, `KiB`, `MiB`, `GiB`, `TiB` (or `kB`,
`MB`, `GB`).
"""

_EVENTS = """\
One JSON object a line, on stderr and in `events/` of the data directory. Each has `event`, `level`
and `time` (Unix seconds); fields that have their default value are left out. Names and fields are
stable.
"""


def config_page() -> str:
    """Every setting, a table for each section, then the example."""
    lines = ["# Configuration", "", _MADE, _CONFIG, "## At the top of the file", "", *_HEADER]
    for setting in settings():
        if setting.table:
            title = setting.written
            lines += ["", f"## {title}", "", setting.text, "", *_HEADER]
        else:
            lines.append(_setting_row(setting))
    return "\n".join([*lines, "", "## Example", "", "```toml", example().rstrip(), "```", ""])


_HEADER = ("| setting | type | default | meaning |", "|---|---|---|---|")


def _setting_row(setting: Setting) -> str:
    default = "required" if setting.required else f"`{setting.default}`"
    if setting.default is None and not setting.required:
        default = "not set"
    kind = f"{setting.kind}<br>{_cell(setting.written)}"
    return f"| `{setting.key}` | {kind} | {_cell(default)} | {_cell(setting.text)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def cli_page() -> str:
    """The help of every verb."""
    lines = ["# Commands", "", _MADE]
    for context in _commands(ROOT, "tideover", None):
        lines += [f"## {context.command_path}", "", "```", context.get_help().rstrip(), "```", ""]
    return "\n".join(lines)


def _commands(
    command: click.Command, name: str, parent: click.Context | None
) -> Iterator[click.Context]:
    settings = {"terminal_width": 96, **command.context_settings}
    context = click.Context(command, info_name=name, parent=parent, **settings)
    yield context
    if isinstance(command, click.Group):
        for verb_name in command.list_commands(context):
            verb = command.get_command(context, verb_name)
            if verb is None:
                raise LookupError(f"{name} {verb_name} is declared but not there")
            yield from _commands(verb, verb_name, context)


def events_page() -> str:
    """Every event, with its fields."""
    lines = ["# Events", "", _MADE, _EVENTS]
    for kind in kinds():
        lines += _event(kind)
    return "\n".join(lines)


def _event(kind: type[Event]) -> list[str]:
    info = msgspec.inspect.type_info(kind)
    if not isinstance(info, msgspec.inspect.StructType):
        raise TypeError(f"{kind} is no record")
    fields = [field for field in info.fields if field.name != "time"]
    text = " ".join((kind.__doc__ or "").split())
    lines = [f"## {info.tag}", "", f"{text} Level: {kind.level}.", ""]
    if fields:
        lines += ["| field | type |", "|---|---|"]
        for field in fields:
            optional = "" if field.required else ", optional"
            lines.append(f"| `{field.name}` | {_type(field.type)}{optional} |")
        lines.append("")
    return lines


_TYPES = {
    msgspec.inspect.StrType: "text",
    msgspec.inspect.IntType: "number",
    msgspec.inspect.FloatType: "number with fraction",
    msgspec.inspect.BoolType: "true or false",
    msgspec.inspect.NoneType: "null",
}


def _type(kind: msgspec.inspect.Type) -> str:
    if isinstance(kind, msgspec.inspect.UnionType):
        return " or ".join(_type(item) for item in kind.types)
    if isinstance(kind, msgspec.inspect.VarTupleType):
        return f"list of {_type(kind.item_type)}"
    if isinstance(kind, msgspec.inspect.StructType):
        return f"tables with {', '.join(f'`{field.encode_name}`' for field in kind.fields)}"
    return _TYPES[type(kind)]


_STATES = """\
From the tables in `tideover.smtp.states`, which are all that decides. A command out of order is
answered `503 5.5.1`. From every state `CLOSE` leads to `CLOSED`.
"""


def states_page() -> str:
    """The server session's states, as a drawing and as the list of what is in order where."""
    moves: dict[tuple[State, State], list[str]] = {}
    for (state, step), after in TRANSITIONS.items():
        if step is not Step.CLOSE:
            moves.setdefault((state, after), []).append(step.name)
    drawing = [
        f"    {state.name} --> {after.name}: {', '.join(steps)}"
        for (state, after), steps in sorted(moves.items())
    ]
    order = [
        f"| `{verb.decode()}` | {', '.join(state.name for state in sorted(states))} |"
        for verb, states in IN_ORDER.items()
    ]
    lines = ["# States of a server session", "", _MADE, _STATES, "```mermaid", "stateDiagram-v2"]
    lines += [f"    [*] --> {State.CONNECTED.name}", *drawing, "```", ""]
    lines += ["| command | in order in |", "|---|---|", *order, "", "All others: everywhere.", ""]
    return "\n".join(lines)


_FINDINGS = """\
What checks can find, by check, in the order in which their refusals count. What a finding means is
a verb (`accept`, `hold`, `defer`, `reject`) or a score, and can be changed by
`[profiles.NAME] actions`; [policy.md](../policy.md) tells how. The replies are those that a client
hears when the finding alone is why it is refused; many checks have a better text, with names and
reasons. One that is made to defer says the same with 450 and a 4 in front. When the sum of scores
decides, `because` in the log is `score`, and the reply names what weighs most.
"""


def findings_page() -> str:
    """Every check with its stages, and every finding with what it means by default."""
    by_check: dict[str, list[tuple[str, Finding]]] = {}
    for name, finding in FINDINGS.items():
        by_check.setdefault(finding.check, []).append((name, finding))
    lines, stages = ["# Findings", "", _MADE, _FINDINGS], _stages()
    for check in (*CHECKS, *(other for other in by_check if other not in CHECKS)):
        lines += [f"## {check}", ""]
        if check in stages:
            lines += [f"Stages: {', '.join(stages[check])}.{_unless_named(check)}", ""]
        if check in by_check:
            lines += ["| finding | by default | meaning | reply |", "|---|---|---|---|"]
            lines += [_finding_row(name, finding) for name, finding in by_check[check]]
            lines.append("")
    return "\n".join(lines)


def _unless_named(check: str) -> str:
    return " Off by default: `[greylist] enabled`." if check == "greylist" else ""


def _finding_row(name: str, finding: Finding) -> str:
    action = finding.action if isinstance(finding.action, str) else f"{finding.action:g}"
    refuses = not isinstance(finding.action, str) or finding.action in ("defer", "reject")
    reply = f"{finding.code} {finding.enhanced} {finding.text}" if refuses else ""
    return f"| `{name}` | {action} | {_cell(finding.meaning)} | {_cell(reply)} |"


def _stages() -> dict[str, list[str]]:
    """The stages of each check, as the catalogue has them when everything is configured."""
    socket = SocketAddress(None, "/filter")
    every: Any = SimpleNamespace(
        config=Config(
            hostname="mx2.example.org",
            data_dir=Path(),
            rspamd=Rspamd(url="http://127.0.0.1:11333"),
            clamav=Clamav(socket=socket),
            spamassassin=Spamassassin(socket=socket),
            milters={"filter": Milter(socket=socket)},
            greylist=Greylist(enabled=True),
        ),
        memory=SimpleNamespace(buckets=None),
    )
    services = Services(
        config=every.config, memory=every.memory, names=every, is_ours=bool, emit=bool
    )
    stages: dict[str, list[str]] = {}
    for stage, begun in entries(services).items():
        for entry in begun:
            stages.setdefault(entry.name, []).append(stage.value)
    return stages


PAGES: dict[str, Callable[[], str]] = {
    "states.md": states_page,
    "reference/config.md": config_page,
    "reference/cli.md": cli_page,
    "reference/events.md": events_page,
    "reference/findings.md": findings_page,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check compare them. Returns 1 when one is stale."""
    stale = []
    for name, page in PAGES.items():
        path, text = DOCS / name, page()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if "--check" in arguments and stale:
        print(f"stale: {', '.join(stale)}; run `make docs`", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
