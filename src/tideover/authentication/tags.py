"""Tag lists as DKIM and ARC write them: `a=1; b=2` (RFC 6376 §3.2)."""

import binascii
import re
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_FOLDS: Final = dict.fromkeys(map(ord, "\t\r\n"))
_MAX: Final = 16 * 1024
_MOST: Final = 100
_SHOWN: Final = 40  # characters of a tag's name in an error


class TagError(ValueError):
    """The text is no tag list, or a value in it is not what its tag takes."""


def parse_tags(octets: bytes) -> dict[str, str]:
    """Values by tag, in their order, without the white space around them.

    Raises:
        TagError: bad syntax, a tag that is there twice, more than 100 tags or 16 KiB.
    """
    if len(octets) > _MAX:
        raise TagError(f"a tag list of more than {_MAX} octets")
    if octets.count(b";") > _MOST:
        raise TagError(f"more than {_MOST} tags")
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        raise TagError("a tag list that is no UTF-8") from None
    if not text.translate(_FOLDS).isprintable():
        raise TagError("control characters in a tag list")
    specs = text.split(";")
    if not specs[-1].strip():
        specs.pop()  # the last semicolon ends the list
    tags: dict[str, str] = {}
    for spec in specs:
        name, equals, value = spec.partition("=")
        name = name.strip()
        if not equals or not _NAME.fullmatch(name):
            raise TagError("a part of the tag list is no tag")
        if name in tags:
            raise TagError(f"{name[:_SHOWN]}= is there twice")
        tags[name] = value.strip()
    return tags


def compact(value: str) -> str:
    """The value without any white space, where a tag lets it stand between all characters."""
    return "".join(value.split())


def base64(value: str) -> bytes:
    """What a base64 value stands for; white space in it has no meaning.

    Raises:
        TagError: it is no base64.
    """
    try:
        return binascii.a2b_base64(compact(value), strict_mode=True)
    except (binascii.Error, ValueError):
        raise TagError("no base64") from None


def colon_list(value: str) -> tuple[str, ...]:
    """The parts of a list with colons, without the white space around them."""
    return tuple(part.strip() for part in value.split(":"))
