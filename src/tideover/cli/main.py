"""The command `tideover`: finds the verb, runs it, turns trouble into one line and an exit code.

Exit codes: 0 good; 1 the answer is bad (a check failed, nothing found); 2 wrong usage or
configuration; 3 the daemon can't be reached. Nobody sees a traceback unless TIDEOVER_DEBUG=1.
Verbs are imported when they are called, which keeps the start of each below a third of a second.
"""

import os
import sys
from collections.abc import Sequence

import click

from tideover import __version__
from tideover.cli.lazy import LazyGroup
from tideover.cli.trouble import explained

QUEUE = LazyGroup(
    "queue",
    help="Look at the queue and change it.",
    verbs={
        "list": "tideover.cli.queue_list:queue_list",
        "show": "tideover.cli.queue_show:queue_show",
        "shape": "tideover.cli.queue_shape:queue_shape",
        "hold": "tideover.cli.queue_hold:queue_hold",
        "release": "tideover.cli.queue_release:queue_release",
        "flush": "tideover.cli.queue_flush:queue_flush",
        "remove": "tideover.cli.queue_remove:queue_remove",
        "dead": "tideover.cli.queue_dead:queue_dead",
    },
)
CONFIG = LazyGroup(
    "config",
    help="Check and explain the configuration.",
    verbs={
        "check": "tideover.cli.config_check:config_check",
        "show": "tideover.cli.config_show:config_show",
        "explain": "tideover.cli.config_explain:config_explain",
        "example": "tideover.cli.config_example:config_example",
    },
)
RECIPIENTS = LazyGroup(
    "recipients",
    help="Who is known to exist at the primary.",
    verbs={
        "lookup": "tideover.cli.recipients_lookup:recipients_lookup",
        "list": "tideover.cli.recipients_list:recipients_list",
        "refresh": "tideover.cli.recipients_refresh:recipients_refresh",
        "import": "tideover.cli.recipients_import:recipients_import",
        "export": "tideover.cli.recipients_export:recipients_export",
    },
)
ARC = LazyGroup(
    "arc",
    help="Seals on forwarded mail.",
    verbs={"keygen": "tideover.cli.arc_keygen:arc_keygen"},
)
TRAP = LazyGroup(
    "trap",
    help="Who was caught by the last MX, a trap, or by honeypots.",
    verbs={
        "status": "tideover.cli.trap_status:trap_status",
        "list": "tideover.cli.trap_list:trap_list",
        "forget": "tideover.cli.trap_forget:trap_forget",
        "export": "tideover.cli.trap_export:trap_export",
    },
)
AGENT = LazyGroup(
    "agent",
    help="Beside the primary: whether a client can be reached.",
    verbs={
        "serve": "tideover.cli.agent_serve:agent_serve",
        "keygen": "tideover.cli.agent_keygen:agent_keygen",
        "ask": "tideover.cli.agent_ask:agent_ask",
    },
)
ROOT = LazyGroup(
    "tideover",
    help="Tideover, a backup MX that does no harm.",
    epilog="Exit codes: 0 good, 1 the answer is bad, 2 wrong usage or configuration, "
    "3 the daemon can't be reached.",
    verbs={
        "serve": "tideover.cli.serve:serve",
        "status": "tideover.cli.status:status",
        "explain": "tideover.cli.explain:explain",
        "handover": "tideover.cli.handover:handover",
    },
    groups=[QUEUE, CONFIG, RECIPIENTS, ARC, AGENT, TRAP],
)
click.version_option(__version__, message="tideover %(version)s")(ROOT)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code and never raises."""
    try:
        result = ROOT.main(list(arguments), prog_name="tideover", standalone_mode=False)
    except (BrokenPipeError, SystemExit):  # click makes the second of the first
        # as in `tideover queue list | head`: the reader has what it wanted
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        return 0
    except BaseException as error:
        if os.environ.get("TIDEOVER_DEBUG") == "1":
            raise
        from tideover.cli.output import printable

        text, code = explained(error)
        for line in text.split("\n"):  # it may quote what strangers wrote
            click.echo(printable(line), err=True)
        return code
    return result if isinstance(result, int) else 0


def main() -> int:
    """The entry point. Returns the exit code."""
    if sys.stdout is None:  # closed by the caller, who does not want to read
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    return run(sys.argv[1:])
