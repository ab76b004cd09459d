r"""Source files of Postfix maps, as relay_recipient_maps or virtual_alias_maps name them.

`KEY VALUE`, and lines that continue the one before (postmap(1)). A key is an address, `@domain`, a
local part, or `/REGEX/i` as in pcre and regexp maps. Values don't count, except those that refuse:
`REJECT TEXT`, `5NN TEXT` (access(5)) and `error:TEXT` (transport(5)) make an entry that is refused
with that text; what defers or discards exists like any other. `domain.example anything`, the head
of an old virtual domain, is passed over: a key with a dot that is the domain of other entries. All
other such keys are local parts, like `john.smith`.

A pattern of Postfix is held against the whole address. We take those of which the local part can
be told: that end in `@DOMAIN$` with a literal domain, with or without `^`.
"""

import re
from typing import IO, Final

from tideover.recipients.formats.entry import EntryError, check_text, parse_domain, parse_local
from tideover.recipients.formats.intake import Intake
from tideover.recipients.formats.lines import logical
from tideover.recipients.formats.terms import one_line
from tideover.recipients.interface import NO_TERMS, Terms
from tideover.recipients.names import a_label

_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"(?=\s|$)')
_KEY: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*"@)?\S+')
_PAIR: Final = re.compile(r"\\(.)")
_IF: Final = re.compile(r"if\s*!?/", re.IGNORECASE)
_ENDIF: Final = re.compile(r"endif(?=\s|$)", re.IGNORECASE)
_PATTERN: Final = re.compile(r"/((?:[^/\\]|\\.)+)/(\S*)\s+(.*)", re.DOTALL)
_WHOLE: Final = re.compile(r"(\^?)(.*?)\\?@((?:[A-Za-z0-9_-]|\\[.-])+)\$", re.DOTALL)
_TOKEN: Final = re.compile(r"\\.|\[\^?\]?(?:\[:\w+:\]|\\.|[^\]\\])*\]|.", re.DOTALL)
_REFUSES: Final = re.compile(r"(?:REJECT(?=\s|$)|5\d\d(?=\s|$)|error:)\s*", re.ASCII)
_ENHANCED: Final = re.compile(r"^5\.\d{1,3}\.\d{1,3}(?:\s+|:|$)", re.ASCII)


def parse(file: IO[bytes], intake: Intake) -> None:
    """Read a map.

    Raises:
        SourceError: too many patterns.
    """
    dotted: list[tuple[int, str, Terms]] = []  # local parts or domains: the end will tell
    depth = 0  # of if … endif
    for number, line in logical(file, intake.tick):
        if _IF.match(line):
            depth += 1
        elif depth and _ENDIF.match(line):
            depth -= 1
            continue
        if depth:
            intake.mistake(number, "a pattern between if and endif is not understood")
            continue
        try:
            if (found := _read(line, intake)) is not None:
                dotted.append((number, *found))
        except EntryError as error:
            intake.mistake(number, error)
    for number, key, terms in dotted:
        if key[0] == "." or intake.builder.has(a_label(key) or key):
            continue
        try:
            intake.address(key, terms)
        except EntryError as error:
            intake.mistake(number, error)


def _read(line: str, intake: Intake) -> tuple[str, Terms] | None:
    """One logical line. Returns a key that may be a domain, with its terms, and takes all others.

    Raises:
        EntryError: it is malformed.
    """
    check_text(line)
    if line.startswith(("/", "!/")):
        _read_pattern(line, intake)
        return None
    quoted = _QUOTED.match(line)
    found = quoted or _KEY.match(line)
    if found is None or not (value := line[found.end() :].strip()):
        raise EntryError("a key without a value")
    terms = refusal(value)
    if quoted is not None:  # postmap: quotes around the whole key, in which "@" parts as ever
        local, at, domain = _PAIR.sub(r"\1", quoted[1]).rpartition("@")
        local, domain = (local, domain) if at else (domain, "")
        key = parse_local(local)
        intake.builder.add(key, parse_domain(domain) if domain else "", terms)
        return None
    key = found[0]
    if key[0] == "@":
        if len(key) == 1:
            raise EntryError("a catch-all without a domain")
        intake.catch_all(key[1:], terms)
    elif "." in key and "@" not in key:
        return key, terms
    else:
        intake.address(key, terms)
    return None


def _read_pattern(line: str, intake: Intake) -> None:
    """A line of a pcre or regexp map.

    Raises:
        EntryError: it can't be taken.
    """
    found = _PATTERN.fullmatch(line)
    if found is None or found[2] not in ("", "i"):
        raise EntryError("a pattern is written /REGEX/ or /REGEX/i, with a value; not with !")
    whole = _WHOLE.fullmatch(found[1])
    if whole is None or "@" in whole[2] or _has_alternatives(whole[2]):
        raise EntryError("a pattern must end in @DOMAIN$, and be one for the local part before it")
    anchor, local, domain = whole.groups()
    label, terms = domain.replace("\\", ""), refusal(found[3])
    if not anchor and not local:
        intake.catch_all(label, terms)
    else:
        intake.pattern(local if anchor else f".*{local}", label, terms)


def _has_alternatives(regex: str) -> bool:
    """Whether a `|` outside of brackets makes the rest of the pattern an alternative too."""
    depth = 0
    for sign in _TOKEN.findall(regex):
        depth += (sign == "(") - (sign == ")")
        if sign == "|" and depth == 0:
            return True
    return False


def refusal(value: str) -> Terms:
    """The terms of a value: refused with a text, or nothing."""
    found = _REFUSES.match(value)
    if found is None:
        return NO_TERMS
    return Terms(reject=one_line(_ENHANCED.sub("", value[found.end() :], count=1)))
