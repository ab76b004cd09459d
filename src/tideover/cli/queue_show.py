"""`tideover queue show ID`: one message, its envelope and its recipients."""

import codecs
import io
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tideover.cli.options import config_option, json_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tideover.control.protocol import Item
    from tideover.message.envelope import Evidence
    from tideover.spool.interface import StoredMessage

_MAX_HEADERS = 1024 * 1024


@click.command("show")
@click.argument("queue_id", metavar="ID")
@click.option(
    "--body", "what", flag_value="body", help="Print the whole message as it would be sent."
)
@click.option("--headers", "what", flag_value="headers", help="Print its header section only.")
@config_option
@json_option
def queue_show(queue_id: str, what: str | None, config: Path, as_json: bool) -> None:
    """Show one message, its origin and its recipients."""
    from tideover.cli.asking import ask
    from tideover.control.protocol import Body, MessageDetail, Show
    from tideover.message.envelope import QueueId

    if what and as_json:
        raise click.UsageError("--json can't go together with --body or --headers.")
    if what:
        _copy(ask(config, Body(id=QueueId(queue_id))), headers_only=what == "headers")
        return
    answer = ask(config, Show(id=QueueId(queue_id)))
    message = next(item.message for item in answer if isinstance(item, MessageDetail))
    if as_json:
        _print_json(message)
    else:
        _print(message)


def _copy(answer: "Iterator[Item]", *, headers_only: bool) -> None:
    """Write the message to stdout: its octets, unchanged, but for a terminal, which they could
    steer.
    """
    from tideover.control.protocol import Piece

    write = _to_terminal() if _on_terminal() else sys.stdout.buffer.write
    seen = b""
    for item in answer:
        if not isinstance(item, Piece):
            continue
        if not headers_only:
            write(item.data)
            continue
        seen += item.data
        end = seen.find(b"\r\n\r\n")
        if end >= 0 or len(seen) > _MAX_HEADERS:
            seen = seen[: end + 2 if end >= 0 else _MAX_HEADERS]
            break
    write(seen)
    sys.stdout.flush()


def _on_terminal() -> bool:
    return sys.stdout.isatty()


def _to_terminal() -> "Callable[[bytes], object]":
    """Writes octets as text without control characters, in lines."""
    from tideover.cli import output

    utf8 = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    decoder = io.IncrementalNewlineDecoder(utf8, translate=True)

    def write(data: bytes) -> None:
        for piece in re.split("([\\n\\t])", decoder.decode(data)):
            sys.stdout.write(piece if piece in ("\n", "\t") else output.printable(piece))

    return write


def _print_json(message: "StoredMessage") -> None:
    from tideover.cli import output
    from tideover.cli.messages import recipient_json
    from tideover.control.reading import recipient_info

    envelope, client = message.envelope, message.client
    output.json(
        {
            "id": message.queue_id,
            "sender": envelope.sender,
            "size": message.size,
            "received_at": output.iso(message.received_at),
            "envelope": {"body": envelope.body, "smtputf8": envelope.smtputf8,
                         "ret": envelope.ret, "envid": envelope.envid},
            "client": client,
            "evidence": message.evidence,
            "recipients": [
                recipient_json(recipient_info(row), reason=True) for row in message.recipients
            ],
        }
    )  # fmt: skip


def _sender(evidence: "Evidence") -> str:
    """Whether reports may go to the sender, and why."""
    known = "authenticated" if evidence.sender_authenticated else "not authenticated"
    return f"{known}: {evidence.authentication}" if evidence.authentication else known


def _print(message: "StoredMessage") -> None:
    from tideover.cli import output

    client = message.client
    tls = f", {client.tls}" if client.tls else ""
    for name, text in (
        ("id", message.queue_id),
        ("received", output.local(message.received_at)),
        ("from", message.envelope.sender or "<>"),
        ("size", output.octets(message.size)),
        ("client", f"{client.helo} [{client.address}]:{client.port} by {client.protocol}{tls}"),
        ("session", client.session),
        ("sender", _sender(message.evidence)),
    ):
        click.echo(f"{name:<9} {output.printable(text)}")
    click.echo("")
    output.table(
        ("~recipient", "state", ">tries", "next try", "~reason or last reply"),
        (
            (
                row.address,
                str(row.state),
                str(row.attempts),
                output.local(row.not_before or None),
                row.reason or row.last_reply or "",
            )
            for row in message.recipients
        ),
    )
