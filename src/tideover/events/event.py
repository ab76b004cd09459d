"""What every record of a happening is.

The records are the product's public log format: names and fields are stable. JSON log, event store
(`tideover explain`), and later metrics and console are sinks of one stream of them. Each record
gets `time` (Unix seconds) when it is made; `message` is a queue id, `session` a session id.
"""

from collections.abc import Callable
from typing import ClassVar

from msgspec import Struct, field

from tideover.events.clock import now


def _name(class_name: str) -> str:
    """`MessageAccepted` -> `message-accepted`."""
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in class_name).lstrip("-")


class Event(Struct, frozen=True, kw_only=True, tag_field="event", tag=_name, omit_defaults=True):
    """Base of all records. `level` is "debug", "info", "warning" or "error"."""

    level: ClassVar[str] = "info"

    time: float = field(default_factory=now)


EventSink = Callable[[Event], None]
"""Takes an event; returns at once and never raises."""
