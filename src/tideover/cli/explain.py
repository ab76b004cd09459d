"""`tideover explain ID`: the life of one message or session."""

import sys
from pathlib import Path
from typing import Any

import click

from tideover.cli.options import config_option, json_option
from tideover.cli.trouble import BAD, UNREACHABLE, Problem


@click.command("explain")
@click.argument("wanted", metavar="ID")
@config_option
@json_option
def explain(wanted: str, config: Path, as_json: bool) -> None:
    """Tell the life of one message or session.

    All that happened to it, from the event log in the data directory.
    ID is a queue id, as our 250 and the Received header name it, or a session id. Works while the
    daemon does not run. Exit code 1: the log knows nothing of it (any more).
    """
    from tideover.cli import output
    from tideover.cli.asking import find_data_dir
    from tideover.events import trace
    from tideover.events.text import check_lines, render

    directory = find_data_dir(config) / "events"
    _need_rights(directory)
    events = trace.explain(directory, wanted)
    if not events:
        text = f"the event log in {directory} knows nothing of {output.printable(wanted)}"
        raise Problem(f"{text}; it keeps log.max_size of the latest events", BAD)
    if as_json:
        output.json_array(map(_with_handover, events))
        return
    colour = sys.stdout.isatty()
    for event in events:
        click.echo(render(event, date=True, colour=colour))
        for line in check_lines(event):
            click.echo(line)
        if told := _handover(event):
            click.echo(f"    handover: {told}")
    if report := _last_report(events):
        click.echo(f"Its bounce is a message of its own: tideover explain {report}")


def _need_rights(directory: Path) -> None:
    """Who may not read the log must not hear that it knows nothing.

    Raises:
        Problem: it can't be read.
    """
    try:
        next(directory.iterdir(), None)
    except FileNotFoundError:
        return  # a daemon that never ran has none
    except PermissionError:
        text = f"no right to read {directory}: be root or the daemon's user"
        raise Problem(text, UNREACHABLE) from None


_KNOWS_CLIENT = "XCLIENT"


def _handover(event: dict[str, Any]) -> str:
    """What a primary's refusal says of how it was told of us, "" for most.

    Of a client that passed through it may speak, so then only that counts which is surely of us.
    """
    from tideover.primary.handover_signs import sign_of

    kind = event.get("event")
    if kind not in ("delivery-deferred", "delivery-refused", "passed-refused"):
        return ""
    told = _KNOWS_CLIENT if kind == "passed-refused" else ""
    sign = sign_of(str(event.get("reply", "")), event.get("stage"), told=told)
    return str(sign) if sign is not None else ""


def _with_handover(event: dict[str, Any]) -> dict[str, Any]:
    told = _handover(event)
    return event | {"handover": told} if told else event


def _last_report(events: list[dict[str, Any]]) -> str | None:
    reports = [str(event["report"]) for event in events if event.get("report")]
    return output_safe(reports[-1]) if reports else None


def output_safe(text: str) -> str:
    """An id as it may be printed."""
    return "".join(c for c in text if c.isalnum() or c == "-")
