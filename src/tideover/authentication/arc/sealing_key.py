"""The key that seals: made, read, and shown as the record that goes into DNS. All of it blocks."""

import os
from base64 import b64encode
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from tideover.authentication.dkim.key import MAX_BITS, MIN_BITS

_LARGEST: Final = 16 * 1024
_STRING: Final = 255  # octets of one string in a TXT record (RFC 1035 §3.3)


class SealKeyError(Exception):
    """A key can't be read or made; the text names the file and the cure."""


def load_key(path: Path) -> RSAPrivateKey:
    """The RSA key in this PEM file, without a password.

    Raises:
        SealKeyError: it can't be read, anyone can read it, or it is no key that verifiers take.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o007:
                raise SealKeyError(f"{path}: anyone can use it; chmod 640 it, or make a new key")
            octets = file.read(_LARGEST)
    except OSError as error:
        raise SealKeyError(f"{path}: {error.strerror or error}") from None
    try:
        key = load_pem_private_key(octets, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SealKeyError(f"{path}: not a key in PEM without a password") from None
    if not isinstance(key, RSAPrivateKey):
        raise SealKeyError(f"{path}: ARC seals need an RSA key (RFC 8617), this is none")
    if not MIN_BITS <= key.key_size <= MAX_BITS:
        raise SealKeyError(f"{path}: {key.key_size} bits, which verifiers refuse; make one of 2048")
    return key


def make_key(path: Path, bits: int) -> RSAPrivateKey:
    """Make a key in a file that is not there yet, for its owner only.

    Raises:
        SealKeyError: there is such a file, or it can't be made.
    """
    key = generate_private_key(public_exponent=65537, key_size=bits)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise SealKeyError(f"{path}: is there already, and stays as it is") from None
    except OSError as error:
        raise SealKeyError(f"{path}: can't be made: {error.strerror or error}") from None
    return key


def key_record(key: RSAPrivateKey) -> str:
    """The TXT record of its public half (RFC 6376 §3.6.1)."""
    octets = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; p={b64encode(octets).decode()}"


def zone_lines(name: str, record: str) -> list[str]:
    """The record as zone files have it, in strings of at most 255 octets."""
    strings = [record[at : at + _STRING] for at in range(0, len(record), _STRING)]
    return [f"{name}. IN TXT (", *(f'    "{string}"' for string in strings), ")"]
