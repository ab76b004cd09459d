"""From the text of a source to the source itself. The only file that knows all kinds."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from tideover.config.model import Domain, Source, SourceMode
from tideover.config.values import source_kind
from tideover.recipients.asked import AskedSource, Remembered
from tideover.recipients.feed.slow import SlowHash
from tideover.recipients.interface import Silence
from tideover.recipients.loaded import LoadedSource
from tideover.recipients.sources.interface import Asker, Loader, SourceError

DEFAULT_REFRESH: Final = {"file": 1.0}
_OTHERS: Final = 300.0
PLACE: Final = "{domain}"


class Surroundings(Struct, frozen=True, kw_only=True):
    """What sources need of the house.

    `data_dir` None: nothing is kept. `read_only`: nothing in it is changed, and lists are not
    fetched: files are read, of all others the last good copy serves. `slow_hash` bounds what all
    slow feeds compute together.
    `seed` remembers addresses to be verified. `callout` and `learn` make the sources that need a
    running daemon; None where there is none (then they can't say anything).
    """

    data_dir: Path | None
    read_only: bool = False
    slow_hash: "SlowHash | None" = None
    seed: Callable[[str, Sequence[str]], Awaitable[int]] | None = None
    callout: Callable[[], Asker] | None = None
    learn: Callable[[], Asker] | None = None
    remembered: Remembered | None = None


def belongs_to_one(name: str, settings: Source) -> bool:
    """Whether each domain that names this source needs one of its own."""
    if PLACE in name or source_kind(name) == "feed":
        return True
    if settings.mode is SourceMode.LOOKUP:
        return False
    return any(
        mark in (settings.query or "") + (settings.filter or "") + (settings.base or "")
        for mark in (":domain", PLACE)
    )


def open_source(
    name: str, settings: Source, domain: str, of: Domain, around: Surroundings
) -> LoadedSource | AskedSource:
    """The source of this name for a domain, or for all that name it (`belongs_to_one`)."""
    kind = source_kind(name)
    own = domain if belongs_to_one(name, settings) else None
    text = name.replace(PLACE, domain)
    if kind in ("callout", "learn") or settings.mode is SourceMode.LOOKUP:
        asker = _asker(kind, text, settings, around)
        return AskedSource(
            name,
            asker,
            settings,
            silence=Silence.NOTHING if kind in ("callout", "learn") else Silence.NO_SUCH,
            remembered=None if kind in ("callout", "learn") else around.remembered or Forgetful(),
        )
    if kind == "file":  # it holds the shared text, not a path of its own: there may be 100,000
        loader = _file(name, settings, own)
    else:
        loader = _loader(kind, text, settings, own, of, around)
    refresh = settings.refresh or DEFAULT_REFRESH.get(kind, _OTHERS)
    return LoadedSource(name, own, loader, settings, refresh)


def _asker(kind: str, text: str, settings: Source, around: Surroundings) -> Asker:
    match kind:
        case "callout" if around.callout is not None:
            return around.callout()
        case "learn" if around.learn is not None:
            return around.learn()
        case "sql":
            from tideover.recipients.sources.sql import SqlAsker

            return SqlAsker(text, settings)
        case "ldap":
            from tideover.recipients.sources.ldap import LdapAsker

            return LdapAsker(text, settings)
        case _:
            return Unasked()


def _file(name: str, settings: Source, domain: str | None) -> Loader:
    from tideover.recipients.sources.file import FileLoader

    return FileLoader(name, settings, domain=domain, only=domain is not None)


def _loader(
    kind: str, text: str, settings: Source, domain: str | None, of: Domain, around: Surroundings
) -> Loader:
    wanted = None if domain is None else domain.__eq__
    match kind:
        case "http" | "https":
            from tideover.recipients.sources.http import HttpLoader

            return HttpLoader(text, settings, wanted=wanted, domain=domain, scratch=scratch(around))
        case "command":
            from tideover.recipients.sources.command import CommandLoader

            return CommandLoader(text, settings, wanted=wanted, domain=domain)
        case "sql":
            from tideover.recipients.sources.sql import SqlLoader

            return SqlLoader(text, settings, wanted=wanted, domain=domain)
        case "ldap":
            from tideover.recipients.sources.ldap import LdapLoader

            return LdapLoader(text, settings, wanted=wanted, domain=domain)
        case "feed":
            from tideover.recipients.sources.feed_source import FeedLoader

            if domain is None:
                raise AssertionError("a feed belongs to one domain")
            return FeedLoader(
                text, settings, domain=domain, of=of, store=scratch(around), slow=around.slow_hash
            )
        case _:
            raise AssertionError(f"{kind} is no kind of source")


def feed_name(text: str, domain: str) -> str:
    """What the files of a domain's feed are called in `scratch`, without their suffix."""
    from tideover.recipients.sources.feed_source import store_name

    return store_name(text.replace(PLACE, domain), domain)


def scratch(around: Surroundings) -> Path:
    """Where downloads and feeds are kept."""
    return (around.data_dir or Path()) / "recipients"


class Unasked:
    """In the place of a source that only a running daemon can ask."""

    async def ask(self, domain: str, names: object) -> None:
        """Never knows.

        Raises:
            SourceError: always.
        """
        raise SourceError("only a running daemon can ask it")

    async def close(self) -> None:
        """Nothing to close."""


class Forgetful:
    """Remembers nothing: where there is no data directory to write to."""

    async def good_at(self, domain: str, names: tuple[str, ...], source: str) -> float | None:
        """Never known."""
        return None

    def said_yes(self, domain: str, name: str, source: str, now: float) -> None:
        """Forgotten at once."""

    async def said_no(self, domain: str, names: tuple[str, ...], source: str, now: float) -> None:
        """Nothing was known."""
