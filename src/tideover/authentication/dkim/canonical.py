"""Canonicalisation: what a signature covers when white space may have changed (RFC 6376 §3.4).

A body may come in any pieces. No regular expression is used: each step is a search in C, and a
stranger's million spaces cost what a million letters do.
"""

from collections.abc import Callable
from typing import Final

from tideover.message.fields import Field

_CRLF: Final = b"\r\n"
_MANY_CRLF: Final = _CRLF * 4096


def simple_field(field: Field) -> bytes:
    """The field as it was written, without its final CRLF (§3.4.1)."""
    return field.raw.removesuffix(_CRLF)


def relaxed_field(field: Field) -> bytes:
    """Name in lower case, unfolded, runs of white space as one space; no final CRLF (§3.4.2)."""
    return field.key + b":" + _collapsed(field.value.replace(_CRLF, b"")).strip(b" ")


class CanonicalBody:
    """Gives `sink` the canonical form of a body: simple (§3.4.3) or relaxed (§3.4.4).

    What is not decided yet is kept as a count of line ends and at most two octets.
    """

    __slots__ = ("_blank", "_carry", "_empty", "_relaxed", "_sink")

    def __init__(self, sink: Callable[[bytes], None], *, relaxed: bool) -> None:
        self._sink = sink
        self._relaxed = relaxed
        self._blank = 0  # line ends that count only when text follows
        self._carry = b""  # what may yet be part of a line end, or of a run of white space
        self._empty = True

    def update(self, piece: bytes) -> None:
        """Take the next piece."""
        text = self._carry + piece
        if self._relaxed:
            text = _collapsed(text).replace(b" \r\n", _CRLF)
        self._carry = self._undecided(text)
        text = text.removesuffix(self._carry)
        kept = _without_line_ends(text)
        lines = (len(text) - len(kept)) // 2
        if kept:
            self._text(kept)
            self._blank = lines
        else:
            self._blank += lines

    def finish(self) -> None:
        """Take the end of the body."""
        if self._carry.endswith(b"\r"):  # a bare CR is text after all
            self._text(self._carry)
        if not (self._relaxed and self._empty):
            self._sink(_CRLF)

    def _undecided(self, text: bytes) -> bytes:
        carry = b"\r" if text.endswith(b"\r") else b""
        if self._relaxed and text.endswith(b" " + carry):
            return b" " + carry
        return carry

    def _text(self, text: bytes) -> None:
        while self._blank:
            block = min(self._blank, len(_MANY_CRLF) // 2)
            self._sink(_MANY_CRLF[: 2 * block])
            self._blank -= block
        self._empty = False
        self._sink(text)


def _collapsed(octets: bytes) -> bytes:
    """Each run of white space as one space."""
    octets = octets.replace(b"\t", b" ")
    while b"  " in octets:  # halves each run, so even the longest ones are soon gone
        octets = octets.replace(b"  ", b" ")
    return octets


def _without_line_ends(text: bytes) -> bytes:
    """The text without the CRLFs at its end. A bare CR or LF is text."""
    end = len(text.rstrip(_CRLF))
    ends = text[end:]
    if len(ends) == 2 * ends.count(_CRLF):
        return text[:end]
    end = len(text)
    while text.endswith(_CRLF, 0, end):
        end -= 2
    return text[:end]
