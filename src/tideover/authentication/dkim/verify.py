"""All signatures of a message, verified (RFC 6376 §6)."""

from collections.abc import Iterable, Mapping, Sequence
from hmac import compare_digest
from typing import Final

from tideover.authentication.dkim.body_hash import BodyHash, BodyHashes, Covered
from tideover.authentication.dkim.key import SignerKey
from tideover.authentication.dkim.keys import Keys, NoKey, fetch_keys
from tideover.authentication.dkim.signature import (
    Signature,
    SignatureRefused,
    dkim_signature,
    key_domain,
    signing_input,
    tags_of,
)
from tideover.authentication.results import DkimResult
from tideover.authentication.workers import in_thread
from tideover.dns.names import Names
from tideover.message.body import Body
from tideover.message.fields import Field, HeaderSection

MAX_SIGNATURES: Final = 10
# Up to both, the whole work is 0.1 ms (0.6 ms at worst, with keys of 4096 bits), and the way to a
# thread and back would cost three times as much again, most of it on the event loop.
SMALL: Final = 16 * 1024
_FEW: Final = 2
_SHOWN: Final = (b"from", b"subject", b"date", b"to", b"content-type")
"""What readers see of a header section, each of which a message has once (RFC 5322 §3.6)."""


async def verify(
    header: HeaderSection, body: Body, names: Names, *, now: float
) -> tuple[DkimResult, ...]:
    """A result for each DKIM-Signature, from the top, for ten at most. `now` is Unix time.

    Does not suspend for a small message whose keys are in the cache of `names`.

    Raises:
        OSError: the body can't be read.
    """
    read = [_read(field, header, now) for field in _fields(header)]
    signatures = [each for each in read if isinstance(each, Signature)]
    if not signatures:
        return tuple(each for each in read if isinstance(each, DkimResult))
    keys = await fetch_keys((each.key_name for each in signatures), names)
    usable = [each for each in signatures if isinstance(keys[each.key_name], SignerKey)]
    covered = {each.covered for each in usable}
    whole = body.whole
    if whole is not None and body.size <= SMALL and len(usable) <= _FEW:
        hashes = hash_pieces(whole, covered, header.length)
        return _judge_all(read, keys, hashes, header.fields)
    hashes = await hash_body(body, covered, skip=header.length) if usable else {}
    return await in_thread(_judge_all, read, keys, hashes, header.fields)


async def hash_body(
    body: Body, covered: Iterable[Covered], *, skip: int
) -> Mapping[Covered, BodyHash]:
    """Hash a message's body, beyond the first `skip` octets, in a thread.

    Raises:
        OSError: the body can't be read.
    """
    if body.whole is not None:
        return await in_thread(hash_pieces, body.whole, covered, skip)
    hashes = BodyHashes(covered, skip=skip)
    async for piece in body.read():
        await in_thread(hashes.update, piece)
    return await in_thread(hashes.finish)


def hash_pieces(
    pieces: Sequence[bytes], covered: Iterable[Covered], skip: int
) -> Mapping[Covered, BodyHash]:
    """As `hash_body`, at once, for a message in memory."""
    hashes = BodyHashes(covered, skip=skip)
    hashes.update(b"".join(pieces))
    return hashes.finish()


def verdict(
    signature: Signature, key: SignerKey, hashed: BodyHash, fields: Sequence[Field]
) -> tuple[str, str]:
    """Whether the signature is right: a word of RFC 8601 §2.7.1, and what the operator should
    know.
    """
    if key.algorithm != signature.algorithm:
        return "permerror", "the key is of another kind than the signature"
    covered = signature.covered.length
    if not compare_digest(hashed.digest, signature.body_hash):
        return "fail", "the body was changed"
    text = signing_input(fields, signature.field, signature.names, relaxed=signature.relaxed)
    if not key.verifies(signature.octets, text):
        return "fail", "the signature is wrong: the header was changed, or the key"
    if covered is not None and covered < hashed.length:
        return "pass", f"the last {hashed.length - covered} octets of the body are not signed (l=)"
    name = next((one for one in _SHOWN if _stands_above(one, signature, fields)), b"")
    return "pass", f"another {name.decode()} stands above the signed one" if name else ""


def _stands_above(name: bytes, signature: Signature, fields: Sequence[Field]) -> bool:
    """Whether there are more fields of a name than a signature covers (RFC 6376 §8.15)."""
    signed = signature.names.count(name)
    return 0 < signed < sum(field.key == name for field in fields)


def _fields(header: HeaderSection) -> list[Field]:
    return list(header.all(b"dkim-signature"))[:MAX_SIGNATURES]


def _read(field: Field, header: HeaderSection, now: float) -> Signature | DkimResult:
    tags: dict[str, str] = {}
    if not header.complete:
        return DkimResult(
            result="neutral", domain="", selector="", reason="the header section is too long"
        )
    try:
        tags = tags_of(field)
        return dkim_signature(field, tags, now=now)
    except SignatureRefused as refused:
        return DkimResult(
            result=refused.result,
            domain=_name(tags, "d"),
            selector=_name(tags, "s"),
            algorithm=tags.get("a", "")[:40],
            reason=str(refused),
        )


def _name(tags: dict[str, str], tag: str) -> str:
    try:
        return key_domain(tags.get(tag, ""), tag)
    except SignatureRefused:
        return ""


def _judge_all(
    read: Sequence[Signature | DkimResult],
    keys: Keys,
    hashes: Mapping[Covered, BodyHash],
    fields: Sequence[Field],
) -> tuple[DkimResult, ...]:
    return tuple(
        each if isinstance(each, DkimResult) else _judge(each, keys[each.key_name], hashes, fields)
        for each in read
    )


def _judge(
    signature: Signature,
    key: SignerKey | NoKey,
    hashes: Mapping[Covered, BodyHash],
    fields: Sequence[Field],
) -> DkimResult:
    testing = False
    if isinstance(key, NoKey):
        result, reason = key.result, key.reason
    elif key.exact and signature.identity.rpartition("@")[2] != signature.domain:
        result, reason = "permerror", "the key allows no subdomain in i= (t=s)"
    else:
        result, reason = verdict(signature, key, hashes[signature.covered], fields)
        testing = key.testing
    return DkimResult(
        result=result,
        domain=signature.domain,
        selector=signature.selector,
        identity=signature.identity,
        algorithm=signature.algorithm,
        signature=signature.beginning,
        testing=testing,
        reason=reason,
    )
