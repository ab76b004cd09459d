"""Messages as listings print them: the JSON of the contract, and rows of a table."""

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tideover.control.protocol import Item, MessageInfo, RecipientInfo


def message_json(message: "MessageInfo", *, reason: bool = False) -> dict[str, Any]:
    """One message as `--json` shows it; with `reason`, why each recipient is held or dead."""
    from tideover.cli import output

    return {
        "id": message.id,
        "sender": message.sender,
        "size": message.size,
        "received_at": output.iso(message.received_at),
        "recipients": [recipient_json(r, reason=reason) for r in message.recipients],
    }


def recipient_json(recipient: "RecipientInfo", *, reason: bool) -> dict[str, Any]:
    """One recipient as `--json` shows it."""
    from tideover.cli import output

    fields = {
        "address": recipient.address,
        "state": recipient.state,
        "attempts": recipient.attempts,
        "next_attempt": output.iso(recipient.next_attempt),
        "last_reply": recipient.last_reply,
    }
    return fields | ({"reason": recipient.reason} if reason else {})


def only_messages(items: "Iterable[Item]") -> "Iterator[MessageInfo]":
    """The messages of an answer."""
    from tideover.control.protocol import MessageInfo

    return (item for item in items if isinstance(item, MessageInfo))


def print_messages(messages: "Iterable[MessageInfo]", limit: int, *, reason: bool) -> int:
    """Print a table with a row a recipient, of at most `limit` messages. Returns how many."""
    from tideover.cli import output

    now = time.time()
    rows: list[tuple[str, ...]] = []
    count = 0
    more = False
    for message in messages:
        if count == limit:
            more = True
            break
        count += 1
        start = (message.id, output.age(now - message.received_at), output.octets(message.size),
                 message.sender or "<>")  # fmt: skip
        for number, recipient in enumerate(message.recipients):
            told = recipient.reason if reason and recipient.reason else recipient.last_reply
            end = (recipient.address, recipient.state, str(recipient.attempts), told or "")
            rows.append((*(start if number == 0 else ("", "", "", "")), *end))
    columns = ("id", ">age", ">size", "~sender", "~recipient", "state", ">tries")
    if rows:
        output.table((*columns, "~reason" if reason else "~last reply"), rows)
    if more:
        click.echo(f"Only the first {limit} messages are shown: narrow it down, or use --limit.")
    return count
