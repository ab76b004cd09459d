"""What a server offers, and the replies to EHLO and HELO that say so, rendered once."""

from dataclasses import dataclass
from functools import lru_cache

from tideover.smtp.replies import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What a listener offers. `max_size` in octets; `tls`: whether STARTTLS can be offered."""

    hostname: str
    max_size: int
    max_recipients: int = 100
    tls: bool = False


@lru_cache(maxsize=16)
def helo_reply(options: ServerOptions) -> Reply:
    """The answer to HELO: no extensions (RFC 5321 §4.1.1.1)."""
    return Reply(250, None, (options.hostname,))


@lru_cache(maxsize=16)
def ehlo_reply(options: ServerOptions, *, secure: bool) -> Reply:
    """The answer to EHLO. STARTTLS is not offered twice (RFC 3207 §4.2)."""
    lines = (
        options.hostname,
        "PIPELINING",  # RFC 2920
        f"SIZE {options.max_size}",  # RFC 1870
        "8BITMIME",  # RFC 6152
        "SMTPUTF8",  # RFC 6531
        "CHUNKING",  # RFC 3030
        "DSN",  # RFC 3461
        "ENHANCEDSTATUSCODES",  # RFC 2034
        f"LIMITS RCPTMAX={options.max_recipients}",  # RFC 9422
    )
    return Reply(250, None, (*lines, "STARTTLS") if options.tls and not secure else lines)
