"""Structured header fields taken apart: what is text, quoted string and comment (RFC 5322 §3.2).

Nothing is refused. Where readers are known to disagree about what is quoted, the result is marked
`odd`, and who must not be deceived has to look at all of it.
"""

import re
from enum import StrEnum, auto
from typing import Final

from msgspec import Struct

_SPECIAL: Final = re.compile(r'["()\\]')
_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)


class Kind(StrEnum):
    """What a piece is. TEXT is all that is neither quoted nor a comment."""

    TEXT = auto()
    QUOTED = auto()
    COMMENT = auto()


class Piece(Struct, frozen=True):
    """`value` without the quotes or parentheses around it and without its quoting backslashes."""

    kind: Kind
    value: str


class Pieces(Struct, frozen=True):
    """All pieces in order. `odd`: something has no end, or there are escapes or nested comments
    that simple readers take for an end.
    """

    pieces: tuple[Piece, ...]
    odd: bool = False


def pieces_of(value: str) -> Pieces:
    """Take a field's value apart, in linear time."""
    pieces: list[Piece] = []
    kind, depth, start, skip, odd = Kind.TEXT, 0, 0, 0, False

    def end(at: int) -> None:
        if at > start or kind is not Kind.TEXT:
            inner = value[start:at]
            pieces.append(Piece(kind, inner if kind is Kind.TEXT else _PAIR.sub(r"\1", inner)))

    for match in _SPECIAL.finditer(value):
        at, special = match.start(), match[0]
        if at < skip:
            continue
        if special == "\\":
            skip = at + 2
            odd = odd or kind is not Kind.QUOTED or value[at + 1 : skip] == '"'
        elif kind is Kind.QUOTED:
            if special == '"':
                end(at)
                kind, start = Kind.TEXT, at + 1
        elif kind is Kind.COMMENT:
            depth += {"(": 1, ")": -1}.get(special, 0)
            odd = odd or special == "("
            if depth == 0:
                end(at)
                kind, start = Kind.TEXT, at + 1
        elif special == ")":
            odd = True
        else:
            end(at)
            kind, start = (Kind.QUOTED, at + 1) if special == '"' else (Kind.COMMENT, at + 1)
            depth = 1
    end(len(value))
    return Pieces(tuple(pieces), odd or kind is not Kind.TEXT)
