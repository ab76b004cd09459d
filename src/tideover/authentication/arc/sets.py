"""The ARC sets of a message: found, and their structure checked (RFC 8617 §4, §5.2)."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from tideover.authentication.dkim.canonical import relaxed_field
from tideover.authentication.dkim.signature import SignatureRefused, tags_of, without_signature
from tideover.message.fields import Field, HeaderSection

SEAL: Final = b"arc-seal"
SIGNATURE: Final = b"arc-message-signature"
RESULTS: Final = b"arc-authentication-results"
KEYS: Final = frozenset((SEAL, SIGNATURE, RESULTS))
MAX_INSTANCE: Final = 50
_MOST_FIELDS: Final = 3 * MAX_INSTANCE
_INSTANCE: Final = re.compile(r"[1-9][0-9]?")
_ASSERTION: Final = re.compile(rb"[ \t\r\n]*i[ \t\r\n]*=[ \t\r\n]*([1-9][0-9]?)[ \t\r\n]*;")
_MAX_FIELD: Final = 16 * 1024


class ChainBroken(Exception):  # noqa: N818 - an answer more than an error
    """The chain fails; the text says why."""


class ArcSet(Struct, frozen=True, kw_only=True):
    """The three fields of one instance, with the tags of two of them; `assertion` is the text
    after the "i=N;" of the third.
    """

    instance: int
    seal: Field
    seal_tags: Mapping[str, str]
    signature: Field
    signature_tags: Mapping[str, str]
    results: Field
    assertion: str


def highest_instance(header: HeaderSection) -> int:
    """The highest instance that any ARC field names, however broken the chain is; 0: none. With
    more fields than a chain can have, the highest that there is.
    """
    fields = _arc_fields(header)
    if len(fields) > _MOST_FIELDS:
        return MAX_INSTANCE
    return max((_instance(field) or 0 for field in fields), default=0)


def says_broken(header: HeaderSection) -> bool:
    """Whether the newest seal says cv=fail: nothing more may be sealed then (§5.1.2)."""
    highest = highest_instance(header)
    return any(
        _instance(field) == highest and tags_of(field).get("cv") == "fail"
        for field in header.all(SEAL)
        if highest
    )


def arc_sets(header: HeaderSection) -> tuple[ArcSet, ...]:
    """The sets from the first to the newest; () when there are no ARC fields.

    Raises:
        ChainBroken: they are no chain of whole sets, or one says that it was broken before.
    """
    fields = _arc_fields(header)
    if not fields:
        return ()
    if not header.complete:
        raise ChainBroken("the header section is too long")
    if len(fields) > _MOST_FIELDS:
        raise ChainBroken(f"more than {MAX_INSTANCE} ARC sets")
    found: dict[tuple[int, bytes], Field] = {}
    for field in fields:
        instance = _instance(field)
        if instance is None:
            raise ChainBroken("an ARC field is malformed, or has no instance from 1 to 50")
        if (instance, field.key) in found:
            raise ChainBroken(f"two {field.key.decode()} fields with i={instance}")
        found[instance, field.key] = field
    newest = max(instance for instance, _ in found)
    if len(found) != 3 * newest:  # there are no others than from 1 to the newest
        raise ChainBroken("an ARC set is not complete")
    sets = tuple(_set(found, instance) for instance in range(1, newest + 1))
    for each in reversed(sets):
        _check_state(each)
    return sets


def seal_input(sets: Sequence[ArcSet]) -> list[bytes]:
    """What seals sign, field by field: the text of a seal is all up to it, with its own b= taken
    out (§5.1.1).
    """
    parts = []
    for each in sets:
        parts += [relaxed_field(each.results), relaxed_field(each.signature)]
        parts.append(relaxed_field(each.seal))
    return parts


def sealed_text(parts: Sequence[bytes], each: ArcSet) -> bytes:
    """The text that this set's seal signs; `parts` is what `seal_input` gave."""
    before = parts[: 3 * each.instance - 1]
    return b"\r\n".join((*before, relaxed_field(without_signature(each.seal))))


def _arc_fields(header: HeaderSection) -> list[Field]:
    return [field for field in header.fields if field.key in KEYS]


def _instance(field: Field) -> int | None:
    """Its i=, from 1 to 50, or None."""
    if len(field.value) > _MAX_FIELD:
        return None
    if field.key == RESULTS:
        match = _ASSERTION.match(field.value)
        text = match[1].decode() if match else ""
    else:
        try:
            text = tags_of(field).get("i", "")
        except SignatureRefused:
            return None
    if not _INSTANCE.fullmatch(text) or int(text) > MAX_INSTANCE:
        return None
    return int(text)


def _set(found: Mapping[tuple[int, bytes], Field], instance: int) -> ArcSet:
    seal, signature = found[instance, SEAL], found[instance, SIGNATURE]
    results = found[instance, RESULTS]
    return ArcSet(
        instance=instance,
        seal=seal,
        seal_tags=tags_of(seal),
        signature=signature,
        signature_tags=tags_of(signature),
        results=results,
        assertion=_assertion(results),
    )


def _assertion(field: Field) -> str:
    text = field.value[field.value.index(b";") + 1 :].decode(errors="replace")
    return " ".join(text.split())


def _check_state(each: ArcSet) -> None:
    state = each.seal_tags.get("cv", "")
    if state == "fail":
        raise ChainBroken(f"the sealer of i={each.instance} found the chain broken")
    if state != ("none" if each.instance == 1 else "pass"):
        raise ChainBroken(f"cv= of i={each.instance} is not what it has to be")
