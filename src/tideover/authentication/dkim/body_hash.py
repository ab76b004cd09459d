"""Hashes of a body for all signatures that cover it, in one pass (RFC 6376 §3.7)."""

import hashlib
from collections.abc import Iterable

from msgspec import Struct

from tideover.authentication.dkim.canonical import CanonicalBody


class Covered(Struct, frozen=True):
    """What of a body is hashed: its canonical form, and how many octets of that (None: all)."""

    relaxed: bool
    length: int | None = None


class BodyHash(Struct, frozen=True):
    """SHA-256 of what is covered; `length` is that of the whole canonical body."""

    digest: bytes
    length: int


class BodyHashes:
    """Takes a message piece by piece; its first `skip` octets, the header section, don't count."""

    __slots__ = ("_bodies", "_digests", "_skip")

    def __init__(self, covered: Iterable[Covered], *, skip: int) -> None:
        self._skip = skip
        self._digests = {each: _Digest(each.length) for each in covered}
        self._bodies = [
            CanonicalBody(digest.update, relaxed=each.relaxed)
            for each, digest in self._digests.items()
        ]

    def update(self, piece: bytes) -> None:
        """Take the next piece of the message."""
        if self._skip:
            skipped = min(self._skip, len(piece))
            self._skip -= skipped
            piece = piece[skipped:]
        if piece:
            for body in self._bodies:
                body.update(piece)

    def finish(self) -> dict[Covered, BodyHash]:
        """The hashes. Call it once, at the end of the message."""
        for body in self._bodies:
            body.finish()
        return {each: digest.result() for each, digest in self._digests.items()}


class _Digest:
    __slots__ = ("_hash", "_left", "_length")

    def __init__(self, limit: int | None) -> None:
        self._hash = hashlib.sha256()
        self._left = limit
        self._length = 0

    def update(self, octets: bytes) -> None:
        self._length += len(octets)
        if self._left is None:
            self._hash.update(octets)
        elif self._left:
            octets = octets[: self._left]
            self._left -= len(octets)
            self._hash.update(octets)

    def result(self) -> BodyHash:
        return BodyHash(self._hash.digest(), self._length)
