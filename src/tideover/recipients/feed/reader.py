"""Opens a feed file: nothing of it is used before all of it was checked.

In this order: bounds, header, signature, exact length, both checksums, the order of the hashes,
the extras. Files are read in pieces, not through the map, so that checking takes no memory.
Everything here blocks, for about half a second for ten million entries.
"""

import hashlib
import mmap
import operator
import os
import stat
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import Final

from tideover.recipients.feed.format import (
    ENTRY,
    MAGIC,
    MAX_HEADER,
    SIGNATURE_LINE,
    Extras,
    FeedError,
    FeedTerms,
    Header,
    entry_value,
    octets,
    parse_extras,
    parse_header,
)
from tideover.recipients.feed.hashing import key_id
from tideover.recipients.feed.listing import FastFeed, FeedContents, SlowFeed
from tideover.recipients.feed.slow import SlowHash
from tideover.recipients.interface import Terms
from tideover.recipients.patterns import MAX_PATTERNS, Pattern, PatternError

_PIECE: Final = 1 << 18  # the GIL is held for about a millisecond while one is looked through
Feed = FastFeed | SlowFeed


def open_feed(
    path: Path,
    *,
    signer: str,
    domain: str,
    slow: SlowHash,
    hash_key: bytes | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Feed:
    """The feed in this file, for `domain` (A-labels), signed by `signer` (base64).

    `hash_key` is for feeds that don't carry their key. `progress` is told the entries checked. The
    file must not be changed afterwards, only be replaced.

    Raises:
        FeedError: it is refused, whole.
        OSError: it can't be read.
    """
    if sys.byteorder != "little":
        raise FeedError("feeds need a little-endian machine")
    with path.open("rb") as file:
        header, signature, start = _head(file, signer)
        if header.domain != domain:
            raise FeedError(f"a feed of {header.domain}, not of {domain}")
        key = _key(header, hash_key)
        size = os.fstat(file.fileno()).st_size
        if size != start + header.body_octets():
            raise FeedError(
                f"has {size} octets, and its header says {start + header.body_octets()}"
            )
        _check_hashes(file, header, progress)
        extras = _extras(file, header)
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    mapped.madvise(mmap.MADV_RANDOM)
    hashes = memoryview(mapped)[start : start + header.count * ENTRY].cast("Q")
    contents = FeedContents(
        header=header,
        signature=signature,
        key=key,
        salt=octets(header.salt),
        hashes=hashes,
        terms=_terms_of(extras, hashes),
        patterns=_patterns(extras),
        catch_all=None if extras.catch_all is None else _terms(extras.catch_all),
    )
    return FastFeed(contents) if header.slow is None else SlowFeed(contents, slow)


def read_header(path: Path) -> Header:
    """Only the header of a feed, and nothing is verified: for what it says of itself.

    Raises:
        FeedError: it is no feed.
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        return parse_header(_lines(file))


def _lines(file: BufferedReader) -> bytes:
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise FeedError("not a regular file")
    magic = file.read(len(MAGIC))
    return magic + file.readline(MAX_HEADER) if magic == MAGIC else magic


def _head(file: BufferedReader, signer: str) -> tuple[Header, bytes, int]:
    """Header, signature, and where the body begins."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    lines = _lines(file)
    header = parse_header(lines)
    line = file.read(SIGNATURE_LINE)
    if len(line) != SIGNATURE_LINE or not line.endswith(b"\n"):
        raise FeedError("malformed signature")
    signature = octets(line[:-1].decode("latin-1"))
    if header.signer != signer:
        raise FeedError(f"signed by {header.signer}, which is not feed_signer")
    try:
        Ed25519PublicKey.from_public_bytes(octets(signer)).verify(signature, lines)
    except (InvalidSignature, ValueError):
        raise FeedError("the signature is wrong") from None
    return header, signature, len(lines) + len(line)


def _key(header: Header, given: bytes | None) -> bytes:
    key = given if header.key is None else octets(header.key)
    if key is None:
        raise FeedError(f"does not carry its hash key {header.key_id}, and no feed_key_file is set")
    if key_id(key) != header.key_id:
        raise FeedError(f"its hash key is {header.key_id}, and the one at hand is {key_id(key)}")
    return key


def _check_hashes(file: BufferedReader, header: Header, progress: Callable[[int], None]) -> None:
    """Read all hashes: their checksum, and that each is larger than the one before."""
    digest = hashlib.sha256()
    last = -1
    left = header.count * ENTRY
    while left:
        data = file.read(min(left, _PIECE))
        if not data:
            raise FeedError("ended too early")
        digest.update(data)
        left -= len(data)
        piece = array("Q")
        try:
            piece.frombytes(data)
        except ValueError:
            raise FeedError("ended too early") from None
        if piece[0] <= last or not all(map(operator.lt, piece, piece[1:])):
            raise FeedError("its hashes are not in ascending order")
        last = piece[-1]
        progress(header.count - left // ENTRY)
    if digest.hexdigest() != header.hashes_sha256:
        raise FeedError("the checksum of its hashes is wrong")


def _extras(file: BufferedReader, header: Header) -> Extras:
    data = file.read(header.extras_length)
    if hashlib.sha256(data).hexdigest() != header.extras_sha256:
        raise FeedError("the checksum of its extras is wrong")
    return parse_extras(data)


def _terms(terms: FeedTerms) -> Terms:
    return Terms(
        honeypot=terms.honeypot,
        max_size=terms.max_size,
        reject=terms.reject,
        expires=terms.expires,
    )


def _terms_of(extras: Extras, hashes: "memoryview[int]") -> dict[int, Terms]:
    found = {entry_value(entry.hash): _terms(entry) for entry in extras.terms}
    for value in found:
        place = bisect_left(hashes, value)
        if place == len(hashes) or hashes[place] != value:
            raise FeedError("has terms for an entry that it does not have")
    return found


def _patterns(extras: Extras) -> tuple[Pattern, ...]:
    if len(extras.patterns) > MAX_PATTERNS:
        raise FeedError(f"more than {MAX_PATTERNS} patterns")
    try:
        return tuple(Pattern(entry.pattern, _terms(entry)) for entry in extras.patterns)
    except PatternError as error:
        raise FeedError(f"a pattern is {error}") from None
