"""The header section of a message, as it was written (RFC 5322 §2.2), for those who look at it.

Nothing is decoded or mended here: names and values are the octets that came.
"""

import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

MOST_FIELDS: Final = 2000
"""So many fields of a section are looked at."""

_LINE_END: Final = re.compile(rb"\r\n(?![ \t])")  # that folds nothing
_NAME: Final = re.compile(rb"[!-9;-~]+")  # RFC 5322 §3.6.8: printable US-ASCII but the colon


class Field(Struct, frozen=True):
    """One header field. `name` as written, `value` what follows the colon, folded, without the
    final CRLF; `raw` is the whole field with it. `key` is the name in lower case.
    """

    name: bytes
    value: bytes
    raw: bytes

    @property
    def key(self) -> bytes:
        """The name in lower case."""
        return self.name.lower()


class HeaderSection(Struct, frozen=True):
    """All fields in order, and where the body begins.

    `length` are the octets of the section with the empty line that ends it; all of the message
    when there is none (`ended` tells). `broken` are lines that are no field: they end the section,
    as other servers and filters read it. `begins_folded`: the first of them begins with white
    space, so that it goes on with whatever field is put above it.
    `complete` is False when the section is longer than what was looked at, or has more fields.
    """

    fields: tuple[Field, ...]
    length: int
    broken: int = 0
    complete: bool = True
    ended: bool = False
    begins_folded: bool = False

    def all(self, name: bytes) -> Iterator[Field]:
        """The fields of this name (lower case), in order."""
        return (field for field in self.fields if field.name.lower() == name)

    def first(self, name: bytes) -> Field | None:
        """The topmost field of this name (lower case), or None."""
        return next(self.all(name), None)


def parse_header(head: bytes, *, whole: bool) -> HeaderSection:
    """The header section at the beginning of `head`; `whole`: nothing follows `head`.

    Only CRLF ends a line, as the session made sure. A line that is neither a field nor folded ends
    the section before it.
    """
    fields: list[Field] = []
    start, end = 0, len(head)
    while start < end:
        if head.startswith(b"\r\n", start):
            return HeaderSection(tuple(fields), start + 2, ended=True)
        if len(fields) == MOST_FIELDS:
            return HeaderSection(tuple(fields), start, complete=False)
        found = _LINE_END.search(head, start)
        stop = end if found is None else found.end()
        if stop == end and not whole:  # more may follow, or fold it
            return HeaderSection(tuple(fields), start, complete=False)
        raw = head[start:stop]
        name, colon, value = raw.partition(b":")
        bare = name.rstrip(b" \t")
        if not colon or not _NAME.fullmatch(bare):
            folded = not start and head[:1] in (b" ", b"\t")
            return HeaderSection(tuple(fields), start, broken=1, begins_folded=folded)
        fields.append(Field(bare, value.removesuffix(b"\r\n"), raw))
        start = stop
    return HeaderSection(tuple(fields), end, complete=whole)
