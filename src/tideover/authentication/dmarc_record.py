"""DMARC policy records (RFC 9989 §4.7): what a domain's owner asks for."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from msgspec import Struct

_MAX: Final = 4096  # octets; longer ones are no DMARC records
_VERSION: Final = re.compile(r"[vV][ \t]*=[ \t]*DMARC1[ \t]*(?:;|$)")
_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*:[!-~]+", re.IGNORECASE)
_POLICIES: Final = ("none", "quarantine", "reject")
_ONE_LESS: Final = {"reject": "quarantine", "quarantine": "none", "none": "none"}


class Record(Struct, frozen=True, kw_only=True):
    """One record. `policy`, `subdomains` and `missing` are p=, sp= and np=, each none, quarantine
    or reject, with what stands in for a tag that is not there; test mode (t=y) is already applied.

    `psd` is y, n or u. `strict_dkim` and `strict_spf` are adkim=s and aspf=s. `broken`: there is no
    policy to go by, and nobody who would hear of it either, so DMARC does not apply (§4.10.1).
    """

    policy: str
    subdomains: str
    missing: str
    psd: str = "u"
    strict_dkim: bool = False
    strict_spf: bool = False
    broken: bool = False


def record_of(strings: Iterable[bytes]) -> Record | None:
    """The DMARC record among the TXT records of a name; None when there is none, or several."""
    records = [text for text in strings if _is_record(text)]
    return _parsed(records[0]) if len(records) == 1 else None


def _is_record(text: bytes) -> bool:
    return len(text) <= _MAX and _VERSION.match(text[:64].decode("latin-1")) is not None


@lru_cache(maxsize=1024)
def _parsed(text: bytes) -> Record:
    tags: dict[str, str] = {}
    for part in text.decode("ascii", "replace").split(";")[1:]:
        name, equals, value = part.partition("=")
        if equals:  # of a tag that comes twice the first counts
            tags.setdefault(name.strip(" \t").lower(), value.strip(" \t").lower())
    wanted = [tags[name] for name in ("p", "sp", "np") if name in tags]
    valid = "p" in tags and all(value in _POLICIES for value in wanted)
    heard = any(_URI.fullmatch(uri.strip(" \t")) for uri in tags.get("rua", "").split(","))
    if not valid:  # §4.10.1: as p=none for an owner who wants to hear of it, else as no record
        tags |= {"p": "none", "sp": "none", "np": "none"}
    policy = tags["p"]
    subdomains = tags.get("sp", policy)
    missing = tags.get("np", subdomains)
    if tags.get("t") == "y":
        policy, subdomains, missing = map(_ONE_LESS.__getitem__, (policy, subdomains, missing))
    return Record(
        policy=policy,
        subdomains=subdomains,
        missing=missing,
        psd=tags["psd"] if tags.get("psd") in ("y", "n") else "u",
        strict_dkim=tags.get("adkim") == "s",
        strict_spf=tags.get("aspf") == "s",
        broken=not valid and not heard,
    )
