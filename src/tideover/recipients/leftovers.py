"""What nobody needs any more in data_dir: last good copies and feeds of sources that are gone.

A list in clear goes when nobody names it any more: whoever changes to a hashed feed wants no names
left on the disk. Where that can't be said for sure, since a domain's settings are broken, or a list
of domains may be late, it stays for `KEPT_FOR`.
"""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Final

from tideover.config.domains import UNREADABLE
from tideover.config.model import Config

KEPT_FOR: Final = 30 * 86400.0
"""Seconds."""
_FEEDS: Final = ("*.feed", "*.offer")


class Leftovers:
    """Tells which copies nobody needs. `is_open` says of a source's text, and of the domain that
    it serves alone, whether it is in use.
    """

    def __init__(self, config: Config, is_open: Callable[[tuple[str, str | None]], bool]) -> None:
        self._domains = config.domains
        self._is_open = is_open
        broken = any(settings is UNREADABLE for settings in config.domains.values())
        self._knows_all = config.domains_from is None and not broken

    def is_left(self, key: str, loaded_at: float, now: float) -> bool:
        """Whether nobody needs the copy of this key (`LoadedSource.key`), which is of that time."""
        text, _, domain = key.partition("\n")
        if self._is_open((text, domain or None)):
            return False
        settings = self._domains.get(domain)
        if settings is not None and settings is not UNREADABLE and text not in settings.recipients:
            return True
        return (not domain and self._knows_all) or loaded_at < now - KEPT_FOR


def remove_feeds(store: Path, in_use: Collection[str], now: float) -> None:
    """Remove feeds of which none is `in_use` (`feed_source.store_name`). Blocks."""
    for path in _files(store):
        try:
            if path.stem not in in_use and path.stat().st_mtime < now - KEPT_FOR:
                path.unlink(missing_ok=True)
        except OSError:
            continue


def _files(store: Path) -> Iterable[Path]:
    return [path for pattern in _FEEDS for path in store.glob(pattern)]
