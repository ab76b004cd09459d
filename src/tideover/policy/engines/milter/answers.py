"""What a filter answers (SMFIR_*), as values. Without I/O.

A verdict ends our waiting for an answer; a wish may come before it, at the end of a message.
"""

import re
from enum import Enum
from typing import Final

from msgspec import Struct

from tideover.policy.engines.milter.codec import MilterError, split_index
from tideover.smtp.replies import MAX_TEXT, Reply

_MAX_LINES: Final = 32
_CODE: Final = re.compile(r"([45][0-5][0-9])(?:[ -](.*))?", re.ASCII)
_ENHANCED: Final = re.compile(r"([45]\.[0-9]{1,3}\.[0-9]{1,3})(?: (.*))?", re.ASCII)
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]")
_FIELD_NAME: Final = re.compile(rb"[\x21-\x39\x3b-\x7e]{1,512}")


class Word(Enum):
    """The kinds of verdict. PROGRESS: it needs more time. SKIP: no more of this kind."""

    CONTINUE = b"c"
    ACCEPT = b"a"
    REJECT = b"r"
    DEFER = b"t"
    DISCARD = b"d"
    SKIP = b"s"
    PROGRESS = b"p"


class Verdict(Struct, frozen=True):
    """What a filter decided; `reply` only where it has words of its own for the client."""

    word: Word
    reply: Reply | None = None

    def __str__(self) -> str:
        return f"{self.word.name.lower()}" + (f" ({self.reply})" if self.reply else "")


class AddHeader(Struct, frozen=True):
    """Add a field below all others."""

    name: bytes
    value: bytes


class InsertHeader(Struct, frozen=True):
    """Add a field so that `index` fields are above it, our own Received field included."""

    index: int
    name: bytes
    value: bytes


class ChangeHeader(Struct, frozen=True):
    """Another value for the `index`th field of a name, from 1; an empty one deletes it."""

    index: int
    name: bytes
    value: bytes


class Quarantine(Struct, frozen=True):
    """Keep the message until somebody has looked at it."""

    reason: str


class NotCarried(Struct, frozen=True):
    """A change that is never made here; `what` names it for the operator."""

    what: str


Wish = AddHeader | InsertHeader | ChangeHeader | Quarantine | NotCarried

_DEFER: Final = Verdict(Word.DEFER)
_WORDS: Final = {word.value: Verdict(word) for word in Word} | {
    b"4": _DEFER,  # SHUTDOWN: 421 and no more; here the client may go on with another message
    b"f": _DEFER,  # CONN_FAIL
}
_NOT_CARRIED: Final = {
    b"b": "body", b"+": "recipients", b"2": "recipients", b"-": "recipients", b"e": "sender",
}  # fmt: skip


def parse(name: bytes, data: bytes) -> Verdict | Wish:
    """What a packet says.

    Raises:
        MilterError: nothing that the protocol knows.
    """
    if name in _WORDS:
        return _WORDS[name]
    if name == b"y":
        return _with_words(data)
    if name == b"q":
        return Quarantine(printable(data.partition(b"\0")[0].decode("utf-8", "replace")))
    if name in _NOT_CARRIED:
        return NotCarried(_NOT_CARRIED[name])
    if name == b"h":
        return AddHeader(*_field(data))
    if name in (b"i", b"m"):
        index, rest = split_index(data)
        kind = InsertHeader if name == b"i" else ChangeHeader
        return kind(index, *_field(rest))
    raise MilterError(f"it sent a packet that nobody knows: {name!r}")


def printable(text: str) -> str:
    """Text that can go into a reply or a log: one line of printable US-ASCII, bounded."""
    return _UNPRINTABLE.sub("?", text.replace("\t", " "))[:MAX_TEXT]


def _field(data: bytes) -> tuple[bytes, bytes]:
    name, first, rest = data.partition(b"\0")
    value, second, more = rest.partition(b"\0")
    if not first or not second or more:
        raise MilterError("it sent a header field that is none")
    if not _FIELD_NAME.fullmatch(name):
        raise MilterError(f"it sent a header field with a bad name: {name[:60]!r}")
    return name, value


def _with_words(data: bytes) -> Verdict:
    """A reply as it would go to the client (REPLYCODE), each line with its code."""
    # filters write %% for %, because sendmail takes the text for a format
    text = data.partition(b"\0")[0].decode("utf-8", "replace").replace("%%", "%")
    lines = text.removesuffix("\n").split("\n")
    matches = [_CODE.fullmatch(line.removesuffix("\r")) for line in lines]
    first = matches[0]
    if first is None or len(lines) > _MAX_LINES:
        raise MilterError(f"it sent a reply that is none: {printable(text)[:60]!r}")
    texts = []
    for match in matches:
        if match is None or match[1] != first[1]:
            raise MilterError("it sent a reply with several codes")
        texts.append(printable(match[2] or ""))
    return _worded(first[1], texts)


def _worded(code: str, texts: list[str]) -> Verdict:
    enhanced = f"{code[0]}.7.1"
    if (own := _ENHANCED.fullmatch(texts[0])) and own[1][0] == code[0]:
        enhanced = own[1]
        prefix = re.compile(rf"{re.escape(enhanced)}(?: |$)", re.ASCII)
        texts = [prefix.sub("", text, count=1) if prefix.match(text) else text for text in texts]
    if not any(texts):
        texts = ["Refused by a content filter" if code[0] == "5" else "Try again later"]
    # 421 would say that we close the connection, which we don't
    number = 451 if code == "421" else int(code)
    word = Word.REJECT if number >= 500 else Word.DEFER
    return Verdict(word, Reply(number, enhanced, tuple(texts)))
