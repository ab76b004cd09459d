"""Alias files: aliases(5) of sendmail and Postfix, lsearch files of Exim.

`NAME: TARGET, …`, and lines that continue the one before. The names are the recipients; targets
don't count, except two of Exim: `:fail: TEXT` refuses with that text, and `:unknown:` makes as if
the name were not there. A name may be quoted; `*` stands for all.
"""

import re
from typing import IO, Final

from tideover.recipients.formats.entry import EntryError, check_text, parse_domain, parse_local
from tideover.recipients.formats.intake import Intake
from tideover.recipients.formats.lines import logical
from tideover.recipients.formats.terms import one_line
from tideover.recipients.interface import NO_TERMS, Terms

_LINE: Final = re.compile(
    r'(?:"((?:[^"\\]|\\.)*)"(@[^\s:]+)?|([^\s:"][^:]*?))\s*:\s*(.*)', re.DOTALL
)
_PAIR: Final = re.compile(r"\\(.)")
_FAIL: Final = re.compile(r":fail:\s*(.*)", re.IGNORECASE | re.DOTALL)
_UNKNOWN: Final = re.compile(r":unknown:", re.IGNORECASE)


def parse(file: IO[bytes], intake: Intake) -> None:
    """Read an alias file."""
    for number, line in logical(file, intake.tick):
        try:
            _read(line, intake)
        except EntryError as error:
            intake.mistake(number, error)


def _read(line: str, intake: Intake) -> None:
    """One logical line.

    Raises:
        EntryError: it is malformed.
    """
    check_text(line)
    found = _LINE.fullmatch(line)
    if found is None:
        raise EntryError("not like NAME: TARGET")
    quoted, at, bare, targets = found.groups()
    if _UNKNOWN.match(targets):
        return
    fail = _FAIL.match(targets)
    terms = Terms(reject=one_line(fail[1])) if fail is not None else NO_TERMS
    if quoted is not None:
        local, _, domain = (_PAIR.sub(r"\1", quoted) + (at or "")).partition("@")
        intake.builder.add(parse_local(local), parse_domain(domain) if domain else "", terms)
    elif bare == "*" or bare.startswith("*@"):
        intake.catch_all(bare[2:], terms)
    else:
        intake.address(bare, terms)
