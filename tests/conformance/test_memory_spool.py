"""The in-memory spool does what every spool must do."""

from contextlib import asynccontextmanager

from spool_suite import SpoolSuite

from tideover.spool.memory import MemorySpool


class TestMemorySpool(SpoolSuite):
    @asynccontextmanager
    async def opened(self):
        spool = MemorySpool()
        yield spool
        await spool.close()
