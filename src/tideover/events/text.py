"""An event as one line for people: local time, level, name, then what it is about."""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from time import localtime, strftime
from typing import Any

import msgspec

from tideover.events.event import Event

_COLOURS = {"debug": "\x1b[2m", "info": "", "warning": "\x1b[33m", "error": "\x1b[31m"}
_RESET = "\x1b[0m"
_NAME_WIDTH = 18
_FIRST = ("message", "session", "domain", "destination", "client", "sender", "recipients")
_WORD = re.compile(r"[^\s\"=,]+")
_TIMES = frozenset(("next_attempt", "until"))
_SKIPPED = frozenset(("event", "level", "time", *_FIRST))


def render(event: Mapping[str, Any], *, date: bool = False, colour: bool = False) -> str:
    """`10:51:02.123 info    delivered          message=… domain=…`, without line end."""
    level = str(event.get("level", "info"))
    second, part = divmod(float(event["time"]), 1)
    time = f"{_local(second, date)}.{int(part * 1000):03d}"
    if "checks" in event:
        event = {**event, "checks": [one for c in event["checks"] for one in c.get("found", ())]}
    names = [name for name in _FIRST if name in event]
    names += [name for name in event if name not in _SKIPPED]
    details = " ".join(f"{name}={_named(name, event[name])}" for name in names)
    line = f"{time} {level:<7} {event['event']!s:<{_NAME_WIDTH}} {details}"
    start = _COLOURS.get(level, "") if colour else ""
    return f"{start}{line}{_RESET}" if start else line


def check_lines(event: Mapping[str, Any]) -> Iterator[str]:
    """The checks of a `policy-judged` event, one a line: stage, time, what was found and why."""
    for check in event.get("checks", ()):
        found = " ".join(check.get("found", ())) or ("undecided" if "undecided" in check else "ok")
        why = [*check.get("reasons", ()), *filter(None, [check.get("undecided")])]
        told = [_value(check["evidence"])] if check.get("evidence") else []
        details = "  ".join([_printable("; ".join(why)), *told]).strip()
        where = f"{check['check']:<14} {check['stage']:<8} {float(check['ms']):8.2f} ms"
        yield f"    {_printable(where)}  {_printable(found):<24} {details}".rstrip()


@lru_cache(maxsize=4)
def _local(second: float, date: bool) -> str:
    """Local time of a second; the log shows many events of each."""
    return strftime("%Y-%m-%d %H:%M:%S" if date else "%H:%M:%S", localtime(second))


def _named(name: str, value: Any) -> str:  # noqa: ANN401 - any JSON value
    if name in _TIMES and isinstance(value, float):
        return _value(_local(value // 1, date=True))
    return _value(value)


def _value(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """A value that stays one word or is quoted, and can't steer the terminal."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, Mapping):
        return " ".join(f"{name}={_value(item)}" for name, item in value.items())
    elif isinstance(value, (list, tuple)):
        return ",".join(map(_value, value)) or '""'
    else:
        text = f"{value:.3f}" if isinstance(value, float) else str(value)
    text = _printable(text)
    return text if _WORD.fullmatch(text) else '"' + text.replace('"', '\\"') + '"'


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def text_renderer(*, colour: bool) -> Callable[[Event, bytes], bytes]:
    """The `Render` of the text log."""

    def as_text(event: Event, _: bytes) -> bytes:
        fields = msgspec.to_builtins(event)
        fields["level"] = event.level
        return (render(fields, colour=colour) + "\n").encode("utf-8", "replace")

    return as_text
