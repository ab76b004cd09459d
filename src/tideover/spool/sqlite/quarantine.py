"""Damaged messages: out of the queue in one transaction, kept for a person to look at.

Nothing here deletes what is left of a message (I2, I3): its chunks stay where they are. A person
lists them and may put what is left back into the queue, on hold.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final
from zlib import crc32

from msgspec import Struct
from msgspec.json import Decoder

from tideover.events.records import MessageDamaged
from tideover.message.envelope import QueueId
from tideover.spool.ids import id_text
from tideover.spool.interface import CHUNK, State
from tideover.spool.sqlite.accept import insert_rows
from tideover.spool.sqlite.rows import (
    CHUNK_BITS,
    ENCODE,
    MAX_CHUNKS,
    RecipientState,
    resealed_message,
)
from tideover.spool.sqlite.statements import queries
from tideover.spool.sqlite.work import Transaction

_Q: Final = queries()
_CLOSED: Final = frozenset({State.DELIVERED, State.BOUNCED})
_decode_found = Decoder(list[RecipientState]).decode


class Quarantined(Struct, frozen=True, kw_only=True):
    """A damaged message. What can't be read of it is None."""

    queue_id: QueueId
    since: float
    damage: str
    received_at: float | None
    size: int | None
    sender: str | None


def quarantine(tx: Transaction, number: int, damage: str, now: float) -> None:
    """Move a message out of the queue. Nothing happens when it isn't there any more."""
    if not tx.execute(_Q["quarantine_store"], {"id": number, "now": now, "damage": damage}):
        return
    tx.execute(_Q["quarantine_recipients"], {"id": number})
    tx.execute(_Q["quarantine_message"], {"id": number})
    tx.events.append(MessageDamaged(message=id_text(number), reason=damage))


def list_quarantine(conn: sqlite3.Connection) -> Sequence[Quarantined]:
    """All of them, oldest first."""
    return [
        Quarantined(
            queue_id=id_text(number),
            since=since,
            damage=damage,
            received_at=received_at,
            size=size,
            sender=sender,
        )
        for number, since, damage, received_at, size, sender in conn.execute(
            _Q["quarantine_list"]
        ).fetchall()
    ]


def restore(tx: Transaction, number: int, now: float) -> None:
    """Put a message back as it is, checksums made anew, all open recipients on hold.

    Raises:
        KeyError: not in quarantine.
        ValueError: its envelope or a piece of its body is lost; nothing was done.
    """
    row = tx.conn.execute(_Q["quarantine_show"], (number,)).fetchone()
    if row is None:
        raise KeyError(id_text(number))
    received_at, meta, trace, recipients = row
    size = _reseal_chunks(tx, number)
    sealed = resealed_message(number, received_at or now, size, meta or b"", trace or b"")
    tx.execute(_Q["quarantine_take"], (number,))
    insert_rows(tx, "message", [sealed.row])
    insert_rows(tx, "recipient", sealed.recipients)
    closed = [state.index for state in _decode_found(recipients) if state.state in _CLOSED]
    tx.execute(
        _Q["restored_states"], {"id": number, "now": now, "closed_json": ENCODE(closed).decode()}
    )


def _reseal_chunks(tx: Transaction, number: int) -> int:
    """Give each chunk the checksum of what it holds. Returns the octets of the body."""
    first = number << CHUNK_BITS
    place = size = 0
    while True:
        found = tx.conn.execute(_Q["read_chunks"], (first + place, first + place)).fetchone()
        if found is None:
            break
        _, crc, data = found
        size += len(data)
        place += 1
        if crc32(data) != crc:
            tx.execute(_Q["reseal_chunk"], {"id": found[0], "crc": crc32(data)})
        if len(data) != CHUNK:
            break
    if tx.value(_Q["chunk_after"], (first + place, first + MAX_CHUNKS - 1)) is not None:
        raise ValueError(f"piece {place} of its body is lost")
    return size
