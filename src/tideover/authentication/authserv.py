"""Authentication-Results fields that others wrote, read (RFC 8601 §2.2): who claims to speak, and
what is said. They come from strangers: nothing in them is believed here.
"""

import re
from typing import Final

from msgspec import Struct

from tideover.config.values import parse_domain
from tideover.message.edits import Edits, Remove
from tideover.message.fields import HeaderSection
from tideover.message.structured import Kind, pieces_of

_FIELD: Final = b"authentication-results"
_MAX: Final = 16 * 1024
_STATEMENTS: Final = 50  # in one field; more are not looked at
_CONTROLS: Final = dict.fromkeys([n for n in range(32) if chr(n) not in "\t\r\n"] + [127], None)
_PAIR: Final = re.compile(r"(?<![\w.-])([\w.-]+)(?:\s*/\s*\d+)?\s*=\s*([^\s=]*)", re.ASCII)


class Statement(Struct, frozen=True):
    """One result of one method, in lower case; `properties` such as "header.from" by name, of a
    quoted one only the first word.
    """

    method: str
    result: str
    properties: dict[str, str]


def authserv_id_of(value: bytes) -> str:
    """The authserv-id of a field's value in lower case, "" when there is none (§2.5)."""
    words = _uncommented(_text(value)).partition(";")[0].split(None, 1) or [""]
    name = words[0].partition("/")[0].rstrip(".").lower()  # a version may follow
    if name.isascii():
        return name
    try:
        return parse_domain(name)
    except ValueError:
        return name


def forged(header: HeaderSection, hostname: str) -> Edits:
    """The edits that remove each Authentication-Results field that claims to be ours (§5).

    To be applied before all others: occurrences are those of the section as it came. The lowest
    goes first, so that the numbers of those above stay right.
    """
    found = [
        Remove(field.name, occurrence)
        for occurrence, field in enumerate(header.all(_FIELD), start=1)
        if _claims(field.value, hostname.lower())
    ]
    return tuple(reversed(found))


def statements_of(text: str) -> tuple[Statement, ...]:
    """What a field's value (its authserv-id included) says, in its order."""
    return tuple(
        Statement(pairs[0][0], pairs[0][1], dict(reversed(pairs[1:])))
        for part in _uncommented(text[:_MAX]).split(";")[1 : _STATEMENTS + 1]
        if (pairs := [(name.lower(), text.lower()) for name, text in _PAIR.findall(part)])
    )


def _claims(value: bytes, hostname: str) -> bool:
    if authserv_id_of(value) == hostname:
        return True
    text = _text(value)
    return pieces_of(text).odd and hostname in text.lower()


def _text(value: bytes) -> str:
    return value[:_MAX].decode("utf-8", "surrogateescape").translate(_CONTROLS)


def _uncommented(text: str) -> str:
    """The text without comments; in quoted strings, what would end a statement is left out."""
    return "".join(
        {
            Kind.TEXT: piece.value,
            Kind.QUOTED: piece.value.replace(";", " ").replace("=", " "),
            Kind.COMMENT: " ",
        }[piece.kind]
        for piece in pieces_of(text).pieces
    )
