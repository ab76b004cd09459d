"""A database whose structure is damaged: set aside whole, and all that can be read copied over.

The damaged file is renamed, never deleted. A message goes to the new file's queue when its
metadata and recipients can be read and its body is all there; else to the new file's quarantine.
What can't be read at all stays in the old file, and is counted as lost to the queue. Recipients'
states come from the old file, so nothing is delivered twice on this account.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

from tideover.events.clock import now
from tideover.events.records import SpoolSalvaged
from tideover.spool.sqlite.accept import insert_rows
from tideover.spool.sqlite.connection import connect_writer
from tideover.spool.sqlite.files import migrate
from tideover.spool.sqlite.quarantine import quarantine
from tideover.spool.sqlite.rows import (
    CHUNK_BITS,
    ENCODE,
    MAX_CHUNKS,
    Corrupt,
    check_chunk,
    chunk_count,
    stored_message,
)
from tideover.spool.sqlite.statements import queries
from tideover.spool.sqlite.work import Transaction

_Q: Final = queries()
_PER_COMMIT: Final = 200

Row = tuple[Any, ...]


def salvage(path: Path, damage: str) -> SpoolSalvaged:
    """Rename the database and build a new one from what can be read.

    Raises:
        OSError: it can't be renamed.
        sqlite3.Error: the new one can't be written.
    """
    aside = _set_aside(path)
    copied = quarantined = lost = 0
    with closing(connect_writer(path)) as new, closing(sqlite3.connect(aside)) as old:
        migrate(new, path)
        tx = Transaction(new)
        new.execute("BEGIN IMMEDIATE")
        for place, number in enumerate(sorted(_numbers(old)), 1):
            match _copy(old, tx, number):
                case None:
                    lost += 1
                case "":
                    copied += 1
                case trouble:
                    quarantine(tx, number, trouble, now())
                    quarantined += 1
            if place % _PER_COMMIT == 0:
                new.execute("COMMIT")
                new.execute("BEGIN IMMEDIATE")
        insert_rows(tx, "domain_hold", list(_all_that_can_be_read(old, _Q["domain_holds"])))
        for row in _all_that_can_be_read(old, _Q["salvage_quarantine"]):
            insert_rows(tx, "quarantine", [row])
            _copy_chunks(old, tx, row[0], None)
        new.execute("COMMIT")
    return SpoolSalvaged(
        reason=damage,
        set_aside=str(aside),
        copied=copied,
        quarantined=quarantined,
        lost=lost,
    )


def _set_aside(path: Path) -> Path:
    """Rename the database with its WAL, which belongs to it by name."""
    aside = path.with_name(f"{path.name}.damaged-{int(now())}")
    for suffix in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside


def _numbers(old: sqlite3.Connection) -> set[int]:
    """The ids of all messages of which the old file shows a trace."""
    found: set[int] = set()
    for query in ("salvage_ids_of_messages", "salvage_ids_of_recipients"):
        for order in ("up", "down"):  # damage in the middle: come from both ends
            found.update(row[0] for row in _all_that_can_be_read(old, _Q[f"{query}_{order}"]))
    return found


def _all_that_can_be_read(old: sqlite3.Connection, sql: str) -> Iterator[Row]:
    """Rows until the damage."""
    with suppress(sqlite3.DatabaseError):
        yield from old.execute(sql)


def _copy(old: sqlite3.Connection, tx: Transaction, number: int) -> str | None:
    """Copy a message. Returns "" when it is whole, else its damage; None: nothing is left."""
    message = _rows(old, _Q["salvage_message"], number)
    recipients = _rows(old, _Q["salvage_recipients"], number)
    if not message and not recipients:
        return None
    insert_rows(tx, "message", message)
    insert_rows(tx, "whole_recipient", recipients)
    damage = _copy_chunks(old, tx, number, message[0][2] if message else None)
    if not message:
        return "its metadata are lost"
    if not recipients:
        return "its recipients are lost"
    try:
        ids_json = ENCODE([number]).decode()
        row = tx.conn.execute(_Q["messages_by_id"], {"ids_json": ids_json}).fetchone()
        stored_message(*row)
    except Corrupt as error:
        return str(error)
    return damage


def _copy_chunks(old: sqlite3.Connection, tx: Transaction, number: int, size: int | None) -> str:
    """Copy what is left of a body of `size` octets (None: not known). Returns its damage or ""."""
    damage = ""
    first = number << CHUNK_BITS
    count = MAX_CHUNKS if size is None else chunk_count(size)
    for place in range(count):
        rows = _rows(old, _Q["salvage_chunk"], first + place)
        insert_rows(tx, "chunk", rows)
        if size is None:
            if not rows:
                break
            continue
        try:
            check_chunk(size, place, *(rows[0][1:] if rows else (None, None)))
        except Corrupt as error:
            damage = damage or str(error)
    return damage


def _rows(old: sqlite3.Connection, sql: str, number: int) -> list[tuple[Any, ...]]:
    """The rows of one message, or none of them when they can't be read."""
    with suppress(sqlite3.DatabaseError):
        return old.execute(sql, (number,)).fetchall()
    return []
