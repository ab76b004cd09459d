"""`tideover recipients lookup ADDRESS`: what is known of it, and would we take mail for it?"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tideover.cli.options import config_option, json_option
from tideover.cli.trouble import BAD, GOOD

if TYPE_CHECKING:
    from tideover.control.protocol import AddressInfo, Answer
    from tideover.recipients.report import SourceSays

_MEANING = {
    "accept": "is accepted",
    "swallow": "is a honeypot: RCPT hears 250, and the mail is dropped",
    "defer": "is deferred: it can't be said now whether it exists",
    "reject": "is refused",
    "foreign": "is not in a domain of ours",
    "closed": "is refused: its domain takes no mail at all",
}
_OK = 250
_SILENCE = {
    "no-such": "does not exist",
    "nothing": "knows nothing of it",
    "unsure": "can't say now",
}


@click.command("lookup")
@click.argument("address")
@config_option
@json_option
@click.pass_context
def recipients_lookup(ctx: click.Context, address: str, config: Path, as_json: bool) -> None:
    """Say what each source knows of an address.

    And what a client hears for it, while the primary is up (`when_primary_up` says who answers
    then; --json gives our own answer) and while it is down. Works while the daemon does not run,
    with files and last good copies.

    Exit code 0: mail for it would be taken now; 1: it would not.
    """
    from tideover.cli import output
    from tideover.cli.asking import ask
    from tideover.control.protocol import AddressInfo, Lookup

    found = next(i for i in ask(config, Lookup(address=address)) if isinstance(i, AddressInfo))
    if as_json:
        output.json(_as_json(found))
    else:
        _print(found)
    ctx.exit(GOOD if found.now.verdict == "accept" else BAD)


def _as_json(found: "AddressInfo") -> dict[str, Any]:
    from tideover.cli import output

    return {
        "address": found.address,
        "domain": found.now.domain,
        "verdict": found.now.verdict,
        "confidence": found.now.confidence,
        "source": found.now.source,
        "reason": found.now.reason,
        "max_size": found.now.max_size,
        "when_primary_up": found.posture,
        "answer": {
            "primary_up": _answer_json(found.primary_up),
            "primary_down": _answer_json(found.primary_down),
        },
        "sources": [
            {name: getattr(says, name) for name in says.__struct_fields__}
            | {"at": output.iso(says.at), "loaded_at": output.iso(says.loaded_at)}
            for says in found.sources
        ],
    }


def _answer_json(answer: "Answer") -> dict[str, Any]:
    return {
        "code": answer.code,
        "enhanced": answer.enhanced,
        "text": answer.text,
        "verdict": answer.finding.verdict,
        "reason": answer.finding.reason,
    }


def _while_up(found: "AddressInfo") -> tuple[str, str]:
    """What a client hears while the primary is up, and why."""
    ours, posture = _reply(found.primary_up), found.posture
    if posture is None or posture == "accept":
        return ours, found.primary_up.finding.reason
    because = f'when_primary_up = "{posture}"'
    if posture == "pass-through":
        return "what the primary says", because
    deferred = "450 4.3.2 (go to the primary)" if found.primary_up.code == _OK else ours
    if posture == "defer":
        return deferred, because
    return f"what the primary says, or {deferred} where it grants no XCLIENT", because


def _print(found: "AddressInfo") -> None:
    from tideover.cli import output

    now = found.now
    by = f" by {now.source}" if now.source and now.verdict in ("accept", "reject") else ""
    known = f" ({now.confidence}{by})" if now.domain else ""
    reason = f": {now.reason}" if now.reason and now.verdict != "foreign" else ""
    meaning = _MEANING.get(now.verdict, str(now.verdict))
    click.echo(output.printable(f"{found.address} {meaning}{known}{reason}"))
    click.echo()
    output.table(
        ("a client hears", "~reply", "~because"),
        (
            ("primary up", *_while_up(found)),
            ("primary down", _reply(found.primary_down), found.primary_down.finding.reason),
        ),
    )
    if found.sources:
        click.echo()
        output.table(
            ("~source", "says", "~matched", "said", "read", "~trouble"),
            [_row(says, time.time()) for says in found.sources],
        )


def _reply(answer: "Answer") -> str:
    enhanced = f"{answer.enhanced} " if answer.enhanced else ""
    return f"{answer.code} {enhanced}{answer.text}"


def _row(says: "SourceSays", now: float) -> tuple[str, ...]:
    from tideover.cli import output

    said = says.confidence
    if says.silence is not None:
        said = _SILENCE.get(says.silence, says.silence)
    return (
        says.source,
        said,
        says.matched or "",
        f"{output.age(now - says.at)} ago" if says.at is not None else "",
        f"{output.age(now - says.loaded_at)} ago" if says.loaded_at is not None else "",
        says.trouble or "",
    )
