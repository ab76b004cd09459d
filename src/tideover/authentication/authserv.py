"""Authentication-Results fields that others wrote, read (RFC 8601 §2.2): who claims to speak, and
what is said. They come from strangers: nothing in them is believed here.
"""

import re
from typing import Final

from msgspec import Struct

from tideover.config.values import parse_domain
from tideover.message.edits import Drop, Edits
from tideover.message.fields import HeaderSection
from tideover.message.structured import Kind, pieces_of

_FIELD: Final = b"authentication-results"
_MAX: Final = 16 * 1024  # octets of one that a trusted sealer wrote

# All of them that a message comes with; nobody honest writes more.
_MOST_FIELDS: Final = 50
_MOST_OCTETS: Final = 64 * 1024
_MOST_SPECIALS: Final = 1000  # parentheses, quotes and backslashes: each costs time
_SPECIAL: Final = re.compile(rb'["()\\]')
_ENDS: Final = {ord(end): " " for end in ";="}
_STATEMENTS: Final = 50  # in one field; more are not looked at
_CONTROLS: Final = dict.fromkeys([n for n in range(32) if chr(n) not in "\t\r\n"] + [127], None)
_BEHIND: Final = re.compile(r"\.?(?:/?\d+)?(?:;|\Z)")  # a version may follow the name
_COMMENT: Final = re.compile(rb"\([^()\\]*\)")
_UNSEEN: Final = bytes(octet for octet in range(256) if not 33 <= octet <= 126)
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
    return _id_in(_uncommented(_text(value)))


def _id_in(text: str) -> str:
    words = text.partition(";")[0].split(None, 1) or [""]
    name = words[0].partition("/")[0].rstrip(".").lower()  # a version may follow
    if name.isascii():
        return name
    try:
        return parse_domain(name)
    except ValueError:
        return name


def forged(header: HeaderSection, hostname: str) -> Edits:
    """The edit that removes each Authentication-Results field that claims to be ours (§5); or all
    of them, when there are more than could be looked at.
    """
    fields = tuple(header.all(_FIELD))
    if not fields:
        return ()
    values = [field.value for field in fields]
    if (
        len(values) > _MOST_FIELDS
        or sum(map(len, values)) > _MOST_OCTETS
        or sum(len(_SPECIAL.findall(value)) for value in values) > _MOST_SPECIALS
    ):
        return (Drop(fields),)
    ours = tuple(field for field in fields if _claims(field.value, hostname.lower()))
    return (Drop(ours),) if ours else ()


def may_hold_forged(text: bytes, hostname: str) -> bool:
    """Whether text that is no header section, but that somebody could take for one, may have an
    Authentication-Results field in our name. In doubt it does.
    """
    name = hostname.lower().encode()
    lower = text.lower()
    plain = lower.translate(None, _UNSEEN)
    if _FIELD not in plain:
        return False
    if name in plain or plain.count(b"(") > _MOST_SPECIALS:
        return True
    return name in _COMMENT.sub(b"", lower).translate(None, _UNSEEN)


def statements_of(text: str) -> tuple[Statement, ...]:
    """What a field's value (its authserv-id included) says, in its order."""
    return tuple(
        Statement(pairs[0][0], pairs[0][1], dict(reversed(pairs[1:])))
        for part in _uncommented(text[:_MAX]).split(";")[1 : _STATEMENTS + 1]
        if (pairs := [(name.lower(), text.lower()) for name, text in _PAIR.findall(part)])
    )


def _claims(value: bytes, hostname: str) -> bool:
    text = _text(value)
    spaced, joined = _uncommented(text), _uncommented(text, between="")
    if hostname in (_id_in(spaced), _id_in(joined)):
        return True
    flat = "".join(joined.split()).lower()
    if pieces_of(text).odd:
        return hostname in text.lower() or hostname in flat
    # white space within the name: some readers leave it out
    return flat.startswith(hostname) and _BEHIND.match(flat, len(hostname)) is not None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape").translate(_CONTROLS)


def _uncommented(text: str, *, between: str = " ") -> str:
    """The text with `between` in place of comments; in quoted strings, what would end a statement
    is left out.
    """
    parts = []
    for piece in pieces_of(text).pieces:
        match piece.kind:
            case Kind.TEXT:
                parts.append(piece.value)
            case Kind.QUOTED:
                parts.append(piece.value.translate(_ENDS))
            case Kind.COMMENT:
                parts.append(between)
    return "".join(parts)
