"""Answers from the files themselves, while no daemon runs.

Reads only: the spool is opened for reading, recipients are read from their files and last good
copies, and nothing is known of the primaries.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from time import time

from tideover.config.directory import DomainFiles
from tideover.config.load import Loaded
from tideover.config.model import Config
from tideover.control import reading
from tideover.control.client import RefusedError
from tideover.control.interface import Dispatcher, Handovers, MxWatch, Queue
from tideover.control.pages import Page, own_domain
from tideover.control.protocol import Failure, Item, Lookup, ReadRequest, Recipients, Status
from tideover.events.event import Event
from tideover.message.envelope import QueueId
from tideover.recipients.directory import DirectoryTable
from tideover.recipients.domain_list import DomainList
from tideover.recipients.report import SourceStatus
from tideover.recipients.sources.opening import Surroundings
from tideover.spool.interface import DomainCount, DomainHold, Filter, StoredMessage
from tideover.spool.memory import MemorySpool
from tideover.spool.sqlite import OfflineSpool, open_readonly

SPOOL = "spool.sqlite"
"""The spool's name in the data directory."""


class IdleQueue:
    """A spool that no daemon uses, as reading wants it. There is no loop to hold up."""

    def __init__(self, spool: OfflineSpool) -> None:
        self._spool = spool

    async def counts(self) -> Sequence[DomainCount]:
        """What lies here, a row a domain."""
        return self._spool.counts()

    async def domain_holds(self) -> Sequence[DomainHold]:
        """All held domains."""
        return self._spool.domain_holds()

    async def show(self, queue_id: QueueId) -> StoredMessage | None:
        """One message, or None."""
        return self._spool.show(queue_id)

    async def select(
        self, wanted: Filter, *, after: QueueId | None = None, limit: int = 1000
    ) -> Sequence[StoredMessage]:
        """Messages in arrival order, a page at a time."""
        return self._spool.select(wanted, after=after, limit=limit)

    async def read(self, queue_id: QueueId) -> AsyncIterator[bytes]:
        """The body."""
        for chunk in self._spool.read(queue_id):
            yield chunk


class IdleHouse:
    """A daemon that does not run."""

    dispatcher: Dispatcher | None = None
    mx: MxWatch | None = None
    handover: Handovers | None = None
    started: float | None = None

    def __init__(
        self,
        config: Config,
        spool: Queue,
        directory: DirectoryTable | None,
        domain_files: DomainFiles | None,
        domains: DomainList,
    ) -> None:
        self.config = config
        self.spool = spool
        self.directory = directory
        self.domain_files = domain_files
        self._domains = domains

    def domain_list(self) -> SourceStatus | None:
        """The last good copy of the list."""
        return self._domains.status(time())


def answer_offline(loaded: Loaded, base: Path, request: ReadRequest) -> Iterator[Item]:
    """The items of the answer. `base` is the directory of the configuration file.

    Raises:
        RefusedError: there is none.
        SpoolUnusable, SpoolError: the spool can't be read.
    """
    domains = DomainList(loaded.config, base, _ignore, time)
    path = loaded.config.data_dir / SPOOL
    domain = _domain_of(request)
    with ExitStack() as stack:
        spool: Queue = MemorySpool()  # a daemon that never ran has no spool: that is an empty one
        if path.exists() and not isinstance(request, Lookup | Recipients):
            spool = IdleQueue(stack.enter_context(open_readonly(path)))
        runner = stack.enter_context(asyncio.Runner())
        runner.run(domains.restore())
        config = domains.joined(loaded.config)
        directory = None
        if domain is not None:
            directory = runner.run(_open_directory(_only(config, domain)))
            stack.callback(lambda: runner.run(directory.close()))
        pages = reading.answer(
            IdleHouse(config, spool, directory, loaded.files, domains), request, time()
        )
        while (page := runner.run(_next(pages))) is not None:
            if isinstance(page, Failure):
                raise RefusedError(page.code, page.text)
            yield from page


def _domain_of(request: ReadRequest) -> str | None:
    """The one domain whose recipients this request needs; None: those of no domain."""
    match request:
        case Lookup():
            return own_domain(request.address.rpartition("@")[2])
        case Recipients():
            return own_domain(request.domain)
        case Status():
            return None if request.domain is None else own_domain(request.domain)
        case _:
            return None


def _only(config: Config, domain: str) -> Config:
    """The configuration with this domain alone: of 100,000, the others' sources stay closed."""
    found = {name: of for name, of in config.domains.items() if name == domain}
    return replace(config, domains=found)


async def _open_directory(config: Config) -> DirectoryTable:
    """The recipients as files and last good copies tell them."""
    around = Surroundings(data_dir=config.data_dir, read_only=True)
    directory = DirectoryTable(config, around, _ignore)
    await directory.start()
    return directory


async def _next(pages: AsyncIterator[Page]) -> Page | None:
    return await anext(pages, None)


def _ignore(_: Event) -> None:
    """Troubles with sources show in the answer itself."""
