"""One entry of a list: an address, a local part or a domain, as an operator writes it."""

import re
from typing import Final

from tideover.recipients.listing import ANY_DOMAIN
from tideover.recipients.names import a_label, local_key
from tideover.smtp.address import MAX_LOCAL, PathError, parse_path

# A local part with these asks the primary to send the mail on: percent hack, bang path, route.
_RELAY_SIGNS: Final = re.compile(r"[@%!:]")
# Controls, and the byte order mark that is left behind where files are put together.
_NEVER: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ufeff]")
_UNDECODED: Final = re.compile("[\ud800-\udfff]")
_NAME: Final = re.compile(r"[^\s\[\]@<>\"\\,;:()\x00-\x1f\x7f]{1,255}")


class EntryError(ValueError):
    """The entry can't be used. The text says what is wrong, and holds nothing of the entry."""


def parse_address(text: str) -> tuple[str, str]:
    """`user`, `user@domain`, `"j d"@domain` -> key (`names.local_key`) and A-label domain, or
    `ANY_DOMAIN`.

    Raises:
        EntryError: not an address, or one that would be relayed on (RFC 5321 §3.6, appendix F.2).
    """
    try:
        mailbox, rest = parse_path(f"<{text}>".encode())
    except UnicodeEncodeError:
        raise EntryError("not UTF-8") from None
    except PathError:
        mailbox, rest = None, b""
    if mailbox is None or rest or mailbox.text != text:
        raise EntryError("not an address or local part")
    domain = parse_domain(mailbox.domain) if mailbox.domain else ANY_DOMAIN
    return parse_local(mailbox.local), domain


def parse_local(local: str) -> str:
    """The key of a local part without quotes.

    Raises:
        EntryError: it is none, or would be relayed on.
    """
    if _RELAY_SIGNS.search(local):
        raise EntryError("a local part can't hold any of @ % ! :")
    if _NEVER.search(local):
        raise EntryError("a local part can't hold control characters or a byte order mark")
    key = local_key(local)
    if not key or len(key.encode(errors="replace")) > MAX_LOCAL:
        raise EntryError(f"a local part has 1 to {MAX_LOCAL} octets")
    return key


def parse_domain(text: str) -> str:
    """A domain in U- or A-labels -> A-labels.

    Raises:
        EntryError: it is none.
    """
    label = a_label(text) if _NAME.fullmatch(text) and not _UNDECODED.search(text) else None
    if label is None or ".." in label or label[0] in ".-" or label.endswith("-"):
        raise EntryError("the domain is no domain name")
    return label


def check_text(text: str) -> None:
    """Text that is to be kept must be text.

    Raises:
        EntryError: it was not UTF-8 (`lines` marks that).
    """
    if _UNDECODED.search(text):
        raise EntryError("not UTF-8")
