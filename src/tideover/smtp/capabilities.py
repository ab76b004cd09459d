"""What a server offers, read from its answer to EHLO (RFC 5321 §4.1.1.1)."""

from dataclasses import dataclass
from typing import Any

from tideover.smtp.replies import Reply


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The extensions that matter to a client. All absent: the server knows HELO only.

    `size` is the announced maximum in octets, None when there is none or it isn't said (RFC 1870);
    `rcpt_max` and `mail_max` are the LIMITS of RFC 9422, None when not announced. `xclient` and
    `xforward` are the attributes that may be sent (Postfix's XCLIENT_README, XFORWARD_README); an
    XCLIENT without ADDR is none, as with it nobody is taken for the client.
    """

    size_offered: bool = False
    size: int | None = None
    eight_bit_mime: bool = False
    pipelining: bool = False
    chunking: bool = False
    starttls: bool = False
    dsn: bool = False
    smtputf8: bool = False
    enhanced_status_codes: bool = False
    rcpt_max: int | None = None
    mail_max: int | None = None
    xclient: frozenset[str] = frozenset()
    xforward: frozenset[str] = frozenset()


_FLAGS = {
    "8BITMIME": "eight_bit_mime",
    "PIPELINING": "pipelining",
    "CHUNKING": "chunking",
    "STARTTLS": "starttls",
    "DSN": "dsn",
    "SMTPUTF8": "smtputf8",
    "ENHANCEDSTATUSCODES": "enhanced_status_codes",
}
_LIMITS = {"RCPTMAX": "rcpt_max", "MAILMAX": "mail_max"}


def parse_capabilities(ehlo: Reply) -> Capabilities:
    """The capabilities in a positive answer to EHLO; what isn't understood is passed over."""
    found: dict[str, Any] = {}
    for line in ehlo.lines[1:]:
        keyword, *arguments = line.upper().split()[:16] or [""]
        if name := _FLAGS.get(keyword):
            found[name] = True
        elif keyword == "SIZE":
            found["size_offered"] = True
            # RFC 1870 §4: zero means that no fixed maximum is in force.
            found["size"] = _number(arguments[0]) or None if arguments else None
        elif keyword == "XFORWARD" or (keyword == "XCLIENT" and "ADDR" in arguments):
            found[keyword.lower()] = frozenset(arguments)
        elif keyword == "LIMITS":
            for argument in arguments:
                limit, _, value = argument.partition("=")
                if (name := _LIMITS.get(limit)) and (number := _number(value)):
                    found[name] = number
    return Capabilities(**found)


def _number(text: str) -> int | None:
    """An unsigned number of at most 20 digits (RFC 1870 §4), or None."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None
