"""The header section of a message that has come, and the message with that section edited."""

from collections.abc import AsyncIterator
from typing import Final

from tideover.message.body import Body
from tideover.message.edits import Edits, edited
from tideover.message.fields import HeaderSection, parse_header

LONGEST: Final = 512 * 1024
"""Octets of a message that are looked at for the end of its header section."""


async def first_fields(body: Body) -> HeaderSection:
    """The header section. Does not wait while the message lies in memory.

    Raises:
        OSError: the copy on disk can't be read.
    """
    head: list[bytes] = []
    length = 0
    pieces = body.whole
    if pieces is not None:
        for piece in pieces:
            head.append(piece)
            length += len(piece)
            if b"\r\n\r\n" in piece or length > LONGEST:
                break
    else:
        async for piece in body.read():
            head.append(piece)
            length += len(piece)
            if length > LONGEST:
                break
    return parse_header(b"".join(head), whole=length == body.size)


async def rewritten(body: Body, header: HeaderSection, edits: Edits) -> AsyncIterator[bytes]:
    """The message with its header section edited; everything behind it as it came.

    Raises:
        OSError: the copy on disk can't be read.
    """
    yield edited(header, edits)
    left = header.length - (2 if header.ended else 0)
    async for piece in body.read():
        if left < len(piece):
            yield piece[left:]
            left = 0
        else:
            left -= len(piece)
