"""The text of a feed file: its three lines and its extras, to and from values. Values only.

Everything has one spelling (canonical JSON, canonical base64), so that no two readers can
understand one file differently, and every octet counts.
"""

import binascii
from base64 import b64decode, b64encode
from itertools import pairwise
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from tideover.recipients.interface import Confidence

MAGIC: Final = b"TIDEOVER-FEED 1\n"
MAX_HEADER: Final = 4096
"""Octets of the header line."""
MAX_EXTRAS: Final = 16 * 1024 * 1024
"""Octets of the extras: terms, patterns, the catch-all."""
MAX_COUNT: Final = 1 << 30
"""Hashes in one feed."""
ENTRY: Final = 8
"""Octets of one hash."""
SIGNATURE_LINE: Final = 89
"""64 octets in base64, and the line end."""

_BASE64_32: Final = r"^[A-Za-z0-9+/]{43}=\Z"
_BASE64_16: Final = r"^[A-Za-z0-9+/]{22}==\Z"
_SECONDS: Final = 10 * 365 * 86400

Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Key = Annotated[str, Meta(pattern=_BASE64_32)]
Salt = Annotated[str, Meta(pattern=_BASE64_16)]
KeyId = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
EntryHex = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9])?\Z")]
Delimiters = Annotated[str, Meta(pattern=r"^[!#$&'*+./=?^_`{|}~-]{0,8}\Z")]
Seconds = Annotated[int, Meta(ge=1, le=_SECONDS)]
Moment = Annotated[int, Meta(ge=0, le=1 << 53)]
Serial = Annotated[int, Meta(ge=1, le=1 << 53)]
# What a client is told: one line of printable ASCII, since it becomes an SMTP reply.
ReplyText = Annotated[str, Meta(pattern=r"^[ -~]{1,400}\Z")]
PatternText = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,1000}\Z")]
Minimum = Literal["hashed", "pattern", "catch-all"]


class FeedError(ValueError):
    """This is no feed that we take. The text is for the operator: one line."""


class Cost(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one Argon2id (RFC 9106) costs. `memory` in KiB."""

    iterations: Annotated[int, Meta(ge=1, le=16)] = 2
    lanes: Annotated[int, Meta(ge=1, le=4)] = 1
    memory: Annotated[int, Meta(ge=64, le=256 * 1024)] = 19 * 1024


class Header(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The second line. Times are Unix seconds, `refresh`, `retry` and `expire` seconds as in a
    SOA record (RFC 1035 §3.3.13). `slow` is None in the fast profile; `key` None when it is
    handed over by another way.
    """

    domain: Name
    serial: Serial
    created: Moment
    refresh: Seconds
    retry: Seconds
    expire: Seconds
    hash: Literal["blake2b-256"] = "blake2b-256"
    slow: Cost | None = None
    key: Key | None = None
    key_id: KeyId
    salt: Salt
    normalisation: Literal["nfc-lower-1"] = "nfc-lower-1"
    delimiters: Delimiters = "+"
    min_confidence: Minimum = "catch-all"
    signer: Key
    count: Annotated[int, Meta(ge=0, le=MAX_COUNT)]
    hashes_sha256: Digest
    extras_length: Annotated[int, Meta(ge=0, le=MAX_EXTRAS)]
    extras_sha256: Digest

    @property
    def minimum(self) -> Confidence:
        """The least that the feed's owner wants mail to be taken for."""
        return Confidence(self.min_confidence)

    def body_octets(self) -> int:
        """What follows the three lines."""
        return self.count * ENTRY + self.extras_length


class FeedTerms(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """As `interface.Terms`, within the limits of the format."""

    honeypot: bool = False
    max_size: Annotated[int, Meta(ge=0, le=1 << 53)] | None = None
    reject: ReplyText | None = None
    expires: Moment | None = None


class EntryTerms(FeedTerms, frozen=True, kw_only=True, omit_defaults=True):
    """The terms of one hashed entry. `hash`: its octets as they stand in the file, in hex."""

    hash: EntryHex


class PatternTerms(FeedTerms, frozen=True, kw_only=True, omit_defaults=True):
    """One pattern and its terms."""

    pattern: PatternText


class Extras(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What follows the hashes. `terms` in ascending order of hash, each but once."""

    terms: tuple[EntryTerms, ...] = ()
    patterns: tuple[PatternTerms, ...] = ()
    catch_all: FeedTerms | None = None


def header_lines(header: Header) -> bytes:
    """The first two lines: what is signed. Padded so that the hashes begin at a multiple of 8."""
    text = msgspec.json.encode(header)
    padding = -(len(MAGIC) + len(text) + 1 + SIGNATURE_LINE) % ENTRY
    return MAGIC + text + b" " * padding + b"\n"


def parse_header(lines: bytes) -> Header:
    """The header of the first two lines, as `header_lines` makes them.

    Raises:
        FeedError: it is none, or has another spelling.
    """
    if not lines.startswith(MAGIC):
        if lines.startswith(b"TIDEOVER-FEED "):
            raise FeedError("a feed of a version that is not known here")
        raise FeedError("not a feed")
    try:
        header = msgspec.json.decode(lines[len(MAGIC) :], type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FeedError(f"malformed header: {_one_line(error)}") from None
    if header_lines(header) != lines:
        raise FeedError("malformed header: not in canonical form")
    for text in (header.key, header.salt, header.signer):
        if text is not None:
            octets(text)
    return header


def encode_extras(extras: Extras) -> bytes:
    """The JSON of the extras.

    Raises:
        FeedError: they are larger than a feed may hold.
    """
    data = msgspec.json.encode(extras)
    if len(data) > MAX_EXTRAS:
        raise FeedError(f"terms and patterns take more than {MAX_EXTRAS >> 20} MiB")
    return data


def parse_extras(data: bytes) -> Extras:
    """The extras of a feed.

    Raises:
        FeedError: malformed, or another spelling than `encode_extras` has.
    """
    try:
        extras = msgspec.json.decode(data, type=Extras)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FeedError(f"malformed extras: {_one_line(error)}") from None
    if msgspec.json.encode(extras) != data:
        raise FeedError("malformed extras: not in canonical form")
    hashes = [entry_value(terms.hash) for terms in extras.terms]
    if any(a >= b for a, b in pairwise(hashes)):
        raise FeedError("malformed extras: terms are not in ascending order")
    return extras


def entry_value(text: str) -> int:
    """The number that an entry's hex stands for: its octets are little-endian."""
    return int.from_bytes(bytes.fromhex(text), "little")


def entry_hex(value: int) -> str:
    """The other way round."""
    return value.to_bytes(ENTRY, "little").hex()


def base64(data: bytes) -> str:
    """Canonical base64 (RFC 4648 §4)."""
    return b64encode(data).decode("ascii")


def octets(text: str) -> bytes:
    """What canonical base64 stands for.

    Raises:
        FeedError: it is not canonical (RFC 4648 §3.5).
    """
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise FeedError("malformed base64") from None
    if base64(data) != text:
        raise FeedError("base64 that is not canonical")
    return data


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
