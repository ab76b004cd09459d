"""Header sections with a line that is no field, as those see them who read on behind it."""

from typing import Final

from tideover.policy.interface import Message

MAX_LENGTH: Final = 256 * 1024
"""Octets of a header section, broken or not; readers agree on no longer ones."""

_END: Final = b"\r\n\r\n"


async def whole_section(message: Message) -> bytes | None:
    """All up to the first empty line, without that; None when there is none within `MAX_LENGTH`
    octets. Does not suspend for a message in memory.

    Raises:
        OSError: the body can't be read.
    """
    pieces: list[bytes] = []
    length = 0
    async for piece in message.body.read():
        pieces.append(piece)
        length += len(piece)
        if length > MAX_LENGTH:
            break
    head = b"".join(pieces)
    end = head.find(_END, 0, MAX_LENGTH)
    if end < 0:
        return head if length <= MAX_LENGTH else None
    return head[:end]
