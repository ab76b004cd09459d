"""Public keys of signers, as DNS has them (RFC 6376 §3.6.1, RFC 8301, RFC 8463)."""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from msgspec import Struct

from tideover.authentication.tags import TagError, base64, colon_list, parse_tags

MIN_BITS: Final = 1024
MAX_BITS: Final = 4096  # what RFC 8301 §3.2 wants of verifiers; larger ones cost too much
_MAX_EXPONENT: Final = 1 << 32  # verification takes as long as the exponent is
_MAX_RECORD: Final = 4096
_MAX_RECORDS: Final = 5
_CACHED: Final = 2048


class KeyRefused(Exception):  # noqa: N818 - an answer more than an error
    """There is no key to verify with. `result` is the word of RFC 8601 §2.7.1 for it."""

    def __init__(self, reason: str, result: str = "permerror") -> None:
        super().__init__(reason)
        self.result = result


class SignerKey(Struct, frozen=True):
    """A usable key. `algorithm` is what a= must say; `testing` and `exact` are t=y and t=s: the
    domain of i= must then be d= itself.
    """

    algorithm: str
    key: RSAPublicKey | Ed25519PublicKey
    testing: bool = False
    exact: bool = False

    def verifies(self, signature: bytes, text: bytes) -> bool:
        """Whether this key signed the text."""
        try:
            if isinstance(self.key, RSAPublicKey):
                self.key.verify(signature, text, PKCS1v15(), SHA256())
            else:
                self.key.verify(signature, sha256(text).digest())  # RFC 8463 §3
        except InvalidSignature:
            return False
        return True


def choose_key(records: Sequence[bytes]) -> SignerKey:
    """The key of the TXT records of a name: the first that is one (there should be only one).

    Raises:
        KeyRefused: none of them is.
    """
    refused: KeyRefused | None = None
    for record in records[:_MAX_RECORDS]:
        try:
            return parse_key(record)
        except KeyRefused as why:
            refused = refused or why
    raise refused or KeyRefused("no key in DNS")


@lru_cache(_CACHED)
def parse_key(record: bytes) -> SignerKey:
    """Read one record.

    Raises:
        KeyRefused: it is no key, or none for mail, or too weak or too large.
    """
    if len(record) > _MAX_RECORD:
        raise KeyRefused("the key record is too long")
    try:
        tags = parse_tags(record)
        _check(tags)
        octets = base64(tags["p"])
    except TagError as error:
        raise KeyRefused(f"the key record is broken: {error}") from None
    flags = colon_list(tags.get("t", ""))
    kind = tags.get("k", "rsa")
    if kind == "rsa":
        key: RSAPublicKey | Ed25519PublicKey = _rsa(octets)
    elif kind == "ed25519" and len(octets) == 32:
        key = Ed25519PublicKey.from_public_bytes(octets)
    else:
        raise KeyRefused("the key is of no known kind")
    return SignerKey(f"{kind}-sha256", key, testing="y" in flags, exact="s" in flags)


def _check(tags: dict[str, str]) -> None:
    if tags.get("v", "DKIM1") != "DKIM1":  # it has to be the first, but nobody insists on that
        raise KeyRefused("the key record is of another version")
    if "p" not in tags:
        raise KeyRefused("the key record has no key")
    if not tags["p"]:
        raise KeyRefused("the key is revoked")
    if "h" in tags and "sha256" not in colon_list(tags["h"]):
        raise KeyRefused("the key is for another hash")
    if not {"*", "email"} & set(colon_list(tags.get("s", "*"))):
        raise KeyRefused("the key is not for mail")


def _rsa(octets: bytes) -> RSAPublicKey:
    try:
        key = load_der_public_key(octets)  # SubjectPublicKeyInfo, or RSAPublicKey as RFC 6376 says
    except (ValueError, UnsupportedAlgorithm):
        raise KeyRefused("the key is broken") from None
    if not isinstance(key, RSAPublicKey):
        raise KeyRefused("the key is of another kind than it says")
    if key.key_size < MIN_BITS:
        raise KeyRefused(f"an RSA key of {key.key_size} bits is too weak", "policy")
    if key.key_size > MAX_BITS or key.public_numbers().e > _MAX_EXPONENT:
        raise KeyRefused(f"an RSA key of {key.key_size} bits is too large", "policy")
    return key
