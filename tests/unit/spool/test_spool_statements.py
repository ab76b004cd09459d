"""SQL in files: all of it parses against the schema, and the schema is the sum of migrations."""

import re
import sqlite3
from pathlib import Path

import pytest

import tideover.spool.sqlite
from tideover.spool.sqlite.connection import connect_writer
from tideover.spool.sqlite.files import migrate
from tideover.spool.sqlite.statements import _INSERTS, insert, migrations, queries, writer_script

SOURCES = Path(tideover.spool.sqlite.__file__).parent


@pytest.fixture
def conn(tmp_path):
    conn = connect_writer(tmp_path / "spool.db")
    migrate(conn, tmp_path / "spool.db")
    yield conn
    conn.close()


@pytest.mark.parametrize("name", queries())
def test_every_query_fits_the_schema(conn, name):
    sql = queries()[name]
    if sql.startswith("PRAGMA"):
        return
    values = dict.fromkeys(re.findall(r":(\w+)", sql)) or (None,) * sql.count("?")
    conn.execute(f"EXPLAIN {sql}", values).fetchall()


def test_every_query_is_used():
    code = "".join(path.read_text() for path in SOURCES.glob("*.py"))
    unused = {
        name
        for name in queries()
        if f'"{name}"' not in code and not re.search(rf'"{name}_(up|down)"', code)
    } - {
        f"salvage_ids_of_{table}_{way}"
        for table in ("messages", "recipients")
        for way in ("up", "down")
    }
    assert not unused


@pytest.mark.parametrize("table", _INSERTS)
def test_generated_inserts_fit_the_schema(conn, table):
    conn.executescript(writer_script())
    for rows in (1, 2, 32):
        sql = insert(table, rows)
        conn.execute(f"EXPLAIN {sql}", (None,) * sql.count("?")).fetchall()


def test_claims_and_counts_are_answered_from_indexes(conn):
    plan = conn.execute(
        f"EXPLAIN QUERY PLAN {queries()['claim_pick']}", {"domain": "x", "limit": 1}
    ).fetchall()
    assert any("recipient_queued" in row[3] for row in plan)
    assert not any("SCAN recipient" in row[3] for row in plan)
    for name in ("claim_lease", "recover", "wake", "wake_next", "lease_extend"):
        sql = queries()[name]
        plan = conn.execute(
            f"EXPLAIN QUERY PLAN {sql}", dict.fromkeys(re.findall(r":(\w+)", sql))
        ).fetchall()
        steps = [row[3] for row in plan if "recipient" in row[3]]
        assert steps
        assert not [s for s in steps if s.startswith("SCAN") and "INDEX" not in s], name


def test_schema_is_the_sum_of_the_migrations(conn):
    plain = sqlite3.connect(":memory:")
    for _, sql in migrations():
        plain.executescript(sql)
    schema = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name"
    assert conn.execute(schema).fetchall() == plain.execute(schema).fetchall()
    assert conn.execute("PRAGMA user_version").fetchone()[0] == migrations()[-1][0]
    plain.close()


def test_migrations_are_numbered_without_a_gap():
    assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))
