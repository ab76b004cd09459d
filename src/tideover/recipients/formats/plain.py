r"""The plain format: one entry a line, UTF-8.

`user`, `user@example.com` or, quoted, `"john doe"@example.com`; `/REGEX/` or `/REGEX/@example.com`
(RE2, on the whole local part, without regard to case; a `/` in it is written `\/`); `@example.com`
or `@` for all of a domain. Behind an entry, after white space, may stand what `terms` knows. Empty
lines, and what follows a `#` at the start of a line or after white space, don't count. A byte order
mark and CRLF are tolerated. A local part that begins with `/`, `@`, `#` or `"` must be quoted.
"""

import re
from collections.abc import Iterator
from io import BytesIO
from typing import IO, Final

from tideover.recipients.formats.entry import EntryError, parse_address, parse_domain
from tideover.recipients.formats.intake import Intake
from tideover.recipients.formats.lines import blocks
from tideover.recipients.formats.terms import parse_terms, write_terms
from tideover.recipients.interface import NO_TERMS
from tideover.recipients.listing import ANY_DOMAIN, ListBuilder, NameList
from tideover.recipients.patterns import MAX_PATTERN

MAX_LINE: Final = 8000
"""Characters of a line: the longest pattern, with all of it escaped, and what stands behind it."""
_SIMPLE: Final = re.compile(r"[a-z0-9_.+=&'*?^{}|~$`-]+")
# What all but a few lines are, without what begins another form and without the relay signs.
_ORDINARY: Final = re.compile(
    r"([A-Za-z0-9_.+=&'*?^{}|~$`-][A-Za-z0-9_.+=&'/*?^{}|~$`-]{0,254})"
    r"(?:@([A-Za-z0-9_][A-Za-z0-9_.-]{0,254}))?\r?"
)
_PATTERN: Final = re.compile(r"/((?:[^/\\]|\\.)+)/(?:@(\S+))?(?=\s|$)")
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"\S*')
_BARE: Final = re.compile(r"\S+")
_UNQUOTED: Final = re.compile(r"[^\s/@#\"\\(),:;<>\[\]][^\s\"\\(),:;<>\[\]]*")
_AWKWARD: Final = re.compile(r"\\Q(.*?)(?:\\E|$)|\\(.)|(/)|([^ -~\u00a1-\ud7ff])", re.DOTALL)


def parse(file: IO[bytes], intake: Intake, own: str = ANY_DOMAIN) -> None:
    """Read a list; what has no domain belongs to `own`.

    Raises:
        SourceError: too many patterns.
    """
    ordinary, add = _ORDINARY.fullmatch, intake.builder.add
    written: str | None = None  # the domain of the last line, as it is there and as we keep it
    label = own
    number = 0
    for lines in blocks(file, intake.tick):
        for line in lines:
            number += 1
            try:
                if (found := ordinary(line)) is not None:
                    local, domain = found.groups()
                    if domain != written:
                        label = own if domain is None else parse_domain(domain)
                        written = domain
                    add(local.lower(), label)
                elif line:
                    _read_line(line, intake, own)
            except EntryError as error:
                intake.mistake(number, error)


def read(data: bytes, builder: ListBuilder, *, domain: str = ANY_DOMAIN) -> None:
    """Read what `write` wrote. What can't be read is left out.

    Raises:
        SourceError: too many patterns.
    """
    parse(BytesIO(data), Intake("", builder), domain)


def _read_line(line: str, intake: Intake, own: str) -> None:
    """Any line.

    Raises:
        EntryError: it is malformed.
    """
    if len(line) > MAX_LINE:
        raise EntryError(f"longer than {MAX_LINE} characters")
    line = line.strip()
    if not line or line[0] == "#":
        return
    if line[0] == "/":
        found = _PATTERN.match(line)
        if found is None:
            raise EntryError("a pattern is written /REGEX/ or /REGEX/@domain")
        intake.pattern(found[1], found[2] or "", parse_terms(line[found.end() :]), own)
        return
    found = (_QUOTED if line[0] == '"' else _BARE).match(line)
    if found is None:
        raise EntryError("not an address or local part")
    terms = parse_terms(line[found.end() :])
    if line[0] == "@":
        intake.catch_all(found[0][1:], terms, own)
    else:
        intake.address(found[0], terms, own)


def write(listing: NameList, domain: str = ANY_DOMAIN) -> Iterator[str]:
    """The lines of a list, without their ends, that `parse` reads as the same.

    Patterns come back with another spelling where the text is awkward, and match the same. In no
    order, since to sort a million names would hold up all other threads.
    """
    at = f"@{domain}" if domain else ""
    simple, terms = _SIMPLE.fullmatch, listing.terms
    for name in listing.names():
        if (written := name if simple(name) else _quoted(name)) is not None:
            has = terms.get(name, NO_TERMS) if terms else NO_TERMS
            yield written + at + (write_terms(has) if has is not NO_TERMS else "")
    for pattern in listing.patterns:
        if (text := write_pattern(pattern.text)) is not None:
            yield f"/{text}/{at}{write_terms(pattern.terms)}"
    if listing.catch_all is not None:
        yield f"{at or '@'}{write_terms(listing.catch_all)}"


def _quoted(name: str) -> str | None:
    """A name that is not ordinary as it must be written; None when it can't be a local part."""
    written = name
    if not _UNQUOTED.fullmatch(name):
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        written = f'"{escaped}"'
    try:
        return written if parse_address(written) == (name, ANY_DOMAIN) else None
    except EntryError:
        return None


def write_pattern(text: str) -> str | None:
    r"""A pattern as it can stand between two `/`: `\Q…\E` dissolved, `/` and what is not printable
    escaped. None when it gets too long.
    """

    def written(found: re.Match[str]) -> str:
        literal, escaped, slash, odd = found.groups()
        if literal is not None:
            return "".join(c if c.isalnum() and c.isascii() else _code(c) for c in literal)
        if escaped is not None:
            return f"\\{escaped}" if " " <= escaped <= "~" else _code(escaped)
        return "\\/" if slash else _code(odd)

    shown = _AWKWARD.sub(written, text) or "(?:)"
    return shown if len(shown) <= MAX_PATTERN else None


def _code(sign: str) -> str:
    return f"\\x{{{ord(sign):x}}}"
