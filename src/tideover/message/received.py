"""The one header line that we prepend: Received (RFC 5321 §4.4). Return-Path never.

Everything a client chose is reduced to what the grammar allows, so that no HELO name or address
can end the line or forge another.
"""

import re

from tideover.message.dates import rfc5322_date
from tideover.message.envelope import Client, Envelope, QueueId

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9])?|\[[A-Za-z0-9.:]{1,60}\]")
_PLAIN = re.compile(r"[\x21-\x7e]+")


def address_literal(address: str) -> str:
    """An IP address as RFC 5321 §4.1.3 writes it."""
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def received(
    queue_id: QueueId, envelope: Envelope, client: Client, *, hostname: str, time: float
) -> bytes:
    """The Received field, folded, each line ended by CRLF.

    `time` is Unix time. The recipient is named only when there is one (a "for" with several would
    tell each of the others, RFC 5321 §7.6).
    """
    literal = address_literal(client.address)
    name = client.helo if _NAME.fullmatch(client.helo) else literal
    tls = f" ({client.tls})" if client.tls else ""
    only = envelope.recipients[0].address if len(envelope.recipients) == 1 else ""
    to = f"\r\n\tfor <{only}>" if _PLAIN.fullmatch(only) or (only and envelope.smtputf8) else ""
    return (
        f"Received: from {name} ({literal})\r\n"
        f"\tby {hostname} with {client.protocol}{tls}\r\n"
        f"\tid {queue_id}{to};\r\n"
        f"\t{rfc5322_date(time)}\r\n"
    ).encode()
