"""Reading a spool while no daemon runs, for the verbs that only look. Changes nothing in it."""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from tideover.message.envelope import QueueId
from tideover.spool.ids import id_number
from tideover.spool.interface import (
    CHUNK,
    DomainCount,
    DomainHold,
    Filter,
    MessageDamaged,
    SpoolUnusable,
    StoredMessage,
)
from tideover.spool.sqlite import reads
from tideover.spool.sqlite.connection import connect_reader
from tideover.spool.sqlite.files import check_header, check_version
from tideover.spool.sqlite.quarantine import Quarantined, list_quarantine
from tideover.spool.sqlite.rows import Corrupt


class OfflineSpool:
    """The spool's answers without a loop or threads. Damaged messages are left out of lists."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._conn.close()

    def counts(self) -> Sequence[DomainCount]:
        """What lies here, a row a domain."""
        return reads.counts(self._conn)

    def show(self, queue_id: QueueId) -> StoredMessage | None:
        """One message, or None."""
        return reads.show(self._conn, queue_id, _leave_out)

    def select(
        self, wanted: Filter, *, after: QueueId | None = None, limit: int = 1000
    ) -> Sequence[StoredMessage]:
        """Messages in arrival order, a page at a time."""
        return reads.select(self._conn, wanted, after, limit, _leave_out)

    def domain_holds(self) -> Sequence[DomainHold]:
        """All held domains."""
        return reads.domain_holds(self._conn)

    def quarantined(self) -> Sequence[Quarantined]:
        """The damaged messages that a daemon has found, oldest first."""
        return list_quarantine(self._conn)

    def read(self, queue_id: QueueId, start: int = 0) -> Iterator[bytes]:
        """The body from octet `start`, a multiple of CHUNK.

        Raises:
            MessageDamaged: a checksum is wrong.
            KeyError: no such message.
        """
        try:
            number = id_number(queue_id)
        except ValueError:
            raise KeyError(queue_id) from None
        size = reads.body_size(self._conn, number)
        place = start // CHUNK
        while True:
            try:
                chunks = reads.read_chunks(self._conn, number, size, place, 1)
            except Corrupt as damage:
                raise MessageDamaged(f"{queue_id}: {damage}") from None
            if not chunks:
                return
            place += 1
            yield chunks[0]


def open_readonly(path: Path) -> OfflineSpool:
    """Open the spool at `path` for reading. Use it in a `with` statement.

    Raises:
        SpoolUnusable: there is none, it is foreign or newer, or it can't be read.
    """
    if not check_header(path, writing=False):
        raise SpoolUnusable(f"{path}: there is no spool yet; start the daemon once")
    try:
        conn = connect_reader(path)
        try:
            check_version(conn, path)
        except BaseException:
            conn.close()
            raise
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise SpoolUnusable(f"{path}: {error}; run this as the daemon's user") from None
    return OfflineSpool(conn)


def _leave_out(number: int, damage: str) -> None:
    """A damaged message: the daemon will see to it."""
