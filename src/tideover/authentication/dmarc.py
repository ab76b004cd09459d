"""DMARC (RFC 9989): does SPF or DKIM speak for the domain in the From field, and if not, what does
its owner ask for?

Policies and organizational domains are found by the DNS tree walk alone (§4.10); there is no list
of public suffixes that would have to be kept up to date. A look-up that DNS does not answer makes
the result temperror, but only where the verdict hangs on it.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from time import monotonic
from typing import Final, Protocol

from msgspec import Struct

from tideover.authentication.dmarc_record import Record, record_of
from tideover.authentication.results import DkimResult, DmarcResult, SpfResult
from tideover.config.values import parse_domain
from tideover.dns.resolver import DnsError, DnsUnavailable, NoSuchName

PATIENCE: Final = 15.0
"""Seconds for all that is asked about one message: an author whose DNS is slow must not use up the
time in which another one's policy is found.
"""

_PREFIX: Final = "_dmarc."
_MAX_NAME: Final = 253
_LABELS: Final = 7  # what longer names are shortened to, so that a walk has eight steps at most
_RANK: Final = {"temperror": 4, "permerror": 2, "none": 1, "pass": 0}
_NOBODY: Final = DmarcResult(result="none", reason="no author domain in the From field")
_RANK_OF_FAIL: Final = {"reject": 6, "quarantine": 5, "none": 3}


class Texts(Protocol):
    """What DMARC asks of `Names`."""

    async def txt(self, name: str) -> tuple[bytes, ...]:
        """As `Names.txt`."""


class AskedOnce:
    """`Texts` for one message: each name is asked for once, also when its TTL is 0. The walks of
    eight authors and ten signers have much in common, and their owner would have us ask a
    thousand times over. After `PATIENCE` seconds nothing more is asked, and DNS does not say.
    """

    def __init__(self, names: Texts) -> None:
        self._names = names
        self._began = monotonic()
        self._said: dict[str, tuple[bytes, ...] | DnsError] = {}

    async def txt(self, name: str) -> tuple[bytes, ...]:
        """As `Names.txt`."""
        said = self._said.get(name)
        if said is None:
            if monotonic() - self._began >= PATIENCE:
                raise DnsUnavailable("the DNS of this message's domains takes too long")
            try:
                said = await self._names.txt(name)
            except DnsError as error:
                said = error
            self._said[name] = said
        if isinstance(said, DnsError):
            raise said.with_traceback(None)
        return said


class Walk(Struct, frozen=True):
    """A tree walk (RFC 9989 §4.10): the records it met, from the longest name to the shortest, and
    the organizational domain that follows from them (§4.10.2).
    """

    records: tuple[tuple[str, Record], ...]
    organization: str


async def evaluate(
    author_domain: str, spf: Sequence[SpfResult], dkim: Sequence[DkimResult], names: Texts
) -> DmarcResult:
    """DMARC of one author domain (lower-case A-labels). Never raises.

    Of SPF only the MAIL FROM identity counts (§4.4.2). Of DKIM neither a key in test mode counts
    (RFC 6376 §3.6.1) nor a signature that leaves open what readers see (§8.2, §8.15): anybody can
    add that to a message that was signed once. It does not suspend when all names are in the cache.
    """
    try:
        return await _evaluated(author_domain, spf, dkim, names)
    except DnsUnavailable as error:
        return DmarcResult(result="temperror", domain=author_domain, reason=str(error))


def worst(results: Iterable[DmarcResult]) -> DmarcResult:
    """Of the results for several author domains the one that counts; `none` for no author at all.

    Every author has to pass: a reader may take any of them for the one who wrote.
    """
    return max(results, key=_rank, default=_NOBODY)


def _rank(result: DmarcResult) -> int:
    if result.result == "fail":
        return _RANK_OF_FAIL[result.policy]
    return _RANK[result.result]


async def aligned(one: str, other: str, names: Texts, *, strict: bool = False) -> bool:
    """Whether two domains (lower-case A-labels) are aligned (RFC 9989 §4.4).

    Names are looked up only where the domains have a chance. Raises as `tree_walk`.
    """
    if one == other:
        return True
    if strict or one.rpartition(".")[2] != other.rpartition(".")[2]:
        return False
    organization = (await tree_walk(one, names)).organization
    if other != organization and not other.endswith("." + organization):
        return False
    return (await tree_walk(other, names)).organization == organization


async def tree_walk(domain: str, names: Texts) -> Walk:
    """Walk from `domain` up to the root, in at most eight queries.

    Raises:
        DnsUnavailable: DNS does not say.
    """
    records = []
    for name in _targets(domain):
        record = await _record_at(name, names)
        if record is not None:
            records.append((name, record))
            if record.psd != "u":
                break
    return Walk(tuple(records), _organization(domain, records))


def _targets(domain: str) -> Iterator[str]:
    """The names of a walk in their order (§4.10 steps 1 to 7)."""
    yield domain
    labels = domain.split(".")
    for count in range(min(len(labels) - 1, _LABELS), 0, -1):
        yield ".".join(labels[-count:])


def _organization(start: str, records: Sequence[tuple[str, Record]]) -> str:
    for name, record in records:
        if record.psd == "n":
            return name
        if record.psd == "y":
            below = name.count(".") + 2  # one label more; where the walk began there is none
            return ".".join(start.split(".")[-below:])
    return records[-1][0] if records else start


async def _record_at(domain: str, names: Texts) -> Record | None:
    name = _PREFIX + domain
    if len(name) > _MAX_NAME:
        return None
    try:
        return record_of(await names.txt(name))
    except NoSuchName:
        return None


async def _discovered(author: str, names: Texts) -> tuple[str, Record] | None:
    """The record that holds for an author domain and where it is (§4.10.1)."""
    own = await _record_at(author, names)
    if own is not None:
        return author, own
    walk = await tree_walk(author, names)
    found = dict(walk.records)
    if walk.organization in found:
        return walk.organization, found[walk.organization]
    return next(((name, r) for name, r in walk.records if r.psd == "y"), None)


async def _evaluated(
    author: str, spf: Sequence[SpfResult], dkim: Sequence[DkimResult], names: Texts
) -> DmarcResult:
    found = await _discovered(author, names)
    if found is None:
        return DmarcResult(result="none", domain=author, reason="no DMARC record")
    at, record = found
    if record.broken:
        return DmarcResult(
            result="permerror", domain=author, record_domain=at, reason="the record is broken"
        )
    by_spf = [result for result in spf if result.scope == "mfrom"]
    by_dkim = [result for result in dkim if result.speaks or result.result == "temperror"]
    methods = (("spf", by_spf, record.strict_spf), ("dkim", by_dkim, record.strict_dkim))
    speaks = {
        method: await _speaks(results, author, names, strict=strict)
        for method, results, strict in methods
    }
    if any(speaks.values()):
        return DmarcResult(
            result="pass",
            domain=author,
            record_domain=at,
            aligned_by=" ".join(method for method, yes in speaks.items() if yes),
        )
    for method, undecided in speaks.items():
        if undecided is None:  # it might have passed: no policy may be applied (§5.3.6)
            return DmarcResult(
                result="temperror",
                domain=author,
                record_domain=at,
                reason=f"{method.upper()} for the author's domain is undecided",
            )
    return DmarcResult(
        result="fail",
        domain=author,
        record_domain=at,
        policy=await _asked(author, at, record, names),
        reason="neither SPF nor DKIM passes for the author's domain",
    )


async def _speaks(
    results: Sequence[SpfResult] | Sequence[DkimResult], author: str, names: Texts, *, strict: bool
) -> bool | None:
    """Whether one of the results passes and is aligned; None: it could be, but DNS does not say."""
    answer: bool | None = False
    for outcome in ("pass", "temperror"):
        # the author's own domain first: it needs no look-up
        for domain in sorted(_domains(results, outcome), key=author.__ne__):
            try:
                if await aligned(author, domain, names, strict=strict):
                    if outcome == "pass":
                        return True
                    answer = None
            except DnsUnavailable:
                answer = None
    return answer


def _domains(results: Sequence[SpfResult] | Sequence[DkimResult], outcome: str) -> set[str]:
    """The domains of the results with this outcome, in A-labels."""
    domains = set()
    for result in results:
        if result.result == outcome:
            with suppress(ValueError):
                domains.add(parse_domain(result.domain))
    return domains


async def _asked(author: str, at: str, record: Record, names: Texts) -> str:
    """What the record asks for a message of this author domain that fails (§4.10.1)."""
    if at == author:
        return record.policy
    if record.missing == record.subdomains:
        return record.subdomains
    try:
        await names.txt(author)
    except NoSuchName:
        return record.missing
    return record.subdomains
