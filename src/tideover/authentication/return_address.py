"""Return addresses that their owner signed: BATV and SRS. A bounce to a forged one is no bounce.

BATV (draft-levine-smtp-batv) is `prvs=KDDDSSSSSS=local@domain`: key number, day, the first three
octets of an HMAC-SHA1 in hex. SRS is `SRS0=HASH=TT=domain=local` and, forwarded once more,
`SRS1=HASH=domain==HASH=TT=domain=local`, as Mail::SRS, libsrs2 and PostSRSd write it, or Exim.

Lower case may have been made of all on the way, so hashes are compared without regard to case.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import md5, sha1
from hmac import compare_digest
from hmac import digest as hmac_digest
from pathlib import Path
from typing import Final

MAX_KEYS: Final = 16
MAX_KEY_FILE: Final = 64 * 1024

_DAY: Final = 86400
_BATV_DAYS: Final = 1000
_BATV_AHEAD: Final = 100  # days that an address may still be good for; most are for 7
_BATV_LATE: Final = 7  # some write the day of sending; and a bounce that waited is still one
_SRS_DAYS: Final = 1024
_SRS_AGE: Final = 49  # as Mail::SRS has it, the longest of all
_SRS_AHEAD: Final = 1  # clocks differ
_MIN_HASH: Final = 4

_BATV: Final = re.compile(r"prvs=([0-9])([0-9]{3})([0-9a-f]{6})=(.+)", re.IGNORECASE | re.DOTALL)
_SRS: Final = re.compile(r"srs([01])[-+=]([^=]*)=(.*)", re.IGNORECASE | re.DOTALL)
_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"


def read_keys(path: Path) -> tuple[bytes, ...]:
    """The keys in a file: one a line, the newest first, without the space around them.

    Raises:
        OSError: it can't be read.
        ValueError: it has no key, too many, or is too large.
    """
    with path.open("rb") as file:
        text = file.read(MAX_KEY_FILE + 1)
    keys = tuple(line.strip() for line in text.split(b"\n") if line.strip())
    if not keys or len(keys) > MAX_KEYS or len(text) > MAX_KEY_FILE:
        raise ValueError(f"{path} should have 1 to {MAX_KEYS} keys, one a line")
    return keys


def signed_batv(local: str, domain: str, keys: Sequence[bytes], now: float) -> bool | None:
    """Whether `local@domain` bears a BATV signature by one of the keys that has not run out; None
    when it has no form of BATV. `local` is without quotes, `now` Unix time.
    """
    match = _BATV.fullmatch(local)
    if match is None:
        return None if local[:5].lower() != "prvs=" else False
    number, day, mark, original = match.groups()
    left = (int(day) - int(now // _DAY) + _BATV_LATE) % _BATV_DAYS
    if left > _BATV_AHEAD + _BATV_LATE:
        return False
    address = f"{original}@{domain}"
    spellings = dict.fromkeys((address, f"{original}@{domain.lower()}", address.lower()))
    return any(
        _same(mark, hmac_digest(key, f"{number}{day}{one}".encode(), sha1)[:3].hex())
        for key in keys
        for one in spellings
    )


def signed_srs(local: str, keys: Sequence[bytes], now: float) -> bool | None:
    """Whether a local part is an SRS one by one of the keys that has not run out; None when it has
    no form of SRS. An SRS1 one has no time of its own.
    """
    match = _SRS.fullmatch(local)
    if match is None:
        return None
    kind, mark, rest = match.groups()
    if kind == "1":
        domain, equals, inner = rest.partition("=")
        return bool(equals and inner and domain) and _by_srs(mark, (domain, inner), keys)
    time, _, address = rest.partition("=")
    domain, _, user = address.partition("=")
    if not user or not domain or not _is_fresh(time, now):
        return False
    return _by_srs(mark, (time, domain, user), keys) or _by_exim(mark, f"{user}@{domain}", keys)


def _by_srs(mark: str, parts: Iterable[str], keys: Sequence[bytes]) -> bool:
    signed = "".join(parts).encode().lower()
    return len(mark) >= _MIN_HASH and any(
        _same(mark, b64encode(hmac_digest(key, signed, sha1)).decode()[: len(mark)]) for key in keys
    )


def _by_exim(mark: str, address: str, keys: Sequence[bytes]) -> bool:
    """Exim signs the address, without the time, by MD5."""
    signed = address.encode().lower()
    return len(mark) == _MIN_HASH and any(
        _same(mark, hmac_digest(key, signed, md5).hex()[:_MIN_HASH]) for key in keys
    )


def _is_fresh(time: str, now: float) -> bool:
    """Whether a time of SRS, the day in base 32, is not long ago."""
    digits = [_BASE32.find(letter) for letter in time.lower()]
    if len(digits) != 2 or -1 in digits:
        return False
    day = digits[0] * 32 + digits[1]
    return (int(now // _DAY) + _SRS_AHEAD - day) % _SRS_DAYS <= _SRS_AGE + _SRS_AHEAD


def _same(mark: str, wanted: str) -> bool:
    return compare_digest(mark.lower().encode(), wanted.lower().encode())
