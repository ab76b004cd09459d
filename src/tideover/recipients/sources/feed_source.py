"""A hashed feed as a source: a file, an URL, or pushed to us; nothing of it is used unchecked.

Each (domain, source) has two files in the store. `….feed` is the last good copy; `….offer` what was
offered since and has passed all checks that a feed alone can pass. The one becomes the other by
`keep`, after the caller's own checks (it shrank, it is empty), so that a refused offer never costs
us the good copy.

Invariants
    Nothing is mapped or believed but a file of the store, which nobody else writes, and which is
    never changed, only replaced.
    Serials only grow, over restarts too: an old feed, however well signed, is refused.
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from secrets import token_hex
from threading import Lock
from typing import Final, NamedTuple, TypeVar, cast

from msgspec import structs

from tideover.config.model import Domain, Source
from tideover.config.values import source_rest
from tideover.durable import sync_directory
from tideover.recipients.feed import keys
from tideover.recipients.feed.format import FeedError
from tideover.recipients.feed.reader import Feed, open_feed
from tideover.recipients.feed.slow import SlowHash
from tideover.recipients.sources.download import download, name_of
from tideover.recipients.sources.interface import Load, SourceError
from tideover.recipients.sources.secret import read_password

PUSH: Final = "push"
_PIECE: Final = 1 << 20
_TURN: Final = 2.0
"""Seconds to wait for another thread that works on the same feed."""
_ELSEWHERE: Final = ThreadPoolExecutor(8, "feed-file")
"""Reads files of others. A file system that hangs takes these threads for good, and must not take
those of the loop, by which bodies and keys are read: there are few, and thousands of feeds.
"""
Progress = Callable[[int], None]
_T = TypeVar("_T")


def store_name(source: str, domain: str) -> str:
    """What the files of a feed in the store are called, without their suffix."""
    return hashlib.sha256(f"{domain}\0{source}".encode()).hexdigest()[:24]


class _Signature(NamedTuple):
    """What tells one content of a file from the next without reading it."""

    mtime_ns: int
    size: int
    inode: int
    device: int


class FeedLoader:
    """`sources.interface.Loader` and `KeepsOwnCopy` for `feed:PATH`, `feed:https://…`, `feed:push`.

    `store` is a directory of ours; it is made when needed. `slow` is shared by all slow feeds of
    the process; None: one of its own, which `close` ends.
    """

    def __init__(
        self,
        source: str,
        settings: Source,
        *,
        domain: str,
        of: Domain,
        store: Path,
        slow: SlowHash | None = None,
    ) -> None:
        self._where = source_rest(source)
        self._shown = name_of(self._where) if "://" in self._where else self._where
        self._settings = settings
        self._domain = domain
        self._of = of
        self._slow = SlowHash() if slow is None else slow
        self._owns_slow = slow is None
        name = store_name(source, domain)
        self._store = store
        self._name = name
        self._good = store / f"{name}.feed"
        self._offer = store / f"{name}.offer"
        self._lock = Lock()  # held by the one thread that works on this feed
        self._current: Load | None = None
        self._offered: Load | None = None
        self._seen: _Signature | None = None
        self._seen_trouble: str | None = None
        self._validators: str | None = None

    @property
    def is_pushed(self) -> bool:
        """Whether `offer` is for this one."""
        return self._where == PUSH

    async def load(self, version: str | None, progress: Progress) -> Load | None:
        """As `Loader.load`; `version` is a serial."""
        if self.is_pushed:
            load = await self._in_thread(lambda: self._pushed(progress))
        elif "://" in self._where:
            load = await self._download(version, progress)
        else:
            load = await self._in_thread(lambda: self._from_path(version, progress), _ELSEWHERE)
        return None if version is not None and load.version == version else load

    async def restore(self) -> Load | None:
        """As `KeepsOwnCopy.restore`. Until then, and until `keep`, any serial is taken."""
        return await self._in_thread(self._restore)

    async def keep(self, load: Load) -> None:
        """As `KeepsOwnCopy.keep`. What it replaces is gone."""
        await self._in_thread(lambda: self._keep(load))

    async def offer(self, path: Path) -> int:
        """Take what was pushed, if it is good; the next `load` returns it. Returns its serial.

        When this returns, the feed is on the disk. `path` is copied and left where it is.

        Raises:
            SourceError: it is refused.
        """
        if not self.is_pushed:
            raise SourceError("this feed is not one that is pushed")
        load = await self._in_thread(lambda: self._copy(path, lambda _: None))
        return _feed(load).header.serial

    async def close(self) -> None:
        """Let go of the threads, if they are ours."""
        if self._owns_slow:
            self._slow.close()

    async def _in_thread(self, work: "Callable[[], _T]", pool: Executor | None = None) -> "_T":
        return await asyncio.get_running_loop().run_in_executor(pool, self._alone, work)

    # From here on in threads

    def _alone(self, work: "Callable[[], _T]") -> "_T":
        """Do it, unless a thread is at it already: one that hangs must not become many."""
        if not self._lock.acquire(timeout=_TURN):
            raise SourceError("this feed is being read already; try again")
        try:
            return work()
        except FeedError as error:
            raise SourceError(f"feed refused: {error}") from None
        except OSError as error:
            raise SourceError(f"{error.filename or self._shown}: {error.strerror}") from None
        finally:
            self._lock.release()

    def _restore(self) -> Load | None:
        for part in self._store.glob(f"{self._name}.*.part"):  # a process died while it copied
            part.unlink(missing_ok=True)
        return self._reopened()

    def _reopened(self) -> Load | None:
        if not self._good.exists():
            return None
        self._current = self._opened(self._good, lambda _: None)
        return self._current

    def _pushed(self, progress: Progress) -> Load:
        if self._offered is None and self._offer.exists():  # from before a restart
            try:
                self._adopt(self._offer, progress)
            except FeedError:
                self._offer.unlink(missing_ok=True)  # told once
                raise
        return self._latest("nothing was pushed yet")

    def _from_path(self, version: str | None, progress: Progress) -> Load:
        path = Path(self._where)
        seen = _signature(path)
        if version is not None and seen == self._seen:
            if self._seen_trouble is not None:
                raise FeedError(self._seen_trouble)
            return self._latest("never read")
        self._seen, self._seen_trouble = None, None
        try:
            load = self._copy(path, progress)
        except FeedError as error:
            if seen != _signature(path):
                raise FeedError("changed while it was read") from None
            self._seen, self._seen_trouble = seen, str(error)
            raise
        self._seen = seen
        return load

    async def _download(self, version: str | None, progress: Progress) -> Load:
        part = await self._in_thread(self._new_part)
        try:
            validators = await download(
                self._where,
                part,
                validators=None if version is None else self._validators,
                max_size=self._settings.max_size,
                token=await asyncio.to_thread(read_password, self._settings.password_file),
                ca_file=self._settings.ca_file,
            )
            if validators is None:  # not modified
                return self._latest("never read")
            load = await self._in_thread(lambda: self._adopt(part, progress))
        finally:
            part.unlink(missing_ok=True)
        self._validators = validators
        return load

    def _latest(self, otherwise: str) -> Load:
        load = self._offered or self._current
        if load is None:
            raise SourceError(otherwise)
        return load

    def _new_part(self) -> Path:
        """Another name each time: a thread whose caller gave up may still read the last one."""
        self._store.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._store / f"{self._name}.{token_hex(4)}.part"

    def _copy(self, path: Path, progress: Progress) -> Load:
        """Copy a file of somebody else's, then look at the copy."""
        part = self._new_part()
        left = self._settings.max_size
        try:
            with open(path, "rb", opener=_without_waiting) as file, part.open("xb") as copy:
                while data := file.read(_PIECE):
                    left -= len(data)
                    if left < 0:
                        raise FeedError(f"larger than {self._settings.max_size} octets")
                    copy.write(data)
            return self._adopt(part, progress)
        finally:
            part.unlink(missing_ok=True)

    def _adopt(self, part: Path, progress: Progress) -> Load:
        """Make this file of the store what is offered, if it is good."""
        load = self._opened(part, progress)
        feed = _feed(load)
        if self._current is None:  # no disk or memory at the start: serials must grow nevertheless
            with contextlib.suppress(FeedError):
                self._reopened()
        had = [known for known in (self._current, self._offered) if known is not None]
        for known in had:
            if _feed(known).signature == feed.signature:
                return self._again(known)
        for known in had:
            _check_serial(feed, _feed(known))
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(self._offer)
        sync_directory(self._store)
        self._offered = structs.replace(load, copy=self._offer)
        return self._offered

    def _again(self, known: Load) -> Load:
        """What we have was offered again: it is what is offered now."""
        if known is self._current:
            self._offered = None
            self._offer.unlink(missing_ok=True)
        return known

    def _opened(self, path: Path, progress: Progress) -> Load:
        if self._of.feed_signer is None:
            raise FeedError(f"no feed_signer is set for {self._domain}, so nobody's is believed")
        key_file = self._of.feed_key_file
        feed = open_feed(
            path,
            signer=self._of.feed_signer,
            domain=self._domain,
            slow=self._slow,
            hash_key=None if key_file is None else keys.hash_key(key_file),
            progress=progress,
        )
        header = feed.header
        return Load(
            lists={self._domain: feed},
            version=str(header.serial),
            refresh=float(header.refresh),
            retry=float(header.retry),
            expires_at=float(header.created + header.expire),
            copy=path,
        )

    def _keep(self, load: Load) -> None:
        if self._current is not None and _feed(load) is _feed(self._current):
            return
        if self._offered is None or _feed(load) is not _feed(self._offered):
            raise SourceError("a newer feed has come meanwhile")
        self._offer.replace(self._good)
        sync_directory(self._good.parent)
        self._current = structs.replace(self._offered, copy=self._good)
        self._offered = None


def _feed(load: Load) -> Feed:
    (feed,) = load.lists.values()
    return cast(Feed, feed)  # a feed source makes no others


def _check_serial(new: Feed, old: Feed) -> None:
    serial, last = new.header.serial, old.header.serial
    if serial == last:
        raise FeedError(f"serial {serial} again, with other content")
    if serial < last:
        raise FeedError(f"serial {serial} is older than {last}, which we have")


def _signature(path: Path) -> _Signature:
    stat = path.stat()
    return _Signature(stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_dev)


def _without_waiting(path: str, flags: int) -> int:
    # Non-blocking, so that a FIFO put in the file's place does not stop us.
    return os.open(path, flags | os.O_NONBLOCK)
