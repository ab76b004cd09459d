"""CSV tables (RFC 4180, more or less), as directories and spreadsheets export them.

Separated by comma, semicolon, tab or `|`, whichever parts the first line into the most fields. The
column is the one that the settings name (by its head, or by number from 1), else one whose head
looks like addresses, else the first. A field may hold several addresses, parted by `;` or `,`; of
values with a scheme, as in proxyAddresses of Microsoft (`smtp:a@x+SMTP:b@x`), those of mail count.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator
from typing import IO, Final

from tideover.recipients.formats.entry import EntryError, check_text
from tideover.recipients.formats.intake import Intake
from tideover.recipients.formats.lines import MAX_RECORD, numbered
from tideover.recipients.sources.interface import SourceError

_SEPARATORS: Final = ",;\t|"
_MAX_LINES: Final = 100
"""Lines of one record: a quoted field may hold line ends."""
# Heads of columns, the likeliest first; Google's and Microsoft's exports have several that look
# alike, of which some are of the person at home.
_HEADS: Final = (
    re.compile(r"proxy.?address", re.IGNORECASE),
    re.compile(r"(primary|user)?\W*e?-?mail(.?address(es)?)?\b", re.IGNORECASE),
    re.compile(
        r"(?!.*(recovery|alternate|secondary|home|work|private|street)).*mail", re.IGNORECASE
    ),
    re.compile(r"(?!.*(street|home|work|office|postal|ip|mac|web)\b).*address", re.IGNORECASE),
    re.compile(r".*local.?part|local$", re.IGNORECASE),
)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*:")
_SMTP: Final = re.compile(
    r"(?:^|[;,+\s])smtp:\s*([^;,\s]+?)(?=$|[;,\s]|\+[A-Za-z0-9-]+:)", re.IGNORECASE
)
_SEVERAL: Final = re.compile(r"\s*[;,]\s*")


def parse(file: IO[bytes], intake: Intake, column: str | None) -> None:
    """Read a table.

    Raises:
        SourceError: it has no such column.
    """
    table: _Table | None = None
    for number, record in _records(file, intake):
        try:
            check_text(record)
            if table is None:
                table = _Table(record, column)
                if table.has_head:
                    continue
            for address in table.addresses(record):
                intake.address(address)
        except EntryError as error:
            intake.mistake(number, error)


class _Table:
    """What the first record tells of all."""

    def __init__(self, first: str, column: str | None) -> None:
        self._separator = max(_SEPARATORS, key=lambda sign: len(_fields(first, sign)))
        self._index, self.has_head = _column(_fields(first, self._separator), column)

    def addresses(self, record: str) -> list[str]:
        """The addresses in one record; none in an empty field.

        Raises:
            EntryError: it is malformed.
        """
        fields = _fields(record, self._separator)
        if len(fields) <= self._index:
            raise EntryError(f"has no field {self._index + 1}")
        field = fields[self._index].strip()
        if _SCHEME.match(field):
            return _SMTP.findall(field)
        return [part for part in _SEVERAL.split(field) if part]


def _records(file: IO[bytes], intake: Intake) -> Iterator[tuple[int, str]]:
    """Each record with its first line's number. A quote that is never closed spoils its own line:
    those behind it are read again.
    """
    lines = numbered(file, intake.tick)
    again: deque[tuple[int, str]] = deque()
    while True:
        first = again.popleft() if again else next(lines, None)
        if first is None:
            return
        number, text = first
        if not text.strip():
            continue
        if text.count('"') % 2 == 0:
            yield first
            continue
        taken: list[tuple[int, str]] = []
        size = len(text)
        while len(taken) < _MAX_LINES and size < MAX_RECORD:
            more = again.popleft() if again else next(lines, None)
            if more is None:
                break
            taken.append(more)
            size += len(more[1])
            if more[1].count('"') % 2:
                yield number, "\n".join([text, *(line for _, line in taken)])
                break
        else:
            more = None
        if more is None:
            intake.mistake(number, "a quote that is not closed")
            again.extendleft(reversed(taken))


def _fields(record: str, separator: str) -> list[str]:
    """The fields of one record.

    Raises:
        EntryError: it is malformed.
    """
    if len(record) >= MAX_RECORD:
        raise EntryError(f"longer than {MAX_RECORD} octets")
    try:
        return next(csv.reader([record], delimiter=separator, skipinitialspace=True), [])
    except csv.Error as error:
        raise EntryError(str(error)) from None


def _column(fields: list[str], wanted: str | None) -> tuple[int, bool]:
    """Which column it is, and whether this first record is the head.

    Raises:
        SourceError: there is no such column.
    """
    heads = [field.strip() for field in fields]
    if wanted is not None:
        lowered = [head.lower() for head in heads]
        if wanted.strip().lower() in lowered:
            return lowered.index(wanted.strip().lower()), True
        if re.fullmatch(r"[1-9][0-9]{0,3}", wanted.strip()):
            return int(wanted) - 1, _likeliest(heads) is not None
        raise SourceError(f"no column is headed {wanted[:100]!r}")
    found = _likeliest(heads)
    return (0, False) if found is None else (found, True)


def _likeliest(heads: list[str]) -> int | None:
    if any("@" in head for head in heads):
        return None
    for looks in _HEADS:
        for index, head in enumerate(heads):
            if looks.match(head):
                return index
    return None
