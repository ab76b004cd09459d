"""What is asked of the spool without changing it: runs on any connection, in the reader's thread.

Answers are fetched as few rows as possible, many of them as one row of JSON, because each row that
Python's sqlite3 fetches hands the interpreter lock over.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec.json import Decoder
from msgspec.structs import replace

from tideover.message.envelope import QueueId
from tideover.spool.ids import id_number
from tideover.spool.interface import DomainCount, DomainHold, Filter, State, StoredMessage
from tideover.spool.sqlite.filters import select_messages, select_recipients
from tideover.spool.sqlite.rows import (
    CHUNK_BITS,
    ENCODE,
    Corrupt,
    check_chunk,
    chunk_count,
    stored_message,
)
from tideover.spool.sqlite.statements import queries

_Q: Final = queries()
_decode_ids = Decoder(list[int]).decode
_decode_texts = Decoder(list[str]).decode
_decode_pairs = Decoder(list[tuple[int, int]]).decode

Damaged = Callable[[int, str], None]
"""Told of a message that is damaged, and how."""


def counts(conn: sqlite3.Connection) -> Sequence[DomainCount]:
    """Recipients by domain and state."""
    found: dict[str, DomainCount] = {}
    for domain, state, number, octets, oldest in conn.execute(_Q["counts"]).fetchall():
        count = found.get(domain) or DomainCount(domain=domain)
        times = [time for time in (count.oldest, oldest) if time is not None]
        found[domain] = replace(
            count,
            **{state: number},
            octets=count.octets + octets,
            oldest=min(times, default=None),
        )
    return [found[domain] for domain in sorted(found)]


def show(conn: sqlite3.Connection, queue_id: QueueId, damaged: Damaged) -> StoredMessage | None:
    """One message, or None."""
    try:
        number = id_number(queue_id)
    except ValueError:
        return None
    return next(iter(_messages(conn, [number], damaged)), None)


def select(
    conn: sqlite3.Connection, wanted: Filter, after: QueueId | None, limit: int, damaged: Damaged
) -> Sequence[StoredMessage]:
    """A page of messages."""
    start = 0 if after is None else id_number(after)
    sql, values = select_messages(wanted, start, limit)
    ids = _decode_ids(conn.execute(sql, values).fetchone()[0])
    return _messages(conn, ids, damaged)


def due(
    conn: sqlite3.Connection, received_before: float, limit: int, delay: bool, damaged: Damaged
) -> Sequence[StoredMessage]:
    """Messages received before that time that are still tried."""
    last_id = _last_received_before(conn, received_before)
    values: dict[str, object] = {"last_id": last_id, "limit": limit, "delay": delay}
    ids = set(_decode_ids(conn.execute(_Q["due_others"], values).fetchone()[0]))
    for domain in _decode_texts(conn.execute(_Q["queued_domains"]).fetchone()[0]):
        values["domain"] = domain
        ids.update(_decode_ids(conn.execute(_Q["due_queued"], values).fetchone()[0]))
    return [
        message
        for message in _messages(conn, sorted(ids)[:limit], damaged)
        if message.received_at < received_before
    ]


def matching_recipients(
    conn: sqlite3.Connection,
    wanted: Filter,
    states: Iterable[State],
    after: tuple[int, int],
    limit: int,
) -> Sequence[tuple[int, int]]:
    """A page of recipients (message, index) that match and are in one of these states."""
    sql, values = select_recipients(wanted, states, after, limit)
    return _decode_pairs(conn.execute(sql, values).fetchone()[0])


def domain_holds(conn: sqlite3.Connection) -> Sequence[DomainHold]:
    """All held domains."""
    return [
        DomainHold(domain=domain, reason=reason, by=by, since=since)
        for domain, reason, by, since in conn.execute(_Q["domain_holds"]).fetchall()
    ]


def body_size(conn: sqlite3.Connection, number: int) -> int:
    """Octets of a body.

    Raises:
        KeyError: no such message.
    """
    row = conn.execute(_Q["message_size"], (number,)).fetchone()
    if row is None:
        raise KeyError(number)
    return int(row[0])


def read_chunks(
    conn: sqlite3.Connection, number: int, size: int, place: int, most: int
) -> list[bytes]:
    """The chunks of a body from number `place`, at most so many, proven; empty at the end.

    Raises:
        Corrupt: one of them is damaged.
        KeyError: the message has gone meanwhile.
    """
    count = min(most, chunk_count(size) - place)
    if count <= 0:
        return []
    first = (number << CHUNK_BITS) + place
    rows = {
        row[0]: row[1:]
        for row in conn.execute(_Q["read_chunks"], (first, first + count - 1)).fetchall()
    }
    if len(rows) < count:
        body_size(conn, number)
    return [
        check_chunk(size, place + step, *rows.get(first + step, (None, None)))
        for step in range(count)
    ]


def _messages(
    conn: sqlite3.Connection, numbers: list[int], damaged: Damaged
) -> list[StoredMessage]:
    """Those messages, without the damaged ones."""
    messages = []
    ids_json = ENCODE(numbers).decode()
    for row in conn.execute(_Q["messages_by_id"], {"ids_json": ids_json}).fetchall():
        try:
            messages.append(stored_message(*row))
        except Corrupt as damage:
            damaged(row[0], str(damage))
    return messages


def _last_received_before(conn: sqlite3.Connection, time: float) -> int:
    """The greatest message id below which messages were received before `time`.

    Ids sort by arrival, so this is a search by halves: some fifty look-ups, however many messages.
    """
    low, high = 0, 1 << 49
    while low < high:
        middle = (low + high) // 2
        row = conn.execute(_Q["message_at_or_after"], (middle,)).fetchone()
        if row is None or row[1] >= time:
            high = middle
        else:
            low = max(middle, row[0]) + 1
    return low
