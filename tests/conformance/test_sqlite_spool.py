"""The SQLite spool does what every spool must do, with nothing in the event stream."""

import sqlite3
from contextlib import asynccontextmanager

import pytest
from spool_suite import SpoolSuite

from tideover.spool.sqlite import open_spool


class TestSqliteSpool(SpoolSuite):
    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path):
        self.path = tmp_path / "spool.db"

    @asynccontextmanager
    async def opened(self):
        events = []
        spool = await open_spool(self.path, sink=events.append)
        yield spool
        await spool.close()
        assert events == []
        self.check_that_nothing_is_left_over()

    def check_that_nothing_is_left_over(self):
        """Each chunk and recipient belongs to a message; nothing is still coming in."""
        conn = sqlite3.connect(self.path)
        for orphans in (
            "SELECT id FROM chunk WHERE id >> 14 NOT IN (SELECT id FROM message)",
            "SELECT message_id FROM recipient WHERE message_id NOT IN (SELECT id FROM message)",
            "SELECT id FROM message WHERE id NOT IN (SELECT message_id FROM recipient)",
            "SELECT id FROM staging",
        ):
            assert conn.execute(orphans).fetchall() == []
        assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        conn.close()
