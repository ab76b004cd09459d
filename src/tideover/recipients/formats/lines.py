"""From a file to its lines, in pieces, so that a large one is never in memory as a whole."""

from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from typing import IO, Final

MAX_RECORD: Final = 64 * 1024
"""Octets of a line, or of lines that continue one another; what is beyond is not kept."""
_BLOCK: Final = 1 << 18


def blocks(file: IO[bytes], tick: Callable[[], None]) -> Iterator[list[str]]:
    """All lines without their LF, some thousands at a time; `tick` is called between.

    What is not UTF-8 becomes lone surrogates (`entry.check_text` finds them), so that it spoils
    its own line only. Of a longer line at least the first `MAX_RECORD` octets come. A byte order
    mark is dropped.
    """
    rest = file.read(len(BOM_UTF8)).removeprefix(BOM_UTF8)
    while data := file.read(_BLOCK):
        tick()
        # split("\n") and not splitlines(): U+2028 and its like end no line
        whole, end, left = data.rpartition(b"\n")
        if end:
            # not "utf-8-sig": Python would load that codec now, when it may have lost the right to
            yield (rest + whole).decode(errors="surrogateescape").split("\n")
            rest = left
        else:
            rest = (rest + left)[: 2 * MAX_RECORD]
    tick()
    yield rest.decode(errors="surrogateescape").split("\n")


def numbered(file: IO[bytes], tick: Callable[[], None]) -> Iterator[tuple[int, str]]:
    """Each line, cut to `MAX_RECORD` characters and without its CR, with its number from 1."""
    number = 0
    for lines in blocks(file, tick):
        for line in lines:
            number += 1
            yield number, line[:MAX_RECORD].removesuffix("\r")


def logical(file: IO[bytes], tick: Callable[[], None]) -> Iterator[tuple[int, str]]:
    """Lines as Postfix and Exim read them: one that starts with white space continues the one
    before; empty lines and those whose first sign is `#` don't count. With the first line's number.
    """
    start, text = 0, ""
    for number, line in numbered(file, tick):
        shown = line.lstrip()
        if not shown or shown[0] == "#":
            continue
        if line[0].isspace() and text:
            text += f" {shown}"[: max(0, MAX_RECORD - len(text))]
            continue
        if text:
            yield start, text
        start, text = number, shown
    if text:
        yield start, text
