"""The header section as filters see it, one after the other, each with the changes of those before.

As with Postfix and sendmail, our own Received field is not shown, but it counts where a filter
asks for a place in the whole section: 0 is above it, 1 below.
"""

from collections.abc import Iterator

from tideover.message.edits import Add, Change, Edit, Edits, Remove, folded
from tideover.message.fields import HeaderSection


class _Line:
    """One field. `origin` is its place in the message as it came, None for a new one."""

    __slots__ = ("changed", "deleted", "name", "origin", "value")

    def __init__(self, name: bytes, value: bytes, origin: int | None) -> None:
        self.name = name
        self.value = value
        self.origin = origin
        self.changed = self.deleted = False


class Shown:
    """A header section with changes. Values are what follows the colon, folded by CRLF."""

    def __init__(self, section: HeaderSection) -> None:
        self._received = _Line(b"Received", b"", None)
        self._lines = [self._received]
        self._lines += [_Line(one.name, one.value, n) for n, one in enumerate(section.fields)]
        self._section = section

    def fields(self) -> Iterator[tuple[bytes, bytes]]:
        """Names and values, from the top."""
        for line in self._alive():
            if line is not self._received:
                yield line.name, line.value

    def add(self, name: bytes, value: bytes) -> None:
        """A new field below all others."""
        self._lines.append(_Line(name, folded(value), None))

    def insert(self, index: int, name: bytes, value: bytes) -> None:
        """A new field with `index` fields above it, our Received included."""
        alive = list(self._alive())
        if index >= len(alive):
            self.add(name, value)
        else:
            place = self._lines.index(alive[index])
            self._lines.insert(place, _Line(name, folded(value), None))

    def change(self, index: int, name: bytes, value: bytes) -> None:
        """Another value for the `index`th of a name (0 is taken for 1); empty: delete it.

        One that does not exist is added. Those that the same filter deleted still count.
        """
        key = name.lower()
        same = [
            line for line in self._lines
            if line.name.lower() == key and line is not self._received
        ]  # fmt: skip
        if (place := max(index, 1) - 1) < len(same):
            line = same[place]
            line.deleted = not value
            line.changed = True
            line.value = folded(value)
        elif value:
            self.add(name, value)

    def settle(self) -> None:
        """A filter is done: for the next one, what was deleted has never been there."""
        self._lines = list(self._alive())

    def edits(self) -> Edits:
        """What leads from the section that came to this one."""
        at = self._lines.index(self._received)
        above = [line for line in self._lines[:at] if not line.deleted]
        below = [line for line in self._lines[at + 1 :] if not line.deleted]
        kept = {line.origin: line for line in below if line.origin is not None}
        changes: list[Edit] = []
        removals: list[Edit] = []
        counts: dict[bytes, int] = {}
        for origin, field in enumerate(self._section.fields):
            occurrence = counts[field.key] = counts.get(field.key, 0) + 1
            line = kept.get(origin)
            if line is None:
                removals.append(Remove(field.name, occurrence))
            elif line.changed:
                changes.append(Change(field.name, occurrence, line.value))
        # from the lowest, so that the numbers of those above stay
        removals.reverse()
        additions = [
            Add(line.name, line.value, place)
            for place, line in enumerate(below) if line.origin is None
        ]  # fmt: skip
        tops = [Add(line.name, line.value) for line in reversed(above)]
        return (*changes, *removals, *additions, *tops)

    def _alive(self) -> Iterator[_Line]:
        return (line for line in self._lines if not line.deleted)
