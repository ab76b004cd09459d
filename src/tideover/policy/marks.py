"""What is written onto a message that is taken: filters' fields, Authentication-Results, ARC seal.

And the evidence that is stored with it, from which `bounce.decide` works. A seal that can't be made
is missing, and is told once; the mail goes on without it.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from tideover.authentication.arc.seal import Sealer, arc_seal
from tideover.authentication.arc.sealing_key import SealKeyError, load_key
from tideover.authentication.authres import authentication_results
from tideover.authentication.authserv import forged
from tideover.authentication.results import ArcResult, DkimResult, DmarcResult, SpfResult
from tideover.authentication.reverse_path import authenticated
from tideover.config.model import Config, Domain
from tideover.config.policy import Profile
from tideover.dns.names import Names
from tideover.eager import run
from tideover.events.event import EventSink
from tideover.events.policy_records import SealFailed
from tideover.message.edits import Edits, added_above, edited
from tideover.message.envelope import Evidence
from tideover.message.fields import HeaderSection, parse_header
from tideover.policy.decision import meanings
from tideover.policy.interface import About, Message, Result
from tideover.policy.round import Outcome

_MOST_NOTES: Final = 30
_UNPROVEN: Final = (False, "DNS did not say in time who sent it")


class Marks(Struct, frozen=True, kw_only=True):
    """`trace` goes above everything, `edits` change the header section itself."""

    trace: bytes
    edits: Edits
    evidence: Evidence


class SealedBy(Struct, frozen=True):
    """In whose name the mail of a domain is sealed, and with what; `key` None: not at all."""

    domain: str = ""
    selector: str = ""
    key: Path | None = None


class _Known(Struct, frozen=True, kw_only=True):
    """What checks found out about who sent a message."""

    spf: tuple[SpfResult, ...] = ()
    dkim: tuple[DkimResult, ...] = ()
    arc: ArcResult | None = None
    dmarc: DmarcResult | None = None
    iprev: str = ""


class Marker:
    """Knows the keys of one configuration; they are read again with the next one."""

    def __init__(self, config: Config, names: Names, emit: EventSink) -> None:
        self._config = config
        self._names = names
        self._emit = emit
        self._sealers: dict[SealedBy, asyncio.Task[Sealer | None]] = {}

    def sealed_by(self, domain: str, settings: Domain) -> SealedBy:
        """Whose seal the mail of a domain gets: its own, else that of `[arc]`."""
        if settings.arc_key_file is not None:
            return SealedBy(domain, settings.arc_selector or "", settings.arc_key_file)
        arc = self._config.arc
        return SealedBy(arc.domain or "", arc.selector or "", arc.key_file)

    async def mark(
        self,
        about: About,
        message: Message,
        outcomes: Sequence[Outcome],
        profile: Profile,
        seal: SealedBy,
    ) -> Marks:
        """What to write onto a message.

        Raises:
            OSError: its body can't be read.
        """
        known = _known(about.results)
        # filters count in the section as it came: what they ask for goes first
        edits = _asked_for(outcomes, profile) + forged(message.header, self._config.hostname)
        trace = added_above(edits)
        if known is not None:
            said = authentication_results(
                self._config.hostname, spf=known.spf, dkim=known.dkim, arc=known.arc,
                dmarc=known.dmarc, iprev=known.iprev, client=about.client.address,
            )  # fmt: skip
            trace = f"Authentication-Results: {said}\r\n".encode() + trace
            if seal.key is not None:
                trace = await self._seal(message, edits, known, said, seal, about.now) + trace
        evidence = await self._evidence(about, known or _Known(), outcomes, profile)
        return Marks(trace=trace, edits=edits, evidence=evidence)

    async def _seal(
        self, message: Message, edits: Edits, known: _Known, said: str, seal: SealedBy, now: float
    ) -> bytes:
        sealer = await self._sealer(seal)
        if sealer is None or known.arc is None:
            return b""
        header = message.header
        if edits:
            header = _after(header, edits)
        return await arc_seal(
            header, message.body, sealer, chain=known.arc, results=said, now=now,
        )  # fmt: skip

    async def _sealer(self, seal: SealedBy) -> Sealer | None:
        task = self._sealers.get(seal)
        if task is None:
            task = self._sealers[seal] = asyncio.create_task(self._load(seal))
        return task.result() if task.done() else await asyncio.shield(task)

    async def _load(self, seal: SealedBy) -> Sealer | None:
        if seal.key is None:
            return None
        try:
            key = await asyncio.to_thread(load_key, seal.key)
        except SealKeyError as error:
            self._emit(SealFailed(domain=seal.domain, reason=str(error)))
            return None
        return Sealer(domain=seal.domain, selector=seal.selector, key=key)

    async def _evidence(
        self, about: About, known: _Known, outcomes: Sequence[Outcome], profile: Profile
    ) -> Evidence:
        proof = run(
            authenticated(about.sender_domain, known.spf, known.dkim, known.dmarc, self._names)
        )
        if isinstance(proof, asyncio.Task):
            await asyncio.wait((proof,), timeout=self._config.policy.stage_timeout)
            proven, why = proof.result() if proof.done() else _UNPROVEN
            proof.cancel()
        else:
            proven, why = proof
        notes = tuple(meanings(outcomes, profile))[:_MOST_NOTES]
        return Evidence(sender_authenticated=proven, authentication=why, notes=notes)


def _asked_for(outcomes: Iterable[Outcome], profile: Profile) -> Edits:
    """What filters want to be changed, in the order of the profile, whoever was done first."""
    asking = [
        one for one in outcomes
        if one.result.edits and one.check in profile.checks and one.check not in profile.dry_run
    ]  # fmt: skip
    asking.sort(key=lambda one: profile.checks.index(one.check))
    return tuple(edit for one in asking for edit in one.result.edits or ())


def _known(results: Mapping[str, Result]) -> _Known | None:
    """What the checks said that were run; None: none of them was."""
    if not results:
        return None
    spf, dkim, dmarc, arc = (_detail(results, name) for name in ("spf", "dkim", "dmarc", "arc"))
    iprev = _iprev(results.get("reverse-dns"))
    if not iprev and all(one is None for one in (spf, dkim, dmarc, arc)):
        return None
    if arc is not None and arc.result == "temperror":
        arc = None  # RFC 8601 has no word for it, and a chain that is not known is not sealed
    return _Known(spf=spf or (), dkim=dkim or (), dmarc=dmarc, arc=arc, iprev=iprev)


def _detail(results: Mapping[str, Result], name: str) -> Any:  # noqa: ANN401 - the check's own
    result = results.get(name)
    return None if result is None else result.detail


def _iprev(result: Result | None) -> str:
    """RFC 8601 §3: whether the client's address and its name lead to each other."""
    if result is None:
        return ""
    if result.undecided:
        return "temperror"
    return "pass" if "name" in result.evidence else "fail"


def _after(header: HeaderSection, edits: Edits) -> HeaderSection:
    """The header section as it goes on, what is added above it included; its `length` still says
    where the body begins in the message as it came.
    """
    text = added_above(edits) + edited(header, edits)
    return replace(parse_header(text, whole=True), complete=header.complete, length=header.length)
