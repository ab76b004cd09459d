"""The author domains of a message: every domain that some reader could take for the author's.

RFC 5322 allows lists of authors, groups, routes, comments and quoted strings in a From field, and
readers disagree about whatever is not written plainly. A forger needs only one reader who shows
another author than the one we looked at. So nothing is decided here: each "@" that is not clearly
display text gives a domain, and all of them have to pass DMARC.

A quoted display name is display text, whatever it says: mailing lists write
`"anna@example.com via List" <list@example.org>`, and no reader takes that for two authors.
"""

import binascii
import re
from collections.abc import Iterator
from typing import Final

from tideover.config.values import parse_domain
from tideover.message.fields import HeaderSection
from tideover.message.structured import Kind, pieces_of

MAX_VALUE: Final = 16 * 1024
"""Octets of a From field that are looked at."""

MAX_AUTHORS: Final = 8
"""With more domains than these nobody's mail is honest; no more are returned but one."""

_NAME: Final = r"[A-Za-z0-9_.\x80-\U0010ffff-]+"
_DOMAIN: Final = re.compile(rf"@[\s\"(\\]*({_NAME}(?:(?:(?<=\.)\s+|\s+(?=\.)){_NAME})*)")
"""What follows an "@"; white space beside a dot is part of it (RFC 5322 §4.4, obs-domain)."""

_ASCII: Final = re.compile(r"[a-z0-9_.-]+", re.IGNORECASE)
_MAX_DOMAIN: Final = 1000
_WORD: Final = r"=\?([^?\s]{1,64})\?([bq])\?([^?\s]*)\?="
_WORDS: Final = re.compile(rf"{_WORD}(?:\s+{_WORD})*", re.IGNORECASE)
_ONE_WORD: Final = re.compile(_WORD, re.IGNORECASE)
_CHARSETS: Final = re.compile(
    r"(?:us-)?ascii|utf-?(?:7|8|16|32)(?:[bl]e)?|iso-8859-\d\d?|windows-125\d|koi8-[ru]|gb\w+|"
    r"big5|euc-\w+|shift_jis|iso-2022-\w+",
    re.IGNORECASE,
)
_MARK: Final = "\x02"  # stands for encoded words; no other control character is left by then
_BREAKS: Final = dict.fromkeys([n for n in range(32) if chr(n) not in "\t\r\n"] + [127], ",")
_GONE: Final = dict.fromkeys(_BREAKS, None)
_FROM: Final = re.compile(
    rb"(?:^|\n)[ \t]*from[ \t]*(?:\r\n[ \t]+)?:((?:[^\n]*\n[ \t])*[^\n]*)", re.IGNORECASE
)


def from_values(header: HeaderSection, head: bytes = b"") -> list[bytes]:
    """The values of all From fields.

    `head` is the beginning of the message, for a header section that is broken: readers that pass
    over the line that is no field find From fields below it, or take that line for one.
    """
    values = [field.value for field in header.all(b"from")]
    if header.broken:
        end = head.find(b"\r\n\r\n")
        rest = head[: end if end >= 0 else len(head)][:MAX_VALUE]
        values += [found.rstrip() for found in _FROM.findall(rest)]
    return values


def author_domains(value: bytes) -> tuple[str, ...]:
    """The domains of a From field's value in lower-case A-labels, each once; () when it has none.

    Never raises. At most `MAX_AUTHORS` and one more; only the first `MAX_VALUE` octets count.
    """
    raw = value[:MAX_VALUE].decode("utf-8", "surrogateescape")
    texts = [_outside_quotes(raw.translate(_BREAKS))]
    parts = pieces_of(raw)
    breaks = raw.translate(_GONE) != raw
    if parts.odd or breaks:
        texts += [_decoded(raw.translate(_BREAKS)), _decoded(raw.translate(_GONE))]
    domains: dict[str, None] = {}
    for text in texts:
        for match in _DOMAIN.finditer(text):
            domains.update(dict.fromkeys(_readings(match[1])))
            if len(domains) > MAX_AUTHORS:
                return tuple(domains)[: MAX_AUTHORS + 1]
    # one label is an author's domain only without any other: "Anna@Acme <anna@acme.example>"
    full = tuple(domain for domain in domains if "." in domain)
    return full or tuple(domains)


def _readings(written: str) -> Iterator[str]:
    """The domains that a text after "@" can be read as."""
    for text in {written.split()[0]: None, "".join(written.split()): None}:
        for candidate in (text, _leading_ascii(text)):
            try:
                yield parse_domain(candidate[:_MAX_DOMAIN].strip("."))
            except ValueError:
                continue
            break


def _leading_ascii(text: str) -> str:
    found = _ASCII.match(text)
    return found[0] if found else ""


def _outside_quotes(text: str) -> str:
    """What is neither quoted nor a comment, with those encoded words that may be addresses."""
    shown = "".join(
        {Kind.TEXT: piece.value, Kind.QUOTED: '""', Kind.COMMENT: " "}[piece.kind]
        for piece in pieces_of(text).pieces
    )
    words: list[str] = []

    def mark(match: re.Match[str]) -> str:
        words.append(_decoded(match[0]))
        return _MARK

    parts = []
    hidden = iter(words)
    for element in re.split("[,;]", _WORDS.sub(mark, shown)):
        parts.append(element.replace(_MARK, " "))
        for _ in range(element.count(_MARK)):
            word = next(hidden)
            # before an address it is a display name, unless it brings an address of its own
            if "<" in word or "<" not in element:
                parts.append(word)
    return ",".join(parts)


def _decoded(text: str) -> str:
    """The text with its encoded words decoded (RFC 2047), those in a row without space between."""
    return _WORDS.sub(
        lambda run: "".join(_plain(*word) for word in _ONE_WORD.findall(run[0])), text
    )


def _plain(charset: str, encoding: str, content: str) -> str:
    octets = content.encode("utf-8", "surrogateescape")
    charset = charset.partition("*")[0]  # RFC 2231 §5: a language may follow
    try:
        if encoding in "bB":
            octets = binascii.a2b_base64(octets + b"==")
        else:
            octets = binascii.a2b_qp(octets, header=True)
        return octets.decode(charset if _CHARSETS.fullmatch(charset) else "latin-1", "replace")
    except (binascii.Error, LookupError, ValueError):
        return octets.decode("latin-1")
