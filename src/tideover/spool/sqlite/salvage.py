"""A database whose structure is damaged: set aside whole, and all that can be read copied over.

The damaged file is renamed, never deleted, and only when the copy is whole and on disk: who dies or
finds the disk full on the way finds the damaged one in its place at the next start, and begins
again. The renames themselves are finished by the next start (`finish`), which knows by the copy's
name that it is whole.

A message goes to the new file's queue when its metadata and recipients can be read and its body is
all there; else to the new file's quarantine. What can't be read at all stays in the old file, and
is counted as lost to the queue; of a file without a readable schema nothing can. Recipients'
states come from the old file, so nothing is delivered twice on this account.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

from tideover.durable import sync_directory
from tideover.events.clock import now
from tideover.events.records import SpoolSalvaged
from tideover.spool.sqlite.accept import insert_rows
from tideover.spool.sqlite.connection import connect_writer, text
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
_UNREADABLE: Final = (sqlite3.DatabaseError, UnicodeDecodeError)  # the latter: in error texts
_COPYING: Final = ".copying"
_COPIED: Final = ".copied"  # whole, and on disk

Row = tuple[Any, ...]


def salvage(path: Path, damage: str) -> SpoolSalvaged:
    """Build a new database from what can be read, and put it into the place of the damaged one.

    Raises:
        OSError: it can't be renamed.
        sqlite3.Error: the new one can't be written; the damaged one is where it was.
    """
    aside = _free_name(path)
    copy = aside.with_name(aside.name + _COPYING)
    _drop_copies(path)
    try:
        told = _build(path, copy, damage, aside)
        copy.rename(aside.with_name(aside.name + _COPIED))
    except BaseException:
        _drop_copies(path)  # it may be what fills the disk
        raise
    sync_directory(path.parent)
    path.rename(aside)  # from here on the copy counts
    finish(path)
    return told


def finish(path: Path) -> None:
    """Put a whole copy into the place of a database that was set aside, if there is such a copy.

    Raises:
        OSError: it can't be renamed.
    """
    if path.exists():
        return
    for copy in path.parent.glob(f"{path.name}.damaged-*{_COPIED}"):
        aside = copy.name.removesuffix(_COPIED)
        for suffix in ("-wal", "-shm"):  # the WAL belongs to its database by name
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(path.with_name(aside + suffix))
        sync_directory(path.parent)
        copy.rename(path)
        sync_directory(path.parent)
        return


def _build(path: Path, copy: Path, damage: str, aside: Path) -> SpoolSalvaged:
    """Copy what can be read. Returns what to tell of it."""
    copied = quarantined = lost = 0
    with (
        closing(connect_writer(copy)) as new,
        closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as old,
    ):
        old.text_factory = text
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
        _insert(tx, "domain_hold", _all_that_can_be_read(old, _Q["domain_holds"]))
        for row in _all_that_can_be_read(old, _Q["salvage_quarantine"]):
            _insert(tx, "quarantine", [row])
            _copy_chunks(old, tx, row[0], None)
        new.execute("COMMIT")
        new.execute(_Q["checkpoint_all"]).fetchall()  # all of it is in the file that is renamed
        if not _has_tables(old):
            damage += "; no table can be read, so that all messages are in the file set aside alone"
    return SpoolSalvaged(
        reason=damage,
        set_aside=str(aside),
        copied=copied,
        quarantined=quarantined,
        lost=lost,
    )


def _free_name(path: Path) -> Path:
    """What the damaged database will be called."""
    time = int(now())
    while (aside := path.with_name(f"{path.name}.damaged-{time}")).exists():
        time += 1  # the clock was set back
    return aside


def _drop_copies(path: Path) -> None:
    """Remove copies that never came into use: all that is in them is in the database, too."""
    for kind in (_COPYING, _COPIED):
        for left in path.parent.glob(f"{path.name}.damaged-*{kind}*"):
            left.unlink(missing_ok=True)


def _numbers(old: sqlite3.Connection) -> set[int]:
    """The ids of all messages of which the old file shows a trace."""
    found: set[int] = set()
    for query in ("salvage_ids_of_messages", "salvage_ids_of_recipients"):
        for order in ("up", "down"):  # damage in the middle: come from both ends
            found.update(row[0] for row in _all_that_can_be_read(old, _Q[f"{query}_{order}"]))
    return found


def _all_that_can_be_read(old: sqlite3.Connection, sql: str) -> Iterator[Row]:
    """Rows until the damage."""
    with suppress(*_UNREADABLE):
        yield from old.execute(sql)


def _has_tables(old: sqlite3.Connection) -> bool:
    """Whether the schema can be read: without it none of the counts says anything."""
    with suppress(*_UNREADABLE):
        old.execute(_Q["message_size"], (0,)).fetchall()
        return True
    return False


def _copy(old: sqlite3.Connection, tx: Transaction, number: int) -> str | None:
    """Copy a message. Returns "" when it is whole, else its damage; None: nothing is left."""
    message = _rows(old, _Q["salvage_message"], number)
    recipients = _rows(old, _Q["salvage_recipients"], number)
    if not message and not recipients:
        return None
    if not _insert(tx, "message", message):
        message = []
    whole = _insert(tx, "whole_recipient", recipients)
    damage = _copy_chunks(old, tx, number, message[0][2] if message else None)
    if not message:
        return "its metadata are lost" if tx.value(_Q["is_known"], (number,)) else None
    if not (recipients and whole):
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
    count = MAX_CHUNKS if size is None else min(chunk_count(size), MAX_CHUNKS)
    for place in range(count):
        rows = _rows(old, _Q["salvage_chunk"], first + place)
        if not _insert(tx, "chunk", rows):
            rows = []
        if size is None:
            if not rows:
                break
            continue
        try:
            check_chunk(size, place, *(rows[0][1:] if rows else (None, None)))
        except Corrupt as error:
            damage = damage or str(error)
    return damage


def _insert(tx: Transaction, table: str, rows: Iterable[Row]) -> bool:
    """Insert rows, but for those that are none of ours any more, as with NULL for a state; these
    stay in the old file. Returns whether all were inserted.
    """
    whole = True
    for row in rows:
        try:
            insert_rows(tx, table, [row])
        except sqlite3.IntegrityError:
            whole = False
    return whole


def _rows(old: sqlite3.Connection, sql: str, number: int) -> list[Row]:
    """The rows of one message, or none of them when they can't be read."""
    with suppress(*_UNREADABLE):
        return old.execute(sql, (number,)).fetchall()
    return []
