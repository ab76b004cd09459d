"""The author domains of a message: every domain that some reader could take for the author's.

RFC 5322 allows lists of authors, groups, routes, comments and quoted strings in a From field, and
readers disagree about whatever is not written plainly. A forger needs only one reader who shows
another author than the one we looked at. So nothing is decided here: each "@" that is not clearly
display text gives a domain, and all of them have to pass DMARC.

A display name before an address is display text, whatever it says: mailing lists write
`"anna@example.com via List" <list@example.org>`, and no reader takes that for two authors. Without
an address behind it, it is what readers show, and some take it for the address.
"""

import binascii
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from tideover.config.values import parse_domain
from tideover.message.fields import HeaderSection
from tideover.message.structured import Kind, pieces_of

MAX_VALUE: Final = 4 * 1024
"""Octets that all From fields may have together."""

MAX_AUTHORS: Final = 8
"""With more domains than these nobody's mail is honest."""

_MAX_SPECIALS: Final = 256  # parentheses, quotes and backslashes: each costs time
_SPECIAL: Final = re.compile(rb'["()\\]')
_MAX_TRIES: Final = 4 * MAX_AUTHORS  # texts behind an "@": what is no domain costs time too

_NAME: Final = r"[A-Za-z0-9_.\x80-\U0010ffff-]+"
_DOMAIN: Final = re.compile(rf"@[\s\"(\\]*({_NAME}(?:(?:(?<=\.)\s+|\s+(?=\.)){_NAME})*)")
"""What follows an "@"; white space beside a dot is part of it (RFC 5322 §4.4, obs-domain)."""

_ASCII: Final = re.compile(r"[a-z0-9_.-]+", re.IGNORECASE)
_MAX_DOMAIN: Final = 1000
# Some readers decode words with spaces in them, or with a few question marks.
_WORD: Final = r"=\?([^?\s]{1,64})\?([bq])\?([^?]*(?:\?(?!=)[^?]*){0,3})\?="
_WORDS: Final = re.compile(rf"{_WORD}(?:\s+{_WORD})*", re.IGNORECASE)
_ONE_WORD: Final = re.compile(_WORD, re.IGNORECASE)
_CHARSETS: Final = re.compile(
    r"(?:us-)?ascii|utf-?(?:7|8|16|32)(?:[bl]e)?|iso-8859-\d\d?|windows-125\d|koi8-[ru]|"
    r"gb(?:2312|k|18030)|big5|euc-(?:jp|kr)|shift_jis|iso-2022-(?:jp|kr)",
    re.IGNORECASE | re.ASCII,
)  # few: Python remembers all names that it was ever asked for
# Stand for encoded words and quoted strings; no other control characters are left by then.
_ENCODED: Final = "\x02"
_QUOTED: Final = "\x03"
_MARKS: Final = re.compile(f"[{_ENCODED}{_QUOTED}]")
_SHOWN_AS: Final = {Kind.QUOTED: _QUOTED, Kind.COMMENT: " "}
_BREAKS: Final = dict.fromkeys([n for n in range(32) if chr(n) not in "\t\r\n"] + [127], ",")
_GONE: Final = dict.fromkeys(_BREAKS, None)
_GAP: Final = rb"[^!-~\r\n]*"  # what some readers pass over in the name of a field
_FROM: Final = re.compile(
    rb"(?:^|\n)" + _GAP + _GAP.join((b"f", b"r", b"o", b"m")) + rb"(?:[^!-~\r\n]|\r\n[ \t])*:"
    rb"((?:[^\n]*\n[ \t])*[^\n]*)",
    re.IGNORECASE,
)


class AuthorsUnclear(Exception):  # noqa: N818 - an answer more than an error
    """More domains than anybody writes for, or a From field that nobody could make out."""


def authors(header: HeaderSection, section: bytes = b"") -> tuple[str, ...]:
    """The author domains of a message, each once, in lower-case A-labels; () when it has none.

    `section` is the whole text of a header section that is broken: readers that pass over the line
    that is no field find From fields below it, or take that line for one.

    Raises:
        AuthorsUnclear: there are more than `MAX_AUTHORS`, or more octets than `MAX_VALUE`, or
            hundreds of comments and quotes.
    """
    values: dict[bytes, None] = {}
    below = (found[1].rstrip() for found in _FROM.finditer(section)) if header.broken else ()
    length = 0
    for value in chain((field.value for field in header.all(b"from")), below):
        length += 0 if value in values else len(value)
        if length > MAX_VALUE:
            raise AuthorsUnclear("the From field is too long")
        values[value] = None
        if len(values) > MAX_AUTHORS:
            raise AuthorsUnclear("there are too many From fields")
    domains = tuple(dict.fromkeys(domain for value in values for domain in author_domains(value)))
    if len(domains) > MAX_AUTHORS:
        raise AuthorsUnclear("the From field names too many domains")
    return domains


def author_domains(value: bytes) -> tuple[str, ...]:
    """The domains of one From field's value, as `authors`. Raises as that does."""
    if len(_SPECIAL.findall(value)) > _MAX_SPECIALS:
        raise AuthorsUnclear("the From field has too many comments and quotes")
    raw = value.decode("utf-8", "surrogateescape")
    texts = [_addresses(raw.translate(_BREAKS))]
    if pieces_of(raw).odd or raw.translate(_GONE) != raw:
        texts += [_decoded(raw.translate(_BREAKS)), _decoded(raw.translate(_GONE))]
    domains = _domains_in(texts) or _domains_in([_decoded(raw)])
    # one label is an author's domain only without any other: "Anna@Acme <anna@acme.example>"
    full = tuple(domain for domain in domains if "." in domain)
    return full or domains


def _domains_in(texts: Iterable[str]) -> tuple[str, ...]:
    written = dict.fromkeys(match[1] for text in texts for match in _DOMAIN.finditer(text))
    if len(written) > _MAX_TRIES:
        raise AuthorsUnclear("the From field names too many domains")
    domains = tuple(dict.fromkeys(domain for one in written for domain in _readings(one)))
    if len(domains) > MAX_AUTHORS:
        raise AuthorsUnclear("the From field names too many domains")
    return domains


def _readings(written: str) -> Iterator[str]:
    """The domains that a text after "@" can be read as; none where it is but white space, of which
    there is more beyond ASCII.
    """
    words = written.split()
    for text in dict.fromkeys((*words[:1], "".join(words))):
        for candidate in (text, _leading_ascii(text)):
            try:
                yield parse_domain(candidate[:_MAX_DOMAIN].strip("."))
            except ValueError:
                continue
            break


def _leading_ascii(text: str) -> str:
    found = _ASCII.match(text)
    return found[0] if found else ""


def _addresses(text: str) -> str:
    """What may be addresses: each element of the list without display text, and with what quoted
    strings and encoded words stand for where they belong to the address, or there is no other.
    """
    pieces = pieces_of(text).pieces
    shown = "".join(_SHOWN_AS.get(piece.kind, piece.value) for piece in pieces)
    words: list[str] = []

    def mark(match: re.Match[str]) -> str:
        words.append(_decoded(match[0]))
        return _ENCODED

    shown = _WORDS.sub(mark, shown)
    hidden = {
        _ENCODED: iter(words),
        _QUOTED: (piece.value for piece in pieces if piece.kind is Kind.QUOTED),
    }

    def filled(part: str) -> str:
        return _MARKS.sub(lambda match: next(hidden[match[0]]), part)

    found = []
    for element in re.split("[,;]", shown):
        display, angle, address = element.partition("<") if "<" in element else ("", "", element)
        name, address = filled(display), angle + filled(address)
        found += [_MARKS.sub(" ", element), address]
        # an encoded word may bring an address of its own
        if "@" not in address or (_ENCODED in display and "<" in name):
            found.append(name)
    return ",".join(found)


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
