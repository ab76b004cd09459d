"""The last good list of domains, in data_dir, so that its source may be down while we start.

The copy is read as strictly as the list itself; one that is damaged counts as none. Blocks.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from tideover.config.document import Table

NAME: Final = "domains.json"
_FORMAT: Final = 1
_LARGEST: Final = 512 * 1024 * 1024


class Kept(Struct, frozen=True, kw_only=True):
    """A list as it came from `source` at `loaded_at` (Unix time)."""

    format: int = _FORMAT
    source: str
    loaded_at: float
    tables: Mapping[str, Table]


class DomainCopy:
    """The copy in one directory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME

    def get(self, source: str) -> Kept | None:
        """The copy of this source's list, if there is a good one."""
        try:
            if self._path.stat().st_size > _LARGEST:
                return None
            kept = msgspec.json.decode(self._path.read_bytes(), type=Kept)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return kept if (kept.format, kept.source) == (_FORMAT, source) else None

    def put(self, source: str, tables: Mapping[str, Table], loaded_at: float) -> None:
        """Keep this list. On a full disk there is none; the daemon goes on with what it read."""
        fresh = self._path.with_suffix(".new")
        try:
            data = msgspec.json.encode(Kept(source=source, loaded_at=loaded_at, tables=tables))
            with open(fresh, "wb", opener=_private) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError:
            fresh.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
