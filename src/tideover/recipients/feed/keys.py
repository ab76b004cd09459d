"""The two secrets of a feed: the key that signs it, and the key of its hashes. Both are files.

A key that is made is on the disk, whole and readable for its owner only, before it is used.
Everything here blocks.
"""

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tideover.durable import sync_directory
from tideover.recipients.feed.format import FeedError, base64, octets
from tideover.recipients.feed.hashing import KEY

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_LARGEST: Final = 4096


def signing_key(path: Path) -> "tuple[Ed25519PrivateKey, bool]":
    """The signing key in this file (PEM, PKCS #8, as `openssl genpkey -algorithm ed25519` makes
    it), and whether it was made now because there was none.

    Raises:
        FeedError: it can't be read or made, others can read it, or it is no such key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    made = not path.exists()
    if made:
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        _make(path, pem)
    data = _read(path, forbidden=0o077)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise FeedError(f"{path}: not an Ed25519 key in PEM without a password")
    return key, made


def public_text(key: "Ed25519PrivateKey") -> str:
    """The public key as `feed_signer` wants it: 32 octets in base64."""
    return base64(key.public_key().public_bytes_raw())


def make_hash_key(path: Path) -> bool:
    """Make a hash key in this file unless there is one. Returns whether it was made.

    Raises:
        FeedError: it can't be made.
    """
    if path.exists():
        return False
    _make(path, base64(secrets.token_bytes(KEY)).encode() + b"\n")
    return True


def hash_key(path: Path) -> bytes:
    """The hash key in this file: 32 octets in base64.

    Raises:
        FeedError: it can't be read, anyone can read it, or it is no such key.
    """
    data = _read(path, forbidden=0o007)
    with contextlib.suppress(FeedError, UnicodeDecodeError):
        key = octets(data.decode("ascii").strip())
        if len(key) == KEY:
            return key
    raise FeedError(f"{path}: not a hash key, {KEY} octets in base64")


def _read(path: Path, *, forbidden: int) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & forbidden:
                raise FeedError(f"{path}: others can read it; chmod 600 it, or make a new key")
            return file.read(_LARGEST)
    except OSError as error:
        raise FeedError(f"{path}: {error.strerror or error}") from None


def _make(path: Path, data: bytes) -> None:
    """Make a file that was not there, all at once."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(part, path)  # fails where one came meanwhile, as a rename would not
        finally:
            part.unlink(missing_ok=True)
        sync_directory(path.parent)
    except OSError as error:
        raise FeedError(f"{path}: can't be made: {error.strerror or error}") from None
