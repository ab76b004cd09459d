"""Mailboxes and paths as MAIL and RCPT carry them (RFC 5321 §4.1.2, RFC 6531 §3.3).

Strict where leniency would be a side door (one path, nothing behind it, no control characters,
balanced quotes), lenient where real mail is (dots anywhere in a local part, long VERP local parts).
"""

import re
from dataclasses import dataclass

MAX_LOCAL = 255  # RFC 5321 says 64; VERP senders exceed it and primaries take them
MAX_DOMAIN = 255

_ATOM = rb"A-Za-z0-9!#$%&'*+/=?^_`{|}~."  # atext and dot, without the hyphen
_UTF8 = rb"\x80-\xff"
_QUOTED = rb"\"(?:[\x20\x21\x23-\x5b\x5d-\x7e" + _UTF8 + rb"]|\\[\x20-\x7e])*\""
_LOCAL = rb"(?:[" + _ATOM + _UTF8 + rb"-]+|" + _QUOTED + rb")"
_NAME = rb"[A-Za-z0-9_" + _UTF8 + rb"][A-Za-z0-9_." + _UTF8 + rb"-]*"
_LITERAL = rb"\[[\x21-\x5a\x5e-\x7e]{1,253}\]"
_DOMAIN = rb"(?:" + _NAME + rb"|" + _LITERAL + rb")"
_ROUTE = rb"(?:@" + _DOMAIN + rb"(?:,@" + _DOMAIN + rb")*:)?"

_PATH = re.compile(
    rb" *<" + _ROUTE + rb"(?:(" + _LOCAL + rb")(?:@(" + _DOMAIN + rb"))?)?>(?: +(.*))?", re.DOTALL
)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_PLAIN_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-\u0080-\U0010ffff]+")
_TO_ESCAPE = re.compile(r"[\\\"]")


class PathError(ValueError):
    """The path breaks the grammar. The text is fit for a reply."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox.

    `local` is without quotes, `domain` as written ("" for a bare `<postmaster>`), `text` the
    mailbox as the client wrote it, source route removed.
    """

    local: str
    domain: str
    text: str

    @property
    def is_ascii(self) -> bool:
        """Whether it can travel without SMTPUTF8."""
        return self.text.isascii()


def parse_path(argument: bytes) -> tuple[Mailbox | None, bytes]:
    """Split `<path> parameters` into the mailbox (None for `<>`) and the parameters' bytes.

    Source routes are accepted and dropped (RFC 5321 §4.1.1.3, appendix C).

    Raises:
        PathError: not a path.
    """
    match = _PATH.fullmatch(argument)
    if match is None:
        raise PathError("an address in angle brackets is needed, like <user@example.com>")
    local, domain, rest = match.groups()
    if local is None:
        if argument.lstrip(b" ")[:2] != b"<>":
            raise PathError("a source route needs a mailbox")
        return None, rest or b""
    domain = domain or b""
    if len(local) > MAX_LOCAL or len(domain) > MAX_DOMAIN or domain.endswith(b"-"):
        raise PathError("this address is too long or not well formed")
    if b".." in domain:
        raise PathError("the domain is not well formed")
    try:
        local_text, domain_text = local.decode(), domain.decode()
    except UnicodeDecodeError:
        raise PathError("this address is not UTF-8") from None
    text = f"{local_text}@{domain_text}" if domain else local_text
    if local_text[0] == '"':
        local_text = _QUOTED_PAIR.sub(r"\1", local_text[1:-1])
    return Mailbox(local_text, domain_text, text), rest or b""


def quoted(local: str) -> str:
    """A local part as it is written in an address, in quotes where it needs them (RFC 5321
    §4.1.2): the other way round than `Mailbox.local`.
    """
    if _PLAIN_LOCAL.fullmatch(local):
        return local
    return '"' + _TO_ESCAPE.sub(r"\\\g<0>", local) + '"'
