"""Who the client of a message is, as told to a server: the lines of XCLIENT and XFORWARD.

XCLIENT makes the server treat what follows as if that client had come itself; XFORWARD is for its
log only. Postfix's XCLIENT_README and XFORWARD_README; attribute values in xtext (RFC 3461 §4,
which took the place of RFC 1891 §5). Only what the server offered is told.

Invariant: whatever a client called itself, each line is one command of at most 512 octets.
"""

import ipaddress
import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

MAX_LINE: Final = 512
"""Octets of a command with its CRLF (RFC 5321 §4.5.3.1.4)."""

MAX_VALUE: Final = 255
"""Octets of an attribute's value in xtext; Postfix refuses a line with a longer one."""

_UNAVAILABLE: Final = "[UNAVAILABLE]"
_LATER: Final = "[TEMPUNAVAIL]"
_NAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_HELLO: Final = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True, slots=True)
class Identity:
    """A client. `address` is an IP address without brackets; `port` 0 and `helo` "" are unknown.
    `extended`: it said EHLO. Of what DNS calls it, `reverse_name` is from its address and `name`
    leads back to it; None: there is none, "": DNS does not say now.
    """

    address: str
    port: int
    helo: str
    extended: bool
    name: str | None = ""
    reverse_name: str | None = ""


def xclient_line(client: Identity, offered: AbstractSet[str]) -> bytes | None:
    """The one line that tells all; None when the server does not take an address, or there is none.

    One, as Postfix grants no second to a client that it would not have granted the first. HELO is
    left out where it does not fit, since EHLO says it too. The reverse name goes with a name that
    leads back; else it must be told, lest it stay ours.
    """
    values = _values(client)
    if "ADDR" not in offered or values["ADDR"] == _UNAVAILABLE:
        return None
    values["NAME"] = _host(client.name)
    if values["NAME"] in (_UNAVAILABLE, _LATER):
        values["REVERSE_NAME"] = _host(client.reverse_name)
    order = ("ADDR", "PORT", "PROTO", "NAME", "REVERSE_NAME", "HELO")
    parts = [f"{key}={values[key]}" for key in order if key in offered and key in values]
    return _lines("XCLIENT", parts)[0]


def xforward_lines(client: Identity | None, offered: AbstractSet[str]) -> list[bytes]:
    """The lines that tell all; for no client, that nothing is known. Good for one transaction."""
    values = _values(client or Identity("", 0, "", extended=True))
    values["SOURCE"] = "REMOTE" if client is not None else "LOCAL"
    order = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "SOURCE")
    return _lines("XFORWARD", [f"{key}={values[key]}" for key in order if key in offered])


def hello_name(client: Identity, otherwise: str) -> bytes:
    """What to say in EHLO for a client: its own word, where that is one."""
    return (client.helo if _HELLO.fullmatch(client.helo) else otherwise).encode("ascii")


def _values(client: Identity) -> dict[str, str]:
    name = _host(client.name)
    return {
        "NAME": _UNAVAILABLE if name == _LATER else name,  # XFORWARD knows no such thing
        "ADDR": _address(client.address),
        "PORT": str(client.port) if 0 < client.port < 65536 else _UNAVAILABLE,
        "PROTO": "ESMTP" if client.extended else "SMTP",
        "HELO": _value(client.helo),
    }


def _address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return _UNAVAILABLE
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped) if address.ipv4_mapped else f"IPV6:{address}"


def _host(name: str | None) -> str:
    if name == "":
        return _LATER
    return name if name and len(name) <= MAX_VALUE and _NAME.fullmatch(name) else _UNAVAILABLE


def _value(text: str) -> str:
    encoded = xtext(text)
    return encoded if 0 < len(encoded) <= MAX_VALUE else _UNAVAILABLE


def xtext(text: str) -> str:
    """Printable ASCII without spaces, `+` and `=`; all else as `+` and two hex digits."""
    if text.isascii() and text.isprintable() and not any(char in " +=" for char in text):
        return text
    return "".join(
        chr(octet) if 33 <= octet <= 126 and octet not in b"+=" else f"+{octet:02X}"
        for octet in text.encode("utf-8", "replace")
    )


def _lines(verb: str, parts: Iterable[str]) -> list[bytes]:
    """As few lines as hold all parts, in order."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + 1 + len(part) + 2 <= MAX_LINE:
            lines[-1] += f" {part}"
        else:
            lines.append(f"{verb} {part}")
    return [f"{line}\r\n".encode("ascii") for line in lines]
