"""How messages become rows and rows become messages again. Pure: knows no connection.

Invariant I3: what comes out went in. Each chunk has a CRC-32, and so have the metadata.
"""

from typing import Final
from zlib import crc32

from msgspec import Struct
from msgspec.json import Decoder, Encoder

from tideover.message.envelope import Client, Envelope, Evidence, NewMessage, Recipient
from tideover.spool.ids import id_text
from tideover.spool.interface import CHUNK, RecipientRow, State, StoredMessage

CHUNK_BITS: Final = 14
"""A message's chunks have the ids `message << 14` and following."""

MAX_CHUNKS: Final = 1 << CHUNK_BITS

ENCODE = Encoder().encode
"""To JSON, for parameters that are arrays."""

MessageRow = tuple[int, float, int, str, bytes, bytes, int]
"""id, received_at, size, sender, meta, trace, crc."""

RecipientInsert = tuple[int, int, str, str, int, float]
"""message_id, idx, address, domain, size, changed_at."""

ChunkRow = tuple[int, int, bytes]
"""id, crc, data."""


class _Meta(Struct, frozen=True, array_like=True):
    """The column message.meta."""

    envelope: Envelope
    client: Client
    evidence: Evidence


class RecipientState(Struct, frozen=True, array_like=True):
    """What the queue knows of a recipient, as the queries give it in JSON."""

    index: int
    state: State
    attempts: int
    not_before: float
    last_reply: str | None
    last_host: str | None
    reason: str | None
    delay_notified: int
    changed_at: float


_decode_meta = Decoder(_Meta).decode
_decode_states = Decoder(list[RecipientState]).decode


class Sealed(Struct, frozen=True):
    """Rows of a message that was put together again."""

    row: MessageRow
    recipients: list[RecipientInsert]


class Corrupt(Exception):  # noqa: N818
    """A stored message is not what was stored. The text says what is wrong with it."""


def message_row(number: int, size: int, message: NewMessage) -> MessageRow:
    """The row of table `message`."""
    meta = ENCODE(_Meta(message.envelope, message.client, message.evidence))
    crc = _meta_crc(size, message.received_at, meta, message.trace)
    sender = message.envelope.sender
    return number, message.received_at, size, sender, meta, message.trace, crc


def recipient_rows(number: int, size: int, message: NewMessage) -> list[RecipientInsert]:
    """The rows of table `recipient`."""
    return [
        (number, index, recipient.address, recipient.domain, size, message.received_at)
        for index, recipient in enumerate(message.envelope.recipients)
    ]


def chunk_row(number: int, place: int, data: bytes) -> ChunkRow:
    """A row of table `chunk`: the body's piece number `place`."""
    return (number << CHUNK_BITS) + place, crc32(data), data


def body_rows(number: int, body: bytes) -> list[ChunkRow]:
    """The rows of a whole body."""
    return [
        chunk_row(number, place, body[start : start + CHUNK])
        for place, start in enumerate(range(0, len(body), CHUNK))
    ]


def chunk_count(size: int) -> int:
    """How many chunks a body of that many octets has."""
    return -(-size // CHUNK)


def chunk_size(size: int, place: int) -> int:
    """How many octets the chunk at `place` of a body of `size` octets has."""
    return min(CHUNK, size - place * CHUNK)


def stored_message(
    number: int,
    received_at: float,
    size: int,
    meta: bytes,
    trace: bytes,
    crc: int,
    states: str,
) -> StoredMessage:
    """The message of a row of table `message` and its recipients' states as JSON.

    Addresses are taken from the metadata, which have a checksum.

    Raises:
        Corrupt: the checksum is wrong, or the recipients don't fit the envelope.
    """
    if _meta_crc(size, received_at, meta, trace) != crc:
        raise Corrupt("the checksum of its metadata is wrong")
    try:
        known = _decode_meta(meta)
        recipients = known.envelope.recipients
        rows = tuple(_recipient_row(recipients[s.index], s) for s in _decode_states(states))
    except (ValueError, IndexError) as error:  # msgspec's errors are ValueErrors, too
        raise Corrupt(f"its recipients don't fit its envelope ({error})") from None
    return StoredMessage(
        queue_id=id_text(number),
        received_at=received_at,
        size=size,
        envelope=known.envelope,
        client=known.client,
        evidence=known.evidence,
        trace=trace,
        recipients=rows,
    )


def resealed_message(
    number: int, received_at: float, size: int, meta: bytes, trace: bytes
) -> Sealed:
    """Rows for what is left of a damaged message.

    Raises:
        ValueError: its metadata can't be read.
    """
    try:
        known = _decode_meta(meta)
    except ValueError:
        raise ValueError("its metadata can't be read") from None
    message = NewMessage(
        queue_id=id_text(number),
        received_at=received_at,
        envelope=known.envelope,
        client=known.client,
        trace=trace,
        evidence=known.evidence,
    )
    return Sealed(message_row(number, size, message), recipient_rows(number, size, message))


def _recipient_row(recipient: Recipient, state: RecipientState) -> RecipientRow:
    return RecipientRow(
        index=state.index,
        address=recipient.address,
        domain=recipient.domain,
        state=state.state,
        attempts=state.attempts,
        not_before=state.not_before,
        last_reply=state.last_reply,
        last_host=state.last_host,
        reason=state.reason,
        delay_notified=bool(state.delay_notified),
        changed_at=state.changed_at,
    )


def check_chunk(size: int, place: int, crc: int | None, data: bytes | None) -> bytes:
    """The data of a chunk row, proven.

    Raises:
        Corrupt: it is missing, too long, too short, or its checksum is wrong.
    """
    if data is None or crc is None:
        raise Corrupt(f"piece {place} of its body is missing")
    if len(data) != chunk_size(size, place):
        raise Corrupt(f"piece {place} of its body has a wrong length")
    if crc32(data) != crc:
        raise Corrupt(f"the checksum of piece {place} of its body is wrong")
    return data


def _meta_crc(size: int, received_at: float, meta: bytes, trace: bytes) -> int:
    return crc32(trace, crc32(meta, crc32(b"%d %r" % (size, received_at))))
