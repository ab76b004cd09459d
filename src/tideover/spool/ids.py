"""Queue ids: ten letters and digits that sort by arrival, made from an integer.

The integer has 49 bits: milliseconds since 2020 (41 bits, enough until 2089) and a sequence
(8 bits). It only ever grows: when the clock steps back, or more than 256 ids fall into a
millisecond, the next id is the last one plus one. Across restarts it starts above the greatest id
that is stored.

As text it is base 32 with the digits 0-9 and the letters A-Z without I, L, O and U (which are
misread on the telephone), most significant digit first, so that text and number sort alike.
"""

from tideover.message.envelope import QueueId

EPOCH = 1_577_836_800
"""2020-01-01T00:00:00Z as Unix time: where the ids begin."""

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
_TO_PYTHON = str.maketrans(_ALPHABET, "0123456789abcdefghijklmnopqrstuv")
_VALID = frozenset(_ALPHABET)
_LENGTH = 10
_SEQUENCE_BITS = 8
_BITS = 49


def id_text(number: int) -> QueueId:
    """The text of an id's number (0 ≤ number < 2**49)."""
    pairs = _PAIRS
    return QueueId(
        pairs[number >> 40]
        + pairs[number >> 30 & 1023]
        + pairs[number >> 20 & 1023]
        + pairs[number >> 10 & 1023]
        + pairs[number & 1023]
    )


def id_number(text: str) -> int:
    """The number of an id's text.

    Raises:
        ValueError: this text is no queue id.
    """
    if len(text) != _LENGTH or not _VALID.issuperset(text):
        raise ValueError(f"not a queue id: {text[:40]!r}")
    number = int(text.translate(_TO_PYTHON), 32)
    if number >> _BITS:
        raise ValueError(f"not a queue id: {text!r}")
    return number


def first_id_of(time: float) -> int:
    """The smallest number an id made at this Unix time can have."""
    milliseconds = int((time - EPOCH) * 1000)
    return min(max(milliseconds, 0) << _SEQUENCE_BITS, (1 << _BITS) - 1)


class IdSource:
    """Makes ids, each greater than all before it. `last` is the greatest number in use."""

    def __init__(self, last: int = 0) -> None:
        self.last = last

    def next(self, now: float) -> QueueId:
        """A fresh id for this Unix time.

        Raises:
            OverflowError: after the year 2089.
        """
        number = max(first_id_of(now), self.last + 1)
        if number >> _BITS:
            raise OverflowError("queue ids end in the year 2089")
        self.last = number
        return id_text(number)
