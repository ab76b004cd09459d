"""Answers from the files themselves, while no daemon runs.

Reads only: the spool is opened for reading, recipients are read from their sources, and nothing is
known of the primaries. Verbs that act are refused by the service.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from tideover.config.model import Config
from tideover.control.client import RefusedError
from tideover.control.interface import RecipientTable
from tideover.control.protocol import AnyRequest, Failure, Item, Lookup, Recipients
from tideover.control.service import Service
from tideover.events.records import Event
from tideover.recipients.directory import DirectoryTable
from tideover.spool.interface import Spool
from tideover.spool.memory import MemorySpool
from tideover.spool.sqlite import open_readonly

SPOOL = "spool.db"
"""The spool's name in the data directory."""


class _Idle:
    """A daemon that does not run."""

    dispatcher = None
    started = None

    def __init__(self, config: Config, spool: Spool, directory: RecipientTable) -> None:
        self.config = config
        self.spool = spool
        self.directory = directory


def answer_offline(config: Config, request: AnyRequest) -> Iterator[Item]:
    """The items of the answer.

    Raises:
        RefusedError: there is none.
        SpoolUnusable, SpoolError: the spool can't be read.
    """
    with asyncio.Runner() as runner:
        daemon = runner.run(_open(config, request))
        try:
            pages = aiter(Service(daemon, _ignore).answer(request, by=""))
            while (page := runner.run(anext(pages, None))) is not None:
                if isinstance(page, Failure):
                    raise RefusedError(page.code, page.text)
                yield from page
        finally:
            runner.run(daemon.spool.close())


async def _open(config: Config, request: AnyRequest) -> _Idle:
    directory = DirectoryTable(config, Path.cwd(), _ignore)
    if isinstance(request, Lookup | Recipients):
        directory.load()
        return _Idle(config, MemorySpool(), directory)
    path = config.data_dir / SPOOL
    # a daemon that never ran has no spool: that is an empty one
    spool: Spool = await open_readonly(path) if path.exists() else MemorySpool()
    return _Idle(config, spool, directory)


def _ignore(_: Event) -> None:
    """Troubles with sources show in the answer itself."""
