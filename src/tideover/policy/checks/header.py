"""Header sections that no honest mail program writes (RFC 5322 §3.6)."""

import re
from collections.abc import Iterator
from typing import Final

from tideover.authentication.authserv import may_hold_forged
from tideover.message.fields import HeaderSection
from tideover.policy.checks.broken_section import MAX_LENGTH, whole_section
from tideover.policy.interface import NOTHING, About, Check, Found, Message, Result, Verb
from tideover.policy.services import Services

MAX_FIELDS: Final = 1000

_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def make(services: Services) -> Check:
    """The check "header" (stage message)."""
    hostname = services.config.hostname

    async def check(about: About) -> Result:
        message = about.message
        if message is None:
            return NOTHING
        if too_large := _too_large(message.header):
            return Result(found=(Found(name="header-too-large", reason=too_large),))
        found = list(_found(message.header, smtputf8=about.smtputf8))
        if message.header.broken:
            try:
                found.insert(0, await _broken(message, hostname))
            except OSError as error:
                return Result(undecided=f"the copy of the message can't be read: {error}")
        return Result(found=tuple(found)) if found else NOTHING

    return check


def _too_large(header: HeaderSection) -> str:
    if not header.complete or header.length > MAX_LENGTH:
        return f"more than {MAX_LENGTH} octets, or very many fields"
    return f"{len(header.fields)} fields" if len(header.fields) > MAX_FIELDS else ""


async def _broken(message: Message, hostname: str) -> Found:
    """A broken section is refused at once where it would have others read a false
    Authentication-Results field of ours: behind the line that is no field, or by a first line that
    continues what we put above it.
    """
    section = await whole_section(message)
    reason = f"after {len(message.header.fields)} fields"
    if section is None:
        return Found(name="header-too-large", reason=f"{reason} a line that is none, and no end")
    if section.startswith((b" ", b"\t")):
        why = "the first line begins with white space"
    elif may_hold_forged(section[message.header.length :], hostname):
        why = f"{reason}; behind that Authentication-Results in our name"
    else:
        return Found(name="header-broken", reason=reason)
    return Found(name="header-broken", reason=why, action=Verb.REJECT)


def _found(header: HeaderSection, *, smtputf8: bool) -> Iterator[Found]:
    names = [field.key for field in header.fields]
    authors = names.count(b"from")
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
