"""One source that is loaded whole: its lists, how fresh they are, and what it says of an address.

Invariants
    The last good lists stay in use whatever happens to the source.
    Silence means "no such address" only while the lists are fresh: the last load was good, or is
    not longer ago than `expire` (a feed: than its owner's own word).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from tideover.config.model import Source
from tideover.recipients.guard import summary
from tideover.recipients.interface import Match, Says, Silence
from tideover.recipients.listing import ANY_DOMAIN, Listing
from tideover.recipients.report import SourceStatus
from tideover.recipients.sources.download import name_of
from tideover.recipients.sources.interface import Load, Loader, SourceError

FIRST_WAIT: Final = 5.0
"""Seconds that a client waits for a list that is being read for the first time."""
NOT_READ: Final = "not read since the start"


def shown(text: str) -> str:
    """A source as it may be shown: an URL without user, password, query and fragment."""
    feed = "feed:" if text.startswith("feed:") else ""
    url = text.removeprefix(feed)
    return f"{feed}{name_of(url)}" if url.startswith(("http://", "https://")) else text


class LoadedSource:
    """State of one source; `refresh` changes it, everybody else asks.

    `text` is what the configuration calls it, `name` what it is called before people. `domain` is
    set when this source serves that domain alone. Times are Unix seconds.
    """

    __slots__ = (
        "bad", "confirmable", "domain", "expires_at", "failures", "hurry", "kept", "lists",
        "loaded_at", "loader", "mistakes", "name", "next_at", "progress", "refresh", "refused",
        "retry", "settings", "text", "told", "tried_at", "trouble", "version", "waiting",
    )  # fmt: skip

    def __init__(
        self, name: str, domain: str | None, loader: Loader, settings: Source, refresh: float
    ) -> None:
        self.text = name
        self.name = shown(name)
        self.domain = domain
        self.loader = loader
        self.settings = settings
        self.refresh = refresh
        self.retry = settings.retry
        self.lists: Mapping[str, Listing] | None = None
        self.version: str | None = None
        self.trouble: str | None = NOT_READ
        self.refused: Mapping[str, str] | None = None
        self.confirmable = False
        self.mistakes: tuple[str, ...] = ()
        self.bad = 0
        self.progress: int | None = None
        self.failures = 0
        self.kept = False  # whether its lists are those of a last good copy
        self.loaded_at: float | None = None
        self.tried_at: float | None = None
        self.next_at = 0.0
        self.expires_at: float | None = None
        self.waiting: asyncio.Future[None] | None = None
        self.told: str | None = None
        self.hurry: Callable[[LoadedSource], None] | None = None

    @property
    def key(self) -> str:
        """What its last good copy is filed under."""
        return self.text if self.domain is None else f"{self.text}\n{self.domain}"

    @property
    def entries(self) -> int:
        """How many entries, in all domains."""
        return sum(map(len, (self.lists or {}).values()))

    # What it says

    def says(self, domain: str, key: str, base: str | None, now: float) -> Says | Awaitable[Says]:
        """What is known of a local part of a domain that uses this source."""
        if self.lists is None:
            if self.tried_at is None:
                return self._first(domain, key, base, now)
            return Says(self.name, None, Silence.UNSURE, self.trouble)
        for listing in self.of(domain):
            found = listing.find(key, base, now)
            if found is not None:
                if isinstance(found, Match):
                    return Says(self.name, found, Silence.NOTHING, self.doubt(domain, now))
                return self._later(found, domain, now)
        return self._silent(domain, now)

    def of(self, domain: str) -> list[Listing]:
        """The lists that count for a domain: its own, and that of bare local parts."""
        lists = self.lists or {}
        return [lists[name] for name in (domain, ANY_DOMAIN) if name in lists]

    def doubt(self, domain: str, now: float) -> str | None:
        """Why silence is not to be trusted now, or None."""
        if (why := self._refusal(domain)) is not None:
            return why
        if self.expires_at is not None:
            if self.expires_at <= now:
                return self.complaint(now)
        elif self._common_trouble is not None and not self._still_believed(now):
            return self.trouble
        if self.lists is not None and not self.of(domain):
            return f"names no recipient of {domain}"
        return None

    def _refusal(self, domain: str) -> str | None:
        """Why what is offered for a domain is not used, or None."""
        if not self.refused:
            return None
        return self.refused.get(domain) or self.refused.get(ANY_DOMAIN)

    @property
    def _common_trouble(self) -> str | None:
        """What is wrong for all domains; that some shrank is no matter of the others."""
        return self.trouble if not self.refused or self.failures else None

    def complaint(self, now: float) -> str | None:
        """What is to be told of it as a whole: its trouble, and that it has expired."""
        if self.expires_at is None or self.expires_at > now:
            return self.trouble
        return "expired" if self.trouble is None else f"expired; {self.trouble}"

    def doubt_from(self, now: float) -> float | None:
        """When silence ceases to be trusted although nothing happens; None: never, or it has."""
        if self.expires_at is not None:
            return self.expires_at if self.expires_at > now else None
        if self.trouble is not None and self.loaded_at is not None and self._still_believed(now):
            return self.loaded_at + self.settings.expire
        return None

    def _still_believed(self, now: float) -> bool:
        return self.loaded_at is not None and now < self.loaded_at + self.settings.expire

    def _silent(self, domain: str, now: float) -> Says:
        doubt = self.doubt(domain, now)
        return Says(self.name, None, Silence.UNSURE if doubt else Silence.NO_SUCH, doubt)

    async def _later(self, found: Awaitable[Match | None], domain: str, now: float) -> Says:
        try:
            match = await found
        except SourceError as error:
            return Says(self.name, None, Silence.UNSURE, str(error))
        if match is None:
            return self._silent(domain, now)
        return Says(self.name, match, Silence.NOTHING, self.doubt(domain, now))

    async def _first(self, domain: str, key: str, base: str | None, now: float) -> Says:
        """The source is being read for the first time: wait a little."""
        if self.hurry is not None:
            self.hurry(self)
        if not await self.first_read(FIRST_WAIT):
            return Says(self.name, None, Silence.UNSURE, "it is being read for the first time")
        said = self.says(domain, key, base, now)
        return said if isinstance(said, Says) else await said

    async def first_read(self, timeout: float) -> bool:
        """Wait until it was tried once; False: not within `timeout` seconds."""
        if self.tried_at is not None:
            return True
        if self.waiting is None:
            self.waiting = asyncio.get_running_loop().create_future()
        await asyncio.wait([self.waiting], timeout=timeout)
        return self.tried_at is not None

    # What happens to it

    def restored(self, load: Load, loaded_at: float) -> None:
        """Use the last good copy until the source itself was read."""
        self._use(load, load.lists, loaded_at)
        self.kept = True

    def loaded(self, load: Load, lists: Mapping[str, Listing], now: float) -> None:
        """A load was good: use these lists."""
        self._use(load, lists, now)
        self.kept = False
        self.version = load.version
        self.confirmed(now)

    def _use(self, load: Load, lists: Mapping[str, Listing], now: float) -> None:
        self.lists = lists
        self.mistakes, self.bad = load.mistakes, load.bad
        self.loaded_at = now
        self.retry = load.retry or self.settings.retry
        self.expires_at = load.expires_at
        if load.refresh is not None and self.settings.refresh is None:
            self.refresh = load.refresh

    def unchanged(self, now: float) -> None:
        """The source was read, and offers what it offered before."""
        if self.refused:
            self.trouble, self.failures = summary(self.refused, self.domain), 0
            self._tried(now, self.refresh)
        else:
            self.confirmed(now)

    def confirmed(self, now: float) -> None:
        """The source was read, and its lists are those that we have."""
        self.loaded_at = now
        self.failures = 0
        self.trouble, self.refused, self.confirmable = None, None, False
        self._tried(now, self.refresh)

    def doubted(
        self, refused: Mapping[str, str], version: str | None, now: float, *, confirmable: bool
    ) -> None:
        """Some domains keep their old list: silence is not trusted there. `version` is that of
        what was offered: while it stays the same, so does the doubt.
        """
        self.version = version
        self.refused, self.confirmable = refused, confirmable
        self.trouble, self.failures = summary(refused, self.domain), 0
        self._tried(now, self.refresh)

    def failed(self, trouble: str, now: float, longest: float) -> None:
        """The source could not be read."""
        self.trouble = trouble
        pause = min(self.retry * 2.0 ** min(self.failures, 20), longest, self.refresh)
        self.failures += 1
        self._tried(now, pause)

    def left_as_it_is(self, now: float) -> None:
        """Nobody will load it here: what was restored is all that there is."""
        self._tried(now, 0.0)

    def _tried(self, now: float, pause: float) -> None:
        self.tried_at = now
        self.next_at = now + pause
        self.progress = None
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(None)
        self.waiting = None

    # What an operator sees

    def status(self, domain: str, now: float) -> SourceStatus:
        """How it stands for one domain."""
        trouble = self.doubt(domain, now) or self._common_trouble
        if self.lists is None:
            state = "loading" if self.tried_at is None else "never"
        else:
            state = "fresh" if trouble is None else "stale"
        return SourceStatus(
            domain=domain,
            source=self.name,
            state=state,
            entries=None if self.lists is None else sum(map(len, self.of(domain))),
            loaded_at=self.loaded_at,
            tried_at=self.tried_at,
            next_at=self.next_at or None,
            version=self.version,
            trouble=trouble,
            mistakes=self.mistakes,
            bad=self.bad,
            confirm=self.confirmable and self._refusal(domain) is not None,
        )
