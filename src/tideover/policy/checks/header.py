"""Header sections that no honest mail program writes (RFC 5322 §3.6)."""

import re
from collections.abc import Iterator
from typing import Final

from tideover.message.fields import HeaderSection
from tideover.policy.interface import NOTHING, About, Check, Found, Result
from tideover.policy.services import Services

MAX_LENGTH: Final = 256 * 1024
"""Octets; beyond, readers on the way would no longer agree on what they see."""

MAX_FIELDS: Final = 1000

_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def make(_: Services) -> Check:
    """The check "header" (stage message)."""
    return check


async def check(about: About) -> Result:
    """Look at the header section as a whole."""
    if about.message is None:
        return NOTHING
    header = about.message.header
    if too_large := _too_large(header):
        return Result(found=(Found(name="header-too-large", reason=too_large),))
    found = tuple(_found(header, smtputf8=about.smtputf8))
    return Result(found=found) if found else NOTHING


def _too_large(header: HeaderSection) -> str:
    if not header.complete or header.length > MAX_LENGTH:
        return f"more than {MAX_LENGTH} octets"
    return f"{len(header.fields)} fields" if len(header.fields) > MAX_FIELDS else ""


def _found(header: HeaderSection, *, smtputf8: bool) -> Iterator[Found]:
    names = [field.key for field in header.fields]
    authors = names.count(b"from")
    if header.broken:
        yield Found(name="header-broken", reason=f"after {len(names)} fields")
    if authors > 1:
        yield Found(name="header-several-from", reason=f"{authors} From fields")
    if not authors:
        yield Found(name="header-no-from")
    if b"date" not in names:
        yield Found(name="header-no-date")
    if any(_CONTROL.search(field.raw) for field in header.fields):
        yield Found(name="header-control")
    if not smtputf8 and not all(field.raw.isascii() for field in header.fields):
        yield Found(name="header-8bit")
