"""When two senders, or two recipients, are the same for those who count and compare. Values only.

Many senders write an address anew into each message (VERP, BATV, SRS, tickets): what varies is
folded away. It need not be right for every scheme: two addresses that look alike share a key.
"""

import re
from typing import Final

from tideover.config.model import Config
from tideover.message.envelope import Recipient
from tideover.recipients.names import base_of, base_pattern, local_key

_QUOTED: Final = re.compile(r'"(.*)"', re.DOTALL)
_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)
_WORD: Final = re.compile(r"[a-z0-9]+")
_SRS0: Final = re.compile(r"srs0[-+=]([^=]*)=([^=]*)=(.*)", re.DOTALL)
_SRS1: Final = re.compile(r"srs1[-+=]([^=]*)=([^=]*)=[-+=]([^=]*)=([^=]*)=(.*)", re.DOTALL)


def sender_key(sender: str) -> str:
    """A sender without what varies from message to message; "" for the null sender.

    In the local part each word with a digit in it counts as the same; signatures and times of BATV
    and SRS are left out.
    """
    local, at, domain = sender.rpartition("@")
    if not at:
        local, domain = sender, ""
    return _WORD.sub(_folded, _unsigned(local_key(local))) + at + domain.lower()


def recipient_key(recipient: Recipient, config: Config) -> str:
    """A recipient without the detail of a sub-address, and without BATV's signature."""
    settings = config.domains.get(recipient.domain)
    key = _unsigned(local_key(local_of(recipient)))
    pattern = base_pattern(settings.recipient_delimiter) if settings is not None else None
    return f"{base_of(pattern, key) or key}@{recipient.domain}"


def local_of(recipient: Recipient) -> str:
    """The local part without the quotes that it may be written with, and their escapes."""
    local = recipient.address.rpartition("@")[0]
    quoted = _QUOTED.fullmatch(local)
    return _PAIR.sub(r"\1", quoted[1]) if quoted is not None else local


def _unsigned(key: str) -> str:
    """A local part (lower case) without BATV's tag, and without SRS's hashes and times."""
    if key.startswith("prvs="):
        return key.split("=", 2)[-1]
    if match := _SRS0.fullmatch(key):
        return "srs=" + match[3]
    if match := _SRS1.fullmatch(key):
        return f"srs={match[2]}={match[5]}"
    return key


def _folded(word: "re.Match[str]") -> str:
    text = word[0]
    return text if text.isalpha() else "#"
