"""Events to JSON lines and back. The level stands in the line, so that a program can filter."""

from functools import cache
from typing import Any

import msgspec

from tideover.events import (
    agent_records,
    client_records,
    delivery_records,
    domain_records,
    handover_records,
    pass_records,
    policy_records,
    recipient_records,
    records,
    trap_records,
)
from tideover.events.event import Event

_MODULES = (
    records,
    recipient_records,
    domain_records,
    delivery_records,
    agent_records,
    client_records,
    pass_records,
    handover_records,
    policy_records,
    trap_records,
)

LEVELS = ("debug", "info", "warning", "error")
"""From least to most; a log shows its level and all after it."""

RANK = {name: rank for rank, name in enumerate(LEVELS)}

_encode = msgspec.json.Encoder().encode


class _Prefixes(dict[type[Event], bytes]):
    """The line's start for each record: computed once, as it is the same for all of its kind."""

    def __missing__(self, kind: type[Event]) -> bytes:
        self[kind] = b'{"level":"' + kind.level.encode() + b'",'
        return self[kind]


_prefixes = _Prefixes()


def encode(event: Event) -> bytes:
    """One event as one line of JSON, with its line end. Never raises for what strangers sent."""
    try:
        return _prefixes[type(event)] + _encode(event)[1:] + b"\n"
    except UnicodeEncodeError:  # a lone surrogate in some text
        return _prefixes[type(event)] + _encode(_printable(msgspec.to_builtins(event)))[1:] + b"\n"


def _printable(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, (list, tuple)):
        return [_printable(item) for item in value]
    if isinstance(value, dict):
        return {key: _printable(item) for key, item in value.items()}
    return value


def decode(line: bytes) -> dict[str, Any] | None:
    """A line as it was written; None when it is torn or no event.

    A plain table, not a record: an older or newer release may have written it.
    """
    try:
        event = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return event if isinstance(event, dict) and "event" in event and "time" in event else None


@cache
def kinds() -> tuple[type[Event], ...]:
    """All record types, in the order in which their files define them."""
    return tuple(
        item
        for module in _MODULES
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, Event) and item is not Event
    )
