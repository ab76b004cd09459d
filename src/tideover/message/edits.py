"""Changes to a header section that a filter asked for, and their application.

The body is never touched. Fields are added at the top, where trace fields belong, unless a place is
asked for.
"""

from collections.abc import Iterable

from msgspec import Struct

from tideover.message.fields import Field, HeaderSection


class Add(Struct, frozen=True):
    """A new field. `place` counts the fields above it in the header section; None: above all."""

    name: bytes
    value: bytes
    place: int | None = None


class Remove(Struct, frozen=True):
    """Remove fields of a name. `occurrence` counts from 1 for the topmost, and from -1 for the
    lowest; 0: all of them.
    """

    name: bytes
    occurrence: int = 0


class Change(Struct, frozen=True):
    """Give a field another value; when there is no such occurrence, nothing is done."""

    name: bytes
    occurrence: int
    value: bytes


class Drop(Struct, frozen=True):
    """Remove these very fields of the section, wherever they stand by now, if they still do."""

    fields: tuple[Field, ...]


Edit = Add | Remove | Change | Drop
Edits = tuple[Edit, ...]


def added_above(edits: Iterable[Edit]) -> bytes:
    """The fields that go above all others, the one that was added last on top."""
    lines = [_line(edit.name, edit.value) for edit in edits
             if isinstance(edit, Add) and edit.place is None]  # fmt: skip
    return b"".join(reversed(lines))


def changes_header(edits: Iterable[Edit]) -> bool:
    """Whether the header section itself has to be written anew."""
    return any(not isinstance(edit, Add) or edit.place is not None for edit in edits)


def edited(section: HeaderSection, edits: Iterable[Edit]) -> bytes:
    """The fields of the section after the edits, in their order; without the empty line."""
    return b"".join(_ended(field.raw) for field in _fields_after(section, edits))


def _fields_after(section: HeaderSection, edits: Iterable[Edit]) -> list[Field]:
    fields: list[Field] = list(section.fields)
    for edit in edits:
        match edit:
            case Add(name, value, int(place)):
                fields.insert(max(0, place), Field(name, value, _line(name, value)))
            case Remove(name, 0):
                fields = [field for field in fields if field.key != name.lower()]
            case Remove(name, occurrence):
                if (at := _find(fields, name, occurrence)) is not None:
                    del fields[at]
            case Change(name, occurrence, value):
                if (at := _find(fields, name, occurrence)) is not None:
                    fields[at] = Field(name, value, _line(name, value))
            case Drop(dropped):
                gone = set(map(id, dropped))
                fields = [field for field in fields if id(field) not in gone]
    return fields


def _find(fields: list[Field], name: bytes, occurrence: int) -> int | None:
    places = [n for n, field in enumerate(fields) if field.key == name.lower()]
    index = occurrence - 1 if occurrence > 0 else occurrence
    return places[index] if -len(places) <= index < len(places) else None


def _ended(raw: bytes) -> bytes:
    return raw if raw.endswith(b"\r\n") else raw + b"\r\n"


def folded(value: bytes) -> bytes:
    """What is written after the colon for a value, without the final CRLF.

    A filter's line ends are made folds, so that no field can forge another. White space stays as
    it is, since a filter may have signed the field (simple canonicalisation, RFC 6376 §3.4.1).
    """
    first, *more = value.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    lines = [line if line.startswith((b" ", b"\t")) else b"\t" + line
             for line in more if line.strip(b" \t")]  # fmt: skip
    if not first.startswith((b" ", b"\t")) and (first or not lines):
        first = b" " + first
    return b"\r\n".join([first, *lines])


def _line(name: bytes, value: bytes) -> bytes:
    return name + b":" + folded(value) + b"\r\n"
