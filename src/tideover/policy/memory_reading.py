"""Reads what is remembered of clients while no daemon runs. Changes nothing. Blocks."""

import sqlite3
from pathlib import Path
from urllib.parse import quote

from tideover.policy.memory_file import Kind, Mark
from tideover.side_file import named_queries


def stored_marks(path: Path, kind: Kind, now: float) -> list[tuple[bytes, Mark]]:
    """The marks of a kind that count at `now` (Unix time), oldest first; none without a file.

    Raises:
        OSError: the file can't be read, or is damaged.
    """
    if not path.exists():
        return []
    query = named_queries("tideover.policy", "sql/memory.sql")["counting"]
    try:
        conn = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0)
        try:
            rows = conn.execute(query, (kind.value, now)).fetchall()
        finally:
            conn.close()
    except sqlite3.Error as error:
        raise OSError(f"{path} can't be read: {error}") from None
    return [(bytes(key), Mark(float(at), float(until))) for key, at, until in rows]
