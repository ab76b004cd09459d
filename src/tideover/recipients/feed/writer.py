"""Makes a feed file: on the primary's side.

The file is on the disk, whole and checked by our own reader, before it takes the place of an older
one; whoever fetches it meanwhile gets one or the other. Everything here blocks.
"""

import hashlib
import os
import secrets
import stat
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct, ValidationError, convert, structs

from tideover.durable import sync_directory
from tideover.recipients.answer import spoken
from tideover.recipients.feed.format import (
    Cost,
    EntryTerms,
    Extras,
    FeedError,
    FeedTerms,
    Header,
    PatternTerms,
    base64,
    encode_extras,
    entry_hex,
    header_lines,
)
from tideover.recipients.feed.hashing import KEY, SALT, AddressHash, fast, key_id, slow
from tideover.recipients.feed.keys import public_text
from tideover.recipients.feed.reader import open_feed, read_header
from tideover.recipients.feed.slow import SlowHash
from tideover.recipients.interface import Confidence, Terms
from tideover.recipients.listing import NameList
from tideover.recipients.patterns import Pattern

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_BUCKETS: Final = 256
_STEP: Final = 10_000
_BATCH: Final = 64
_MODE: Final = 0o640


class FeedPlan(Struct, frozen=True, kw_only=True):
    """How a feed is to be. Times in seconds. `slow` None: the fast profile. `key` is the hash key
    that its readers have been given; None: a new one, which the feed carries. `serial` None: the
    clock's, or one more than the old file's. `domain` in A-labels. `salt` is for test vectors.
    """

    domain: str
    refresh: int = 900
    retry: int = 300
    expire: int = 7 * 86400
    slow: Cost | None = None
    key: bytes | None = None
    delimiters: str = "+"
    min_confidence: Confidence = Confidence.CATCH_ALL
    serial: int | None = None
    salt: bytes | None = None


class Recipients(Struct, frozen=True, kw_only=True):
    """What goes into a feed. `names` and the keys of `terms` by `names.local_key`."""

    names: Iterable[str]
    terms: Mapping[str, Terms] = {}
    patterns: Sequence[Pattern] = ()
    catch_all: Terms | None = None


class Written(Struct, frozen=True, kw_only=True):
    """What was written. `signer` is the public key, base64, for `feed_signer`."""

    domain: str
    serial: int
    entries: int
    patterns: int
    catch_all: bool
    octets: int
    signer: str
    key_id: str


def recipients_of(lists: Sequence[NameList]) -> Recipients:
    """All that these lists hold, the first first."""
    terms: dict[str, Terms] = {}
    for listing in reversed(lists):
        terms.update(listing.terms or {})
    catch_alls = [listing.catch_all for listing in lists if listing.catch_all is not None]
    return Recipients(
        names=frozenset().union(*(listing.names() for listing in lists)),
        terms=terms,
        patterns=tuple(pattern for listing in lists for pattern in listing.patterns),
        catch_all=catch_alls[0] if catch_alls else None,
    )


def write_feed(
    out: Path,
    plan: FeedPlan,
    recipients: Recipients,
    *,
    signing_key: "Ed25519PrivateKey",
    now: float,
    progress: Callable[[int], None] = lambda _: None,
) -> Written:
    """Write a feed to `out`. `now` is Unix time; `progress` is told the names hashed so far.

    Raises:
        FeedError: it would be no valid feed, or `out` is something else than an older feed.
        OSError: it can't be written.
    """
    if sys.byteorder != "little":
        raise FeedError("feeds need a little-endian machine")
    key = secrets.token_bytes(KEY) if plan.key is None else plan.key
    if len(key) != KEY:
        raise FeedError(f"a hash key has {KEY} octets")
    salt = secrets.token_bytes(SALT) if plan.salt is None else plan.salt
    draft = _draft(plan, key, salt, public_text(signing_key), _serial(out, plan, now), now)
    address_hash = AddressHash(key, salt, plan.domain)
    hashed = _hashed(recipients.names, address_hash, plan.slow)
    every = _STEP if plan.slow is None else _BATCH
    hashes, terms = _sorted(hashed, recipients.terms, progress, every)
    extras = encode_extras(_extras(recipients, terms))
    header = structs.replace(
        draft,
        count=sum(map(len, hashes)),
        hashes_sha256=_digest(hashes),
        extras_length=len(extras),
        extras_sha256=hashlib.sha256(extras).hexdigest(),
    )
    if not header.count and not recipients.patterns and recipients.catch_all is None:
        raise FeedError(f"nobody to write a feed of: no recipient of {plan.domain}")
    lines = header_lines(header)
    signature = base64(signing_key.sign(lines)).encode() + b"\n"
    octets = _replace(out, [lines, signature, *hashes, extras], header, key)
    return Written(
        domain=plan.domain,
        serial=header.serial,
        entries=header.count,
        patterns=len(recipients.patterns),
        catch_all=recipients.catch_all is not None,
        octets=octets,
        signer=header.signer,
        key_id=header.key_id,
    )


def _serial(out: Path, plan: FeedPlan, now: float) -> int:
    """The serial of the new feed, larger than that of the file which it replaces."""
    try:
        old = read_header(out)
    except FileNotFoundError:
        return plan.serial or int(now)
    except FeedError as error:
        raise FeedError(f"{out} is in the way: {error}") from None
    if old.domain != plan.domain:
        raise FeedError(f"{out} is in the way: a feed of {old.domain}")
    if plan.serial is None:
        return max(int(now), old.serial + 1)
    if plan.serial <= old.serial:
        raise FeedError(f"serial {plan.serial} is not larger than the old file's {old.serial}")
    return plan.serial


def _hashed(
    names: Iterable[str], address_hash: AddressHash, cost: Cost | None
) -> Iterator[tuple[str, int]]:
    """Each name with its number."""
    if cost is None:
        for name in names:
            yield name, fast(address_hash.stage_one(name))
        return
    each = iter(names)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        while batch := list(islice(each, _BATCH)):
            values = pool.map(
                lambda name: slow(address_hash.stage_one(name), address_hash.salt, cost), batch
            )
            yield from zip(batch, values, strict=True)


def _sorted(
    hashed: Iterable[tuple[str, int]],
    terms: Mapping[str, Terms],
    progress: Callable[[int], None],
    every: int,
) -> "tuple[list[array[int]], dict[int, Terms]]":
    """The numbers, in ascending order, and the terms by number.

    In buckets by their top octet, so that never more than one of them is a list of objects: ten
    million entries take 80 MB and little more.
    """
    buckets = [array("Q") for _ in range(_BUCKETS)]
    by_value: dict[int, Terms] = {}
    number = 0
    for number, (name, value) in enumerate(hashed, 1):
        buckets[value >> 56].append(value)
        if terms and name in terms:
            by_value[value] = terms[name]
        if number % every == 0:
            progress(number)
    for index, bucket in enumerate(buckets):
        buckets[index] = array("Q", sorted(set(bucket)))
    progress(number)
    return buckets, by_value


def _digest(hashes: "Sequence[array[int]]") -> str:
    digest = hashlib.sha256()
    for bucket in hashes:
        digest.update(bucket)
    return digest.hexdigest()


def _extras(recipients: Recipients, terms: Mapping[int, Terms]) -> Extras:
    try:
        return Extras(
            terms=tuple(
                convert({**_fields(terms[value]), "hash": entry_hex(value)}, EntryTerms)
                for value in sorted(terms)
            ),
            patterns=tuple(
                convert({**_fields(pattern.terms), "pattern": pattern.text}, PatternTerms)
                for pattern in recipients.patterns
            ),
            catch_all=(
                None
                if recipients.catch_all is None
                else convert(_fields(recipients.catch_all), FeedTerms)
            ),
        )
    except ValidationError as error:
        raise FeedError(f"terms or a pattern that a feed can't hold: {error}") from None


def _fields(terms: Terms) -> dict[str, object]:
    fields = structs.asdict(terms)
    if terms.expires is not None:
        fields["expires"] = int(terms.expires)
    if terms.reject is not None and not terms.reject.isascii():
        fields["reject"] = spoken(terms.reject)
    return fields


def _draft(plan: FeedPlan, key: bytes, salt: bytes, signer: str, serial: int, now: float) -> Header:
    """The header but for what is known only at the end: so that a bad plan fails at once."""
    fields = {
        "domain": plan.domain,
        "serial": serial,
        "created": int(now),
        "refresh": plan.refresh,
        "retry": plan.retry,
        "expire": plan.expire,
        "slow": None if plan.slow is None else structs.asdict(plan.slow),
        "key": base64(key) if plan.key is None else None,
        "key_id": key_id(key),
        "salt": base64(salt),
        "delimiters": plan.delimiters,
        "min_confidence": str(plan.min_confidence),
        "signer": signer,
        "count": 0,
        "hashes_sha256": "0" * 64,
        "extras_length": 0,
        "extras_sha256": "0" * 64,
    }
    try:
        return convert(fields, Header)
    except ValidationError as error:
        raise FeedError(f"not possible in a feed: {error}") from None


def _replace(out: Path, pieces: Iterable[object], header: Header, key: bytes) -> int:
    """Write the pieces, check them as a reader would, and put them in the place of `out`."""
    try:
        mode = stat.S_IMODE(out.stat().st_mode)  # a web server may have been let in
    except FileNotFoundError:
        mode = _MODE
    part = out.with_name(f".{out.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    slow_hash = SlowHash(threads=1)
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.writelines(memoryview(piece) for piece in pieces)  # type: ignore[arg-type]  # bytes or array
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
            octets = file.tell()
        open_feed(part, signer=header.signer, domain=header.domain, slow=slow_hash, hash_key=key)
        part.replace(out)
    finally:
        slow_hash.close()
        part.unlink(missing_ok=True)
    sync_directory(out.parent)
    return octets
