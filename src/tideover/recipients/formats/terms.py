"""What may stand behind an entry of a plain list: `honeypot max_size=10MiB expires=2026-12-31
reject="has moved"`.

`expires` is a date (midnight UTC at its start), a time by RFC 3339, or `@` and Unix seconds: from
then on the entry counts no more.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from tideover.config.values import parse_size, write_size
from tideover.recipients.formats.entry import EntryError, check_text
from tideover.recipients.interface import NO_TERMS, Terms

MAX_REJECT: Final = 200
REFUSED: Final = "Recipient address rejected"
"""What is said where a source refuses without a text."""
_TERM: Final = re.compile(r'\s+(?:([A-Za-z_-]+)(?:=("(?:[^"\\]|\\.)*"|[^\s"]*))?(?=\s|$)|(#.*)$)')
_ESCAPED: Final = re.compile(r"\\(.)")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)")
_UNIX: Final = re.compile(r"@-?\d{1,13}(?:\.\d{1,9})?")
_FAR: Final = 1e12


@lru_cache(maxsize=1024)  # a list says the same of many
def parse_terms(text: str) -> Terms:
    """What stands behind an entry, white space and all; a comment may follow.

    Raises:
        EntryError: it can't be understood.
    """
    check_text(text)
    text = text.rstrip()
    found: dict[str, bool | int | str | float] = {}
    end = 0
    while end < len(text):
        term = _TERM.match(text, end)
        if term is None:
            raise EntryError('something behind the address that is not like NAME or NAME="VALUE"')
        end = term.end()
        name, value, comment = term.groups()
        if comment is None:
            if name in found:
                raise EntryError(f"{name[:20]} twice")
            found[name] = _value(name, value)
    return Terms(**found) if found else NO_TERMS  # type: ignore[arg-type]


def _value(name: str, value: str | None) -> bool | int | str | float:
    if value is not None and value[:1] == '"':
        value = _ESCAPED.sub(r"\1", value[1:-1])
    match name, value:
        case "honeypot", None:
            return True
        case "max_size", str():
            try:
                return parse_size(int(value) if re.fullmatch(r"[0-9]{1,19}", value) else value)
            except ValueError as error:
                raise EntryError(f"max_size: {error}") from None
        case "expires", str():
            return _moment(value)
        case "reject", str():
            if not value or len(value) > MAX_REJECT or not value.isprintable():
                raise EntryError(f"reject needs a text of at most {MAX_REJECT} printable signs")
            return value
        case (("honeypot" | "max_size" | "expires" | "reject"), _):
            raise EntryError(f"{name} {'takes no' if name == 'honeypot' else 'needs a'} value")
        case _:
            known = "honeypot, max_size, expires and reject"
            raise EntryError(f"{name[:20]!r} is none of {known}")


def _moment(text: str) -> float:
    """Unix seconds."""
    try:
        if _UNIX.fullmatch(text):
            return float(text[1:])
        if _DATE.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        pass
    raise EntryError("expires is written like 2026-12-31 or 2026-12-31T23:59:59Z")


def write_terms(terms: Terms) -> str:
    """What `parse_terms` reads as the same; "" when there is nothing to say."""
    return "".join(f" {term}" for term in _written(terms))


def _written(terms: Terms) -> Iterator[str]:
    if terms.honeypot:
        yield "honeypot"
    if terms.max_size is not None:
        yield f"max_size={write_size(terms.max_size)}"
    if terms.expires is not None and terms.expires < _FAR:
        yield f"expires=@{max(terms.expires, -_FAR):.6f}"
    if terms.reject is not None:
        text = one_line(terms.reject).replace("\\", r"\\").replace('"', r"\"")
        yield f'reject="{text}"'


def one_line(text: str) -> str:
    """A text of a source as a client may hear it: printable, of one line, not too long."""
    shown = "".join(sign if sign.isprintable() else " " for sign in text)
    return " ".join(shown.split())[:MAX_REJECT].rstrip() or REFUSED
