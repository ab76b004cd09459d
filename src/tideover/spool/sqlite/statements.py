"""Where SQL comes from: named queries from files, and the few statements that are generated.

Never puts a value into SQL text: values are always parameters.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from tideover.side_file import named_queries

INSERT_ROWS = 32
"""The most rows of one generated INSERT."""

_INSERTS = {
    "message": ("id, received_at, size, sender, meta, trace, crc", "(?,?,?,?,?,?,?)"),
    "recipient": (
        "message_id, idx, address, domain, size, changed_at, state",
        "(?,?,?,?,?,?,'queued')",
    ),
    "whole_recipient": (
        """message_id, idx, address, domain, size, state, changed_at, attempts, not_before,
        lease_until, delay_notified, last_reply, last_host, reason""",
        "(?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    ),
    "domain_hold": ("domain, reason, by, since", "(?,?,?,?)"),
    "quarantine": (
        "id, since, damage, received_at, size, sender, meta, trace, recipients",
        "(?,?,?,?,?,?,?,?,?)",
    ),
    "chunk": ("id, crc, data", "(?,?,?)"),
    # a view of the writer's connection, see sql/writer.sql
    "small_message": (
        "id, received_at, size, sender, meta, trace, crc, address, domain, chunk_crc, data",
        "(?,?,?,?,?,?,?,?,?,?,?)",
    ),
}


def queries() -> Mapping[str, str]:
    """All named queries by name."""
    return named_queries("tideover.spool", "sql/queries.sql")


def migrations() -> list[tuple[int, str]]:
    """The schema's steps in order: version (from 1, the number of the file) and SQL text."""
    folder = files("tideover.spool").joinpath("sql/migrations")
    found = sorted(step.name for step in folder.iterdir() if step.name.endswith(".sql"))
    return [
        (int(name.partition("_")[0]), folder.joinpath(name).read_text(encoding="utf-8"))
        for name in found
    ]


@cache
def writer_script() -> str:
    """What the writer's connection has for itself besides the schema."""
    return files("tideover.spool").joinpath("sql/writer.sql").read_text(encoding="utf-8")


@cache
def insert(table: str, rows: int) -> str:
    """An INSERT of that many rows in one statement, so that a batch costs one step, not one each.

    Each step of Python's sqlite3 gives the interpreter lock away and has to get it back.
    """
    columns, values = _INSERTS[table]
    table = table.removeprefix("whole_")
    return f"INSERT INTO {table} ({columns}) VALUES {','.join([values] * rows)}"  # noqa: S608
