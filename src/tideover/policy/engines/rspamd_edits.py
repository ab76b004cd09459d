"""Header edits that rspamd asks for ("milter" of its answer), in all forms that its modules use.

Names and values become what a header section may hold: nothing in them can end a line or begin
another field. What can't be made so is left out.
"""

import re
from collections.abc import Iterator, Mapping
from email.header import Header
from itertools import islice
from typing import Any, Final

from tideover.message.edits import Add, Change, Edit, Edits, Remove
from tideover.message.fields import HeaderSection

MOST: Final = 100
"""Edits of one message."""

_LONGEST: Final = 16 * 1024
_LINE: Final = 900
_NAME: Final = re.compile(r"[!-9;-~]{1,76}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f]")
_LINE_END: Final = re.compile(r"\r\n|\r|\n")


def header_edits(milter: Mapping[str, Any], header: HeaderSection, *, smtputf8: bool) -> Edits:
    """Removals, then additions, as rspamd's own milter does them. At most `MOST`."""
    edits = (*_removals(milter, header), *_additions(milter, header, smtputf8))
    return edits[:MOST]


def subject_edits(subject: str, header: HeaderSection, *, smtputf8: bool) -> Edits:
    """The edit that gives the message this subject; none if it can't be written."""
    value = _value(subject, smtputf8)
    if value is None:
        return ()
    known = header.first(b"subject") is not None
    return (Change(b"Subject", 1, value) if known else Add(b"Subject", value),)


def _removals(milter: Mapping[str, Any], header: HeaderSection) -> Iterator[Edit]:
    """{name: occurrence or list of them}; 0 is all of them. Those that are there already."""
    present = {field.key for field in header.fields}
    for name, wanted in _items(milter.get("remove_headers")):
        key = name.encode()
        if key.lower() not in present:
            continue  # it asks for X-Spam with every message
        numbers = {int(n) for n in _list(wanted) if isinstance(n, int | float) and abs(n) <= 10_000}
        above = 1 if key.lower() == b"received" else 0  # the one that we showed above the message
        for number in sorted(numbers, reverse=True):  # from below: the others keep their place
            if number <= 0:
                yield Remove(key, number)
            elif number > above:
                yield Remove(key, number - above)


def _additions(milter: Mapping[str, Any], header: HeaderSection, smtputf8: bool) -> Iterator[Edit]:
    """{name: value, or {"value": value, "order": place}, or a list of both}."""
    for name, wanted in _items(milter.get("add_headers")):
        for one in _list(wanted):
            fields = one if isinstance(one, dict) else {"value": one}
            text = fields.get("value")
            if isinstance(text, bool) or not isinstance(text, str | int | float):
                continue
            value = _value(str(text), smtputf8)
            if value is not None:
                order = fields.get("order", fields.get("index"))
                yield Add(name.encode(), value, _place(order, len(header.fields)))


def _place(order: object, fields: int) -> int | None:
    """Fields above it: `order` counts our Received field, negative ones count from below.

    0 and 1 are the top: above or below our Received field is the same to everybody, and so the
    header section need not be written anew.
    """
    if isinstance(order, bool) or not isinstance(order, int | float) or not abs(order) <= 10_000:
        return None
    number = int(order)
    if number < 0:
        return max(0, fields + number + 1)
    return min(number - 1, fields) if number > 1 else None


def _items(table: object) -> Iterator[tuple[str, Any]]:
    if isinstance(table, dict):
        known = ((name, value) for name, value in table.items() if _NAME.fullmatch(name))
        yield from islice(known, MOST)


def _list(wanted: object) -> list[Any]:
    return wanted[:MOST] if isinstance(wanted, list) else [wanted]


def _value(text: str, smtputf8: bool) -> bytes | None:
    """A field's value, folded where it has lines; None when it can't stand in a header section.

    White space stays as it is: the field may be signed.
    """
    if len(text) > _LONGEST:
        return None
    first, *more = _LINE_END.split(_CONTROL.sub("", text))
    lines = [first, *(line if line[:1] in (" ", "\t") else f"\t{line}" for line in more)]
    folded = "\r\n".join(line for line in lines if line.strip(" \t"))
    if not folded.isascii() and not smtputf8:
        folded = Header(" ".join(folded.split()), "utf-8").encode(linesep="\r\n")
    value = folded.encode("utf-8", "replace")
    return value if all(len(line) <= _LINE for line in value.split(b"\r\n")) else None
