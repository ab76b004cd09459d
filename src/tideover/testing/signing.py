"""DKIM and ARC signed messages for tests, right ones and every kind of wrong ones.

What is signed is canonicalised by the code under test, so tests that judge that bring a judge of
their own.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tideover.authentication.dkim.body_hash import Covered
from tideover.authentication.dkim.canonical import relaxed_field
from tideover.authentication.dkim.signature import signing_input
from tideover.authentication.dkim.verify import hash_pieces
from tideover.message.body import Body
from tideover.message.fields import HeaderSection, parse_header
from tideover.policy.body import Copies

Key = RSAPrivateKey | Ed25519PrivateKey
Tags = Mapping[str, str | None]
"""Values that replace those of a right signature; None: without this tag."""

DOMAIN: Final = "signer.example"
SELECTOR: Final = "s1"
KEY_NAME: Final = f"{SELECTOR}._domainkey.{DOMAIN}"
NAMES: Final = "from:to:subject:date"
_WHO: Final = {"d": DOMAIN, "s": SELECTOR}
_ORDER: Final = (b"arc-authentication-results", b"arc-message-signature", b"arc-seal")


@cache
def rsa_key(bits: int = 1024) -> RSAPrivateKey:
    """A key, the same all the time."""
    return generate_private_key(public_exponent=65537, key_size=bits)


def public_record(key: Key | RSAPublicKey, *, before: str = "v=DKIM1; ", after: str = "") -> str:
    """The key record of DNS; `before` and `after` are tags around k= and p=."""
    public = key if isinstance(key, RSAPublicKey) else key.public_key()
    if isinstance(public, RSAPublicKey):
        kind = "rsa"
        octets = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        kind = "ed25519"
        octets = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return f"{before}k={kind}; p={b64encode(octets).decode()}{after}"


def header_of(message: bytes) -> HeaderSection:
    """Its header section."""
    return parse_header(message, whole=True)


def body_of(*pieces: bytes) -> Body:
    """A message in memory."""
    body = Copies(Path("/nonexistent")).new()
    for piece in pieces:
        body.write(piece)
    return body


def dkim_signed(message: bytes, key: Key, tags: Tags | None = None) -> bytes:
    """The message with a signature above it."""
    algorithm = "rsa-sha256" if isinstance(key, RSAPrivateKey) else "ed25519-sha256"
    default = {"v": "1", "a": algorithm, "c": "relaxed/relaxed", **_WHO, "h": NAMES}
    return _signature("DKIM-Signature", message, key, default, tags or {}) + message


def arc_sealed(
    message: bytes,
    key: Key,
    instance: int,
    *,
    seal: Tags | None = None,
    signature: Tags | None = None,
    results: str | None = None,
) -> bytes:
    """The message with an ARC set above it. `seal` and `signature` are tags of the two signatures;
    `results` is the whole value of the third field.
    """
    text = f"i={instance}; mx.{DOMAIN}; spf=pass" if results is None else results
    third = f"ARC-Authentication-Results: {text}\r\n".encode()
    default = {"i": str(instance), "a": "rsa-sha256", "c": "relaxed/relaxed", **_WHO, "h": NAMES}
    second = _signature("ARC-Message-Signature", message, key, default, signature or {})
    return arc_seal_field(second + third + message, key, instance, seal) + second + third + message


def arc_seal_field(message: bytes, key: Key, instance: int, tags: Tags | None = None) -> bytes:
    """The ARC-Seal alone, over those ARC fields of the message that it should cover."""
    state = "none" if instance == 1 else "pass"
    default = {"i": str(instance), "a": "rsa-sha256", "cv": state, **_WHO, "t": "12345", "b": ""}
    fields = header_of(message).fields
    own = rb"(?:.*[;\s])?i\s*=\s*%d\s*(?:;|$)"
    parts = [
        relaxed_field(field)
        for number in range(1, instance + 1)
        for name in _ORDER
        for field in fields
        if (number, name) != (instance, b"arc-seal")
        and field.key == name
        and re.match(own % number, field.value, re.DOTALL)
    ]
    values = default | dict(tags or {})
    parts.append(relaxed_field(header_of(_field("ARC-Seal", values)).fields[0]))
    return _with_b("ARC-Seal", values, b"\r\n".join(parts), key)


def _signature(name: str, message: bytes, key: Key, default: Tags, tags: Tags) -> bytes:
    header = header_of(message)
    values = {**default, "bh": "", "b": "", **tags}
    form = values.get("c") or "simple/simple"
    length = values.get("l")
    covered = Covered(form.endswith("/relaxed"), int(length) if length else None)
    if values["bh"] == "":
        hashed = hash_pieces([message], [covered], header.length)[covered]
        values["bh"] = b64encode(hashed.digest).decode()
    relaxed = form.startswith("relaxed")
    names = [part.strip().lower().encode() for part in (values.get("h") or "").split(":")]
    open_field = header_of(_field(name, values)).fields[0]
    text = signing_input(header.fields, open_field, names, relaxed=relaxed)
    return _with_b(name, values, text, key)


def _with_b(name: str, values: Tags, text: bytes, key: Key) -> bytes:
    if values.get("b") != "":
        return _field(name, values)
    if isinstance(key, RSAPrivateKey):
        octets = key.sign(text, PKCS1v15(), SHA256())
    else:
        octets = key.sign(hashlib.sha256(text).digest())
    return _field(name, {**values, "b": b64encode(octets).decode()})


def _field(name: str, values: Tags) -> bytes:
    text = "; ".join(f"{tag}={value}" for tag, value in values.items() if value is not None)
    return f"{name}: {text}\r\n".encode()
