"""Opening a spool: lock, look, migrate, check, and save what can be saved of a damaged one.

The structure check has `_CHECK_SECONDS` before the spool serves; when it needs longer, it goes on
in the background. A file that was found damaged there, or by any statement, is checked to the end
at the next start, and its indexes against its tables.
"""

import asyncio
import sqlite3
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Final, NamedTuple

from msgspec.json import Decoder

from tideover.events.event import EventSink
from tideover.events.records import SpoolSalvaged
from tideover.spool.ids import IdSource
from tideover.spool.interface import SpoolUnusable
from tideover.spool.sqlite.background import Background, check, mark_suspect, suspect_mark
from tideover.spool.sqlite.connection import connect_reader, connect_writer
from tideover.spool.sqlite.files import Lock, check_header, check_version, migrate
from tideover.spool.sqlite.reader import Reader
from tideover.spool.sqlite.salvage import finish, salvage
from tideover.spool.sqlite.spool import SqliteSpool
from tideover.spool.sqlite.statements import queries, writer_script
from tideover.spool.sqlite.trouble import is_damage
from tideover.spool.sqlite.writer import Writer

_Q: Final = queries()
_CHECK_SECONDS: Final = 0.5


class _Prepared(NamedTuple):
    writing: sqlite3.Connection
    reading: sqlite3.Connection
    last_id: int
    staged: list[int]
    checked: bool
    salvaged: SpoolSalvaged | None


async def open_spool(path: Path, *, sink: EventSink) -> SqliteSpool:
    """Open the spool at `path` for the running loop, making it when it isn't there.

    Raises:
        SpoolUnusable: foreign or newer file, missing right, used by another daemon.
    """
    lock = Lock(path)
    try:
        prepared = await asyncio.to_thread(_prepare, path)
    except BaseException:
        lock.release()
        raise
    if prepared.salvaged is not None:
        sink(prepared.salvaged)
    loop = asyncio.get_running_loop()
    damaged = partial(mark_suspect, path)
    writer = Writer(prepared.writing, loop, sink, damaged)
    reader = Reader(prepared.reading, loop, damaged)
    background = Background(path, sink)
    background.begin(writer, prepared.staged, checked=prepared.checked)
    return SqliteSpool(path, lock, writer, reader, IdSource(prepared.last_id), background)


def _prepare(path: Path) -> _Prepared:
    """All that has to be right before the writer starts. Blocks for about a second at most."""
    salvaged = None
    try:
        finish(path)
        damage, checked = _look(path) if check_header(path) else (None, True)
        if damage is not None:
            salvaged = salvage(path, damage)
        if checked:
            suspect_mark(path).unlink(missing_ok=True)  # not before what is damaged is saved
        with ExitStack() as closed_on_error:
            writing = closed_on_error.enter_context(closing(connect_writer(path)))
            migrate(writing, path)
            writing.executescript(writer_script())
            writing.execute(_Q["checkpoint_all"]).fetchall()  # see the module `writer`
            last_id = max(row[0] for row in writing.execute(_Q["greatest_ids"]).fetchall())
            staged = writing.execute(_Q["staging_numbers"]).fetchone()[0]
            reading = closed_on_error.enter_context(closing(connect_reader(path)))
            closed_on_error.pop_all()
    except (sqlite3.Error, OSError) as error:
        raise SpoolUnusable(f"{path}: {error}; check the disk and the rights on it") from None
    numbers = Decoder(list[int]).decode(staged)
    return _Prepared(writing, reading, last_id, numbers, checked, salvaged)


def _look(path: Path) -> tuple[str | None, bool]:
    """Check the structure as far as there is time. Returns the damage, and whether it was all."""
    try:
        with closing(connect_reader(path)) as conn:  # even opening for writing would change it
            check_version(conn, path)
            if suspect_mark(path).exists():
                damage = check(conn, whole=True)
            else:
                damage = _check_for(conn, _CHECK_SECONDS)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return None, False
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        damage = str(error)
    except UnicodeDecodeError:  # SQLite's error quotes what it can't understand
        damage = "its schema can't be read"
    return damage, True


def _check_for(conn: sqlite3.Connection, seconds: float) -> str | None:
    """Check, but no longer than that.

    Raises:
        sqlite3.OperationalError: it took longer.
    """
    timer = Timer(seconds, conn.interrupt)
    timer.start()
    try:
        return check(conn)
    finally:
        timer.cancel()
        timer.join()
