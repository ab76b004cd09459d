"""xtext, in which ENVID and ORCPT travel (RFC 3461 §4), and what may be shown of it."""

import re
from typing import Final

_ENCODED: Final = re.compile(rb"\+([0-9A-F]{2})")
# \x{HEX}: how a utf-8 address is written where only ASCII may stand (RFC 6533 §3)
_EMBEDDED: Final = re.compile(r"\\x\{([0-9A-F]{2,6})\}")


def decode_xtext(text: str) -> str | None:
    """The text that was encoded, or None when it holds anything but printable characters.

    What a client encoded may be a line end or worse: it must never reach a header line.
    """
    octets = _ENCODED.sub(lambda match: bytes.fromhex(match[1].decode()), text.encode())
    try:
        decoded = octets.decode()
    except UnicodeDecodeError:
        return None
    return decoded if decoded.isprintable() else None


def decode_orcpt(orcpt: str) -> tuple[str, str] | None:
    """Type (lower-case) and address of an ORCPT as received, or None when unfit to be shown."""
    kind, _, encoded = orcpt.partition(";")
    address = decode_xtext(encoded)
    if address is None or not kind.isascii() or not kind:
        return None
    kind = kind.lower()
    if kind == "utf-8":
        try:
            address = _EMBEDDED.sub(lambda match: chr(int(match[1], 16)), address)
            address.encode()
        except (ValueError, UnicodeEncodeError):
            return None
        if not address.isprintable():
            return None
    return kind, address
