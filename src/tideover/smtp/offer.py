"""What a server offers, and the replies to EHLO and HELO that say so, rendered once."""

from dataclasses import dataclass
from functools import lru_cache

from tideover.smtp.replies import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What a listener offers. `max_size` in octets; `tls`: whether STARTTLS can be offered.
    `eight_bit_mime` and `smtputf8`: whether 8BITMIME and SMTPUTF8 are.
    """

    hostname: str
    max_size: int
    max_recipients: int = 100
    tls: bool = False
    eight_bit_mime: bool = True
    smtputf8: bool = True


@lru_cache(maxsize=16)
def helo_reply(options: ServerOptions) -> Reply:
    """The answer to HELO: no extensions (RFC 5321 §4.1.1.1)."""
    return Reply(250, None, (options.hostname,))


@lru_cache(maxsize=16)
def ehlo_reply(options: ServerOptions, *, secure: bool) -> Reply:
    """The answer to EHLO. STARTTLS is not offered twice (RFC 3207 §4.2)."""
    lines = (
        (options.hostname, True),
        ("PIPELINING", True),  # RFC 2920
        (f"SIZE {options.max_size}", True),  # RFC 1870
        ("8BITMIME", options.eight_bit_mime),  # RFC 6152
        ("SMTPUTF8", options.smtputf8),  # RFC 6531
        ("CHUNKING", True),  # RFC 3030
        ("DSN", True),  # RFC 3461
        ("ENHANCEDSTATUSCODES", True),  # RFC 2034
        (f"LIMITS RCPTMAX={options.max_recipients}", True),  # RFC 9422
        ("STARTTLS", options.tls and not secure),  # RFC 3207
    )
    return Reply(250, None, tuple(line for line, offered in lines if offered))
