"""One domain's recipients, ready to be asked.

Where all sources are plain lists in memory, the two or three verdicts that are possible are made
once, by the same pure function, and a lookup is a look into a set. Everything else asks the
sources in their order.
"""

from collections.abc import Awaitable, Coroutine, Sequence
from typing import Final

from tideover.config.model import Domain, HoneypotAction
from tideover.recipients.asked import AskedSource
from tideover.recipients.interface import (
    Confidence,
    Finding,
    Match,
    Says,
    Silence,
    Verdict,
)
from tideover.recipients.listing import NameList
from tideover.recipients.loaded import LoadedSource
from tideover.recipients.names import base_of, base_pattern, local_key
from tideover.recipients.return_addresses import ReturnKeys
from tideover.recipients.verdict import decide, surest

AnySource = LoadedSource | AskedSource

_SURE: Final = frozenset({Confidence.LISTED, Confidence.HASHED})
POSTMASTER: Final = "postmaster"


class DomainTable:
    """Who exists in one domain. Made anew when a source changes; `until` is when its quick
    verdicts end by themselves (a list expires), Unix time.
    """

    __slots__ = ("_base", "_least", "_missing", "_quick", "_returns", "_settings", "_traps",
                 "domain", "sources", "until")  # fmt: skip

    def __init__(
        self,
        domain: str,
        settings: Domain,
        sources: Sequence[AnySource],
        now: float,
        returns: ReturnKeys | None = None,
    ) -> None:
        self.domain = domain
        self._returns = returns
        self.sources = sources
        self._settings = settings
        self._base = base_pattern(settings.recipient_delimiter)
        self._least = self._minimum()
        self._traps = frozenset(
            number
            for number, source in enumerate(sources)
            if isinstance(source, LoadedSource)
            and any(listing.has_traps for listing in source.of(domain))
        )
        self._quick: tuple[tuple[frozenset[str], Finding], ...] = ()
        self._missing: Finding | None = None
        self.until = float("inf")
        self._make_quick(now)

    def lookup(self, local: str, now: float) -> Finding | Awaitable[Finding]:
        """What is known of this local part (unquoted): as it stands, else without its detail."""
        if self._returns is not None:
            if finding := self._returns.judge(local, self.domain, now):
                return finding
            local = self._returns.owner(local)
        key = local.lower() if local.isascii() else local_key(local)
        if self._missing is not None:
            return self._look_quick(key)
        said: list[Says] = []
        base = self.base(key)
        for number, source in enumerate(self.sources):
            if not self._counts(number, said):
                continue
            says = source.says(self.domain, key, base, now)
            if not isinstance(says, Says):
                return self._go_on(key, base, said, number, says, now)
            said.append(says)
        return self._decide(key, said, now)

    def trap(self, local: str, now: float) -> Finding | None:
        """A honeypot that a list in memory names."""
        if not self._traps:
            return None
        key = self._key(local)
        base = self.base(key)
        for number in sorted(self._traps):
            says = self.sources[number].says(self.domain, key, base, now)
            if not isinstance(says, Says):
                if isinstance(says, Coroutine):
                    says.close()
            elif says.match is not None and says.match.terms.honeypot:
                return self._decide(key, [says], now)
        return None

    async def ask(self, local: str, now: float) -> list[Says]:
        """What each source says; all of them, also those that a lookup would not reach."""
        key = self._key(local)
        base = self.base(key)
        said = []
        for source in self.sources:
            says = source.says(self.domain, key, base, now)
            said.append(says if isinstance(says, Says) else await says)
        return said

    def decide(self, local: str, said: Sequence[Says], now: float) -> Finding:
        """The finding when the sources, each in its place, say this."""
        if self._returns is not None and (finding := self._returns.judge(local, self.domain, now)):
            return finding
        counted: list[Says] = []
        for number, says in enumerate(said):
            if self._counts(number, counted):
                counted.append(says)
        return self._decide(self._key(local), counted, now)

    def _key(self, local: str) -> str:
        return local_key(local if self._returns is None else self._returns.owner(local))

    def _counts(self, number: int, said: Sequence[Says]) -> bool:
        """Whether a source has to be heard after what was said: not where an earlier list names
        the address, unless it may be a honeypot by this one.
        """
        return number in self._traps or not any(map(_settled, said))

    def base(self, key: str) -> str | None:
        """`user` of `user+detail`, or None when there is no detail, or a tricky one."""
        return base_of(self._base, key)

    def _look_quick(self, key: str) -> Finding:
        for names, finding in self._quick:
            if key in names:
                return finding
        if key == POSTMASTER:
            return _postmaster(self.domain)
        base = self.base(key)
        if base is not None:
            for names, finding in self._quick:
                if base in names:
                    return finding
        if self._missing is None:
            raise AssertionError("asked only when all verdicts are made")
        return self._missing

    async def _go_on(
        self,
        key: str,
        base: str | None,
        said: list[Says],
        number: int,
        waited: Awaitable[Says],
        now: float,
    ) -> Finding:
        """The rest of `lookup`, from a source on that has to be waited for."""
        says = await waited
        said.append(says)
        for later, source in enumerate(self.sources[number + 1 :], number + 1):
            if not self._counts(later, said):
                continue
            answer = source.says(self.domain, key, base, now)
            says = answer if isinstance(answer, Says) else await answer
            said.append(says)
        return self._decide(key, said, now)

    def _decide(self, key: str, said: list[Says], now: float) -> Finding:
        finding = decide(
            self.domain,
            said,
            now=now,
            minimum=self._least,
            swallow_honeypots=self._settings.honeypots is HoneypotAction.SWALLOW,
        )
        if key == POSTMASTER and finding.verdict is not Verdict.ACCEPT:
            return _postmaster(self.domain)
        return finding

    def _minimum(self) -> Confidence:
        """The least that is accepted: by the domain's settings, or its feed's if that is more."""
        wanted = [Confidence(self._settings.min_confidence)]
        for source in self.sources:
            if isinstance(source, LoadedSource):
                wanted += [
                    listing.min_confidence
                    for listing in source.of(self.domain)
                    if listing.min_confidence is not None
                ]
        return surest(wanted)

    def _make_quick(self, now: float) -> None:
        """Make all possible verdicts now, if the sources are lists of names and nothing else."""
        lists: list[tuple[frozenset[str], Finding]] = []
        silent: list[Says] = []
        for source in self.sources:
            if not isinstance(source, LoadedSource) or source.lists is None:
                return
            for listing in source.of(self.domain):
                if not isinstance(listing, NameList) or not listing.is_plain:
                    return
                says = Says(source.name, Match(Confidence.LISTED), Silence.NOTHING)
                lists.append((listing.names(), self._decide("", [*silent, says], now)))
            doubt = source.doubt(self.domain, now)
            silence = Silence.UNSURE if doubt else Silence.NO_SUCH
            silent.append(Says(source.name, None, silence, doubt))
            if (end := source.doubt_from(now)) is not None:
                self.until = min(self.until, end)
        self._quick = tuple(lists)
        self._missing = self._decide("", silent, now)


def _settled(says: Says) -> bool:
    """Whether nobody else needs to be asked: a list names the address, and it is no honeypot."""
    match = says.match
    return match is not None and match.confidence in _SURE and match.terms.expires is None


def _postmaster(domain: str) -> Finding:
    return Finding(
        verdict=Verdict.ACCEPT,
        confidence=Confidence.LISTED,
        domain=domain,
        source="postmaster",
        reason="always exists (RFC 5321 §4.5.1)",
    )
