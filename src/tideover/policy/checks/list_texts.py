"""What of a DNS list may be told to strangers.

Some operators have each customer put a key in front of the zone ("KEY.zen.dq.example"): it is a
secret, and is left out.
"""

import re
from typing import Final

_KEY: Final = re.compile(r"([a-z0-9]{20,63})\.[^.]+\.")
_MAX_TEXT: Final = 200


def shown_zone(zone: str) -> str:
    """The zone of a list without the customer's key."""
    return zone.removeprefix(f"{_key(zone)}.")


def quote(text: bytes, zone: str) -> str:
    """A list's own text (TXT) for a reply: printable ASCII, short, without the key."""
    plain = "".join(chr(octet) if 0x20 <= octet < 0x7F else "?" for octet in text[:1000])
    key = _key(zone)
    if key:
        plain = plain.replace(f"{key}.", "").replace(key, "...")
    return plain.replace('"', "'").strip()[:_MAX_TEXT]


def _key(zone: str) -> str:
    match = _KEY.match(zone)
    return match[1] if match else ""
