"""When two domains, or two local parts, are the same. Values only.

Domains are compared as lower-case A-labels; local parts case-insensitively, although RFC 5321
§2.4 would allow a primary to tell `Smith` from `smith`: none does, and senders mix case freely.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Final

# A detail with one of these is more than a detail: a percent hack, a bang path, quoting.
_NOT_IN_DETAIL: Final = re.compile(r"[@%!:;,<>()\[\]\\\"\s\x00-\x1f\x7f]")


@lru_cache(maxsize=4096)
def a_label(domain: str) -> str | None:
    """The lower-case A-label form of a domain as written, or None when it is no domain name.

    Stricter than what a configuration may hold: no mapping of look-alikes, no trailing dot, no
    other full stops, since the name goes on to the primary as the client wrote it.
    """
    if not domain or len(domain) > 255 or domain.endswith("."):
        return None
    if domain.isascii():
        return domain.lower()
    name = unicodedata.normalize("NFC", domain.lower())
    if name.isascii():
        return None  # a sign that only looks like a letter, as the Kelvin sign does
    import idna  # tables of 1 MB that many servers never need

    try:
        return idna.encode(name, strict=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return None


def local_key(local: str) -> str:
    """What two spellings of one local part have in common.

    Not casefold: "ß" is not "ss" to a primary, and a long s no "s".
    """
    if local.isascii():
        return local.lower()
    key = unicodedata.normalize("NFC", local.lower())
    return local if key.isascii() else key  # a sign that only looks like a letter: Kelvin's


def base_pattern(delimiters: str) -> "re.Pattern[str] | None":
    """What finds the start of a detail. `delimiters` is `recipient_delimiter`."""
    return re.compile(f"[{re.escape(delimiters)}]") if delimiters else None


def base_of(pattern: "re.Pattern[str] | None", key: str) -> str | None:
    """`user` of `user+detail`, or None when there is no detail, or a tricky one."""
    match = pattern.search(key) if pattern is not None else None
    if match is None or match.start() == 0 or _NOT_IN_DETAIL.search(key, match.end()):
        return None
    return key[: match.start()]
