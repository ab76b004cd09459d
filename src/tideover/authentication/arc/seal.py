"""A seal of ours: the ARC set that goes above a message (RFC 8617 §5.1)."""

import re
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from msgspec import Struct

from tideover.authentication.arc.sets import (
    MAX_INSTANCE,
    ChainBroken,
    arc_sets,
    highest_instance,
    says_broken,
    seal_input,
)
from tideover.authentication.dkim.body_hash import Covered
from tideover.authentication.dkim.canonical import relaxed_field
from tideover.authentication.dkim.signature import signing_input
from tideover.authentication.dkim.verify import hash_body
from tideover.authentication.results import ArcResult
from tideover.authentication.workers import in_thread
from tideover.message.body import Body
from tideover.message.fields import Field, HeaderSection

SIGNED: Final = (
    b"from", b"to", b"cc", b"subject", b"date", b"message-id", b"reply-to", b"in-reply-to",
    b"references", b"mime-version", b"content-type", b"content-transfer-encoding", b"list-id",
    b"list-help", b"list-unsubscribe", b"list-unsubscribe-post", b"list-subscribe", b"list-post",
    b"list-owner", b"list-archive", b"dkim-signature",
)  # fmt: skip
"""What a message signature covers: what people see, and what proves who wrote it. Nothing that
servers on the way add or take away.
"""

_MOST: Final = 100  # fields that are signed: thousands of "To" must not make a field of their own
_WIDTH: Final = 76
_BODY: Final = Covered(relaxed=True)
_STATES: Final = {"none": "none", "pass": "pass", "fail": "fail"}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")


class Sealer(Struct, frozen=True, kw_only=True):
    """In whose name is sealed: `domain` (d=), `selector` (s=) and the key that DNS has there."""

    domain: str
    selector: str
    key: RSAPrivateKey


async def arc_seal(
    header: HeaderSection,
    body: Body,
    sealer: Sealer,
    *,
    chain: ArcResult,
    results: str,
    now: float,
) -> bytes:
    """Our ARC set: three whole fields that go above all others, or b"" when none may be added.

    `header` is the header section as the message goes on; what is put above it later is not
    covered. `chain` is what `arc_validate` said of the message as it came. `results` is the text of
    the Authentication-Results field: who we are, then what was found. `now` is Unix time.

    None is added to a chain that a seal calls broken or that has 50 sets, and none while DNS does
    not say what the chain is worth: a wrong cv=fail could never be taken back.

    Raises:
        OSError: the body can't be read.
    """
    instance = highest_instance(header) + 1
    state = _STATES.get(chain.result)
    if state is None or instance > MAX_INSTANCE or not header.complete or says_broken(header):
        return b""
    before: list[bytes] = []
    if state == "pass":
        try:
            before = seal_input(arc_sets(header))
        except ChainBroken:  # it was whole when it came: a filter took a field of it away
            state = "fail"
    elif state == "none" and instance > 1:
        state = "fail"
    hashed = (await hash_body(body, (_BODY,), skip=header.length))[_BODY]
    return await in_thread(
        _fields, sealer, instance, state, before, header.fields, hashed.digest, results, int(now)
    )


def _fields(
    sealer: Sealer,
    instance: int,
    state: str,
    before: Sequence[bytes],
    fields: Sequence[Field],
    digest: bytes,
    results: str,
    now: int,
) -> bytes:
    who = f"d={sealer.domain}; s={sealer.selector}; t={now}"
    names = _names(fields)
    assertion = _field("ARC-Authentication-Results", f"i={instance}; {_CONTROL.sub(' ', results)}")
    start = f"i={instance}; a=rsa-sha256; c=relaxed/relaxed; {who}; h={' : '.join(names)}; "
    open_signature = _field("ARC-Message-Signature", f"{start}bh={b64encode(digest).decode()}; b=")
    text = signing_input(fields, open_signature, [name.encode() for name in names], relaxed=True)
    signature = _signed(open_signature, text, sealer.key)
    open_seal = _field("ARC-Seal", f"i={instance}; a=rsa-sha256; cv={state}; {who}; b=")
    # of a broken chain the seal covers only its own set (RFC 8617 §5.1.2)
    parts = (*before, *map(relaxed_field, (assertion, signature, open_seal)))
    seal = _signed(open_seal, b"\r\n".join(parts), sealer.key)
    return seal.raw + signature.raw + assertion.raw


def _names(fields: Sequence[Field]) -> list[str]:
    """The names to sign, each as often as there are such fields."""
    counts = Counter(field.key for field in fields)
    counts[b"from"] = max(1, counts[b"from"])  # without it no signature is valid
    names = [name.decode() for name in SIGNED for _ in range(counts[name])]
    return names[:_MOST]


def _signed(field: Field, text: bytes, key: RSAPrivateKey) -> Field:
    """The field, which ends with "b=", with the signature of this text behind it."""
    octets = b64encode(key.sign(text, PKCS1v15(), SHA256())).decode()
    lines = (octets[at : at + _WIDTH - 1] for at in range(0, len(octets), _WIDTH - 1))
    value = field.value + b"".join(b"\r\n\t" + line.encode() for line in lines)
    return Field(field.name, value, field.name + b":" + value + b"\r\n")


def _field(name: str, text: str) -> Field:
    """The field, folded at its spaces."""
    words = text.split()
    lines, line = [], f"{name}: {words[0]}"
    for word in words[1:]:
        if len(line) + 1 + len(word) > _WIDTH:
            lines.append(line)
            line = f"\t{word}"
        else:
            line = f"{line} {word}"
    raw = "\r\n".join([*lines, line]).encode()
    return Field(name.encode(), raw[len(name) + 1 :], raw + b"\r\n")
