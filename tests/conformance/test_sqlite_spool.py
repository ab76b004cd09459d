"""The SQLite spool does what every spool must do, with nothing in the event stream."""

from contextlib import asynccontextmanager

import pytest
from spool_suite import SpoolSuite, nothing_left_over

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
        nothing_left_over(self.path)
