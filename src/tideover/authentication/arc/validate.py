"""The chain of a message, validated (RFC 8617 §5.2)."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from tideover.authentication.arc.sets import (
    ArcSet,
    ChainBroken,
    arc_sets,
    highest_instance,
    seal_input,
    sealed_text,
)
from tideover.authentication.dkim.body_hash import BodyHash, Covered
from tideover.authentication.dkim.key import SignerKey
from tideover.authentication.dkim.keys import Keys, NoKey, fetch_keys
from tideover.authentication.dkim.signature import (
    Signature,
    SignatureRefused,
    key_domain,
    read_signature,
)
from tideover.authentication.dkim.verify import SMALL, hash_body, hash_pieces, verdict
from tideover.authentication.results import ArcResult
from tideover.authentication.tags import TagError, base64
from tideover.authentication.workers import in_thread
from tideover.dns.names import Names
from tideover.message.body import Body
from tideover.message.fields import HeaderSection

ALGORITHM: Final = "rsa-sha256"
"""The one that RFC 8617 knows."""

PATIENCE: Final = 15.0
"""Seconds for the keys of a chain: a forger may name 51 whose DNS hangs, and DMARC, which waits for
what ARC says, has to be done before the time for the whole message is up.
"""

_TIME: Final = re.compile(r"[0-9]{1,12}")
_FEW: Final = 1


class _Seal(Struct, frozen=True):
    domain: str
    key_name: str
    octets: bytes


class _Chain(Struct, frozen=True):
    """The sets, what their seals say, and the newest message signature: older ones may be broken,
    as whoever sealed after them changed the message (§5.2.1).
    """

    sets: Sequence[ArcSet]
    seals: Sequence[_Seal]
    newest: Signature

    @property
    def key_names(self) -> list[str]:
        # the newest first: nobody may claim a seal of others whose key is never asked for
        return [self.newest.key_name, *(seal.key_name for seal in reversed(self.seals))]


async def arc_validate(header: HeaderSection, body: Body, names: Names, *, now: float) -> ArcResult:
    """What the chain is worth. `now` is Unix time.

    The result is "temperror" when DNS did not answer for a key and nothing else is wrong: then
    nothing is known, and the message must not be sealed. Does not suspend for a small message with
    one set whose keys are in the cache of `names`.

    Raises:
        OSError: the body can't be read.
    """
    try:
        sets = arc_sets(header)
        if not sets:
            return ArcResult(result="none")
        chain = _read(sets, now)
        keys = await fetch_keys(chain.key_names, names, patience=PATIENCE)
        unknown = _unknown(keys)
        note = await _verify(chain, keys, header, body)
    except ChainBroken as broken:
        return ArcResult(result="fail", instance=highest_instance(header), reason=str(broken))
    return ArcResult(
        result="temperror" if unknown else "pass",
        instance=len(sets),
        sealers=tuple(seal.domain for seal in chain.seals),
        assertions=tuple(each.assertion for each in sets),
        reason=unknown or note,
    )


def _read(sets: Sequence[ArcSet], now: float) -> _Chain:
    newest = sets[-1]
    try:
        signature = read_signature(newest.signature, newest.signature_tags, now=now)
    except SignatureRefused as refused:
        raise ChainBroken(f"the message signature i={newest.instance}: {refused}") from None
    if signature.algorithm != ALGORITHM:
        raise ChainBroken(f"the message signature i={newest.instance} is not {ALGORITHM}")
    if b"arc-seal" in signature.names:
        raise ChainBroken(f"the message signature i={newest.instance} covers seals")
    return _Chain(sets, tuple(_seal(each) for each in sets), signature)


def _seal(each: ArcSet) -> _Seal:
    tags = each.seal_tags
    where = f"the seal i={each.instance}"
    if "h" in tags:
        raise ChainBroken(f"{where} has h=, which no seal may")
    if tags.get("a") != ALGORITHM:
        raise ChainBroken(f"{where} is not {ALGORITHM}")
    if not _TIME.fullmatch(tags.get("t", "0")):
        raise ChainBroken(f"{where} has no time in t=")
    try:
        domain = key_domain(tags.get("d", ""), "d=")
        selector = key_domain(tags.get("s", ""), "s=")
        octets = base64(tags.get("b", ""))
    except (SignatureRefused, TagError) as error:
        raise ChainBroken(f"{where}: {error}") from None
    return _Seal(domain, f"{selector}._domainkey.{domain}", octets)


def _unknown(keys: Keys) -> str:
    """What DNS did not tell, "" when it told all.

    Raises:
        ChainBroken: DNS says that there is no such key, or no good one.
    """
    missing = {name: key for name, key in keys.items() if isinstance(key, NoKey)}
    for name, key in missing.items():
        if key.result != "temperror":
            raise ChainBroken(f"{name}: {key.reason}")
    return next((f"{name}: {key.reason}" for name, key in missing.items()), "")


async def _verify(chain: _Chain, keys: Keys, header: HeaderSection, body: Body) -> str:
    """Verify all whose key is there. Returns what the operator should know.

    Raises:
        ChainBroken: one is wrong.
    """
    covered = chain.newest.covered
    whole = body.whole
    if whole is not None and body.size <= SMALL and len(chain.sets) <= _FEW:
        return _judge(chain, keys, hash_pieces(whole, (covered,), header.length), header)
    hashes: Mapping[Covered, BodyHash] = await hash_body(body, (covered,), skip=header.length)
    return await in_thread(_judge, chain, keys, hashes, header)


def _judge(
    chain: _Chain, keys: Keys, hashes: Mapping[Covered, BodyHash], header: HeaderSection
) -> str:
    note = ""
    key = keys[chain.newest.key_name]
    if isinstance(key, SignerKey):
        hashed = hashes[chain.newest.covered]
        result, note = verdict(chain.newest, key, hashed, header.fields)
        if result != "pass":
            raise ChainBroken(f"the message signature i={len(chain.sets)}: {note}")
    parts = seal_input(chain.sets)
    for each, seal in reversed(list(zip(chain.sets, chain.seals, strict=True))):
        key = keys[seal.key_name]
        if isinstance(key, SignerKey) and not key.verifies(seal.octets, sealed_text(parts, each)):
            raise ChainBroken(f"the seal i={each.instance} is wrong")
    return note
