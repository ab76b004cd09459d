"""The recipients of one domain, ready to be asked. Values only; made anew when a source changes."""

import re
from typing import Final

from tideover.recipients.interface import Finding, Standing
from tideover.recipients.names import local_key

# A detail with one of these is more than a detail: a percent hack, a bang path, quoting.
_NOT_IN_DETAIL: Final = re.compile(r"[@%!:;,<>()\[\]\\\"\s\x00-\x1f\x7f]")


class DomainTable:
    """Who exists in one domain.

    `sources` maps each source's name to its local parts (by `names.local_key`), or to None when it
    could not be read yet. An address that no list names is UNKNOWN only when all could be read.
    """

    __slots__ = ("_delimiter", "_findings", "_lists", "_missing", "_postmaster", "domain")

    def __init__(
        self, domain: str, sources: dict[str, frozenset[str] | None], delimiters: str
    ) -> None:
        self.domain = domain
        self._lists = [(names, self._listed(source)) for source, names in sources.items() if names]
        unread = [source for source, names in sources.items() if names is None]
        self._missing = (
            Finding(
                standing=Standing.UNAVAILABLE,
                domain=domain,
                reason=f"never read: {', '.join(unread)}",
            )
            if unread
            else Finding(standing=Standing.UNKNOWN, domain=domain, reason="no source names it")
        )
        self._postmaster = self._listed("postmaster", "always exists (RFC 5321 §4.5.1)")
        self._delimiter = re.compile(f"[{re.escape(delimiters)}]") if delimiters else None

    def _listed(self, source: str, reason: str = "") -> Finding:
        return Finding(standing=Standing.LISTED, domain=self.domain, source=source, reason=reason)

    def lookup(self, local: str) -> Finding:
        """What is known of this local part (unquoted): as it stands, else without its detail."""
        key = local.lower() if local.isascii() else local_key(local)
        for names, finding in self._lists:
            if key in names:
                return finding
        if key == "postmaster":
            return self._postmaster
        base = self.base(key)
        if base is not None:
            for names, finding in self._lists:
                if base in names:
                    return finding
        return self._missing

    def base(self, key: str) -> str | None:
        """`user` of `user+detail`, or None when there is no detail, or a tricky one."""
        match = self._delimiter.search(key) if self._delimiter is not None else None
        if match is None or match.start() == 0 or _NOT_IN_DETAIL.search(key, match.end()):
            return None
        return key[: match.start()]
