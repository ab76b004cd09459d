"""What the rows of an operator's query mean: addresses, and terms in columns that are named so.

The first column holds an address, a local part, or "@domain" for all of a domain. Beside it may
stand `domain`, `honeypot`, `max_size`, `reject` and `expires`, in any order; NULL says nothing.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final

from tideover.config.values import parse_size
from tideover.recipients.formats.entry import EntryError
from tideover.recipients.formats.terms import MAX_REJECT
from tideover.recipients.interface import NO_TERMS, Terms
from tideover.recipients.sources.interface import SourceError

_BESIDE: Final = ("domain", "honeypot", "max_size", "reject", "expires")
_YES: Final = frozenset({"1", "t", "true", "y", "yes", "on"})
_NO: Final = frozenset({"", "0", "f", "false", "n", "no", "off"})


class Columns:
    """Where the columns of a query stand."""

    def __init__(self, names: Sequence[str], *, strict: bool) -> None:
        """`strict`: a whole list, in which an unknown column is a mistake.

        Raises:
            SourceError: they are not what they should be.
        """
        lower = [name.lower() for name in names]
        if strict:
            _check(lower)
        self._at: dict[str, int] = {
            name: lower.index(name, 1) for name in _BESIDE if name in lower[1:]
        }

    def domain_in(self, row: Sequence[object]) -> str | None:
        """The domain that stands beside the address.

        Raises:
            EntryError: it is no text.
        """
        value = self._value(row, "domain")
        return None if value is None else text_of(value, "domain")

    def terms_in(self, row: Sequence[object]) -> Terms:
        """What the row adds to its address.

        Raises:
            EntryError: a value is not of its column's kind.
        """
        if not self._at:
            return NO_TERMS
        size, text = self._value(row, "max_size"), self._value(row, "reject")
        terms = Terms(
            honeypot=_truth(self._value(row, "honeypot")),
            max_size=None if size is None else _octets(size),
            reject=None if text is None or text == "" else _reject(text),
            expires=_moment(self._value(row, "expires")),
        )
        return NO_TERMS if terms == NO_TERMS else terms

    def _value(self, row: Sequence[object], name: str) -> object:
        at = self._at.get(name)
        return None if at is None else row[at]


def _check(names: Sequence[str]) -> None:
    if len(names) > 1 and names[0] in _BESIDE:
        raise SourceError(f"query: its first column must be the address, not {names[0]}")
    for name in names[1:]:
        if name not in _BESIDE:
            raise SourceError(
                f"query: beside the address it may have {', '.join(_BESIDE)}, not {name[:80]!r}"
            )
        if names.count(name) > 1:
            raise SourceError(f"query: has two columns {name}")


def text_of(value: object, what: str = "address") -> str:
    """A value that must be text.

    Raises:
        EntryError: it is none.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        try:
            value = bytes(value).decode()
        except UnicodeDecodeError:
            raise EntryError(f"{what}: not UTF-8") from None
    if not isinstance(value, str):
        kind = "NULL" if value is None else f"a value of type {type(value).__name__}"
        raise EntryError(f"{what}: {kind}, not text")
    return value


def _truth(value: object) -> bool:
    if isinstance(value, (bytes, bytearray)) and len(value) == 1 and value[0] < 2:
        return bool(value[0])  # BIT(1) of MySQL
    if isinstance(value, (bool, int, Decimal, type(None))):
        return bool(value)
    word = text_of(value, "honeypot").strip().lower()
    if word in _YES or word in _NO:
        return word in _YES
    raise EntryError("honeypot: neither true nor false")


def _octets(value: object) -> int:
    if isinstance(value, (float, Decimal)):
        value = _whole(value)
    if not isinstance(value, int):
        value = text_of(value, "max_size").strip()
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 20 else value
    try:
        return parse_size(value)
    except ValueError as error:
        raise EntryError(f"max_size: {error}") from None


def _whole(value: float | Decimal) -> int:
    try:
        if (whole := int(value)) == value:
            return whole
    except (ValueError, ArithmeticError):  # infinite, or no number
        pass
    raise EntryError("max_size: not a whole number")


def _reject(value: object) -> str:
    text = text_of(value, "reject")
    if len(text) > MAX_REJECT or not text.isprintable():
        raise EntryError(f"reject: needs a text of at most {MAX_REJECT} printable signs")
    return text


def _moment(value: object) -> float | None:
    """Unix time. What has no zone is UTC, a date its beginning."""
    if value is None:
        return None
    try:
        if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
            return datetime.fromtimestamp(float(value), UTC).timestamp()
        if isinstance(value, date) and not isinstance(value, datetime):
            value = value.isoformat()
        if not isinstance(value, datetime):
            value = datetime.fromisoformat(text_of(value, "expires").strip())
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise EntryError("expires: neither a date, a time nor Unix seconds") from None
