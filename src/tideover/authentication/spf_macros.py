"""Macros in SPF records (RFC 7208 §7): taken apart once, expanded as often as needed."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from msgspec import Struct

MAX_NAME: Final = 253
MAX_SPEC: Final = 512  # of a domain-spec: twice what a name can hold
MAX_EXPLANATION: Final = 500

_DOMAIN_LETTERS: Final = frozenset("slodiphv")
_EXPLANATION_LETTERS: Final = frozenset("slodiphvcrt")
_TOKEN: Final = re.compile(r"%\{([A-Za-z])([0-9]*)([rR]?)([.\-+,/_=]*)\}|%([%_-])|([^%]+)")
_ESCAPES: Final = {"%": "%", "_": " ", "-": "%20"}
_LABEL: Final = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z-]*[0-9A-Za-z])?")
_ALL: Final = 1000  # more parts than there can be


class MacroError(ValueError):
    """The text breaks the grammar of §7.1. What it says is fit for operators."""


class Macro(Struct, frozen=True):
    """One `%{…}`. `parts` is how many right-hand parts are kept."""

    letter: str
    parts: int
    backwards: bool
    delimiters: str
    escaped: bool


Template = tuple[str | Macro, ...]
Values = Mapping[str, str]
"""What each letter (lower case) stands for."""


def domain_spec(text: str) -> Template:
    """Take a domain-spec apart.

    Raises:
        MacroError: it is none.
    """
    if not text:
        raise MacroError("a domain is missing")
    if len(text) > MAX_SPEC:
        raise MacroError(f"a domain-spec of more than {MAX_SPEC} characters")
    template = _taken_apart(text, _DOMAIN_LETTERS)
    end = template[-1]
    if isinstance(end, str) and end not in _ESCAPES.values():
        _, dot, top = end.removesuffix(".").rpartition(".")
        if not dot or top.isdigit() or not _LABEL.fullmatch(top):
            raise MacroError(f"no domain name: {text[:80]}")
    return template


def macro_string(text: str) -> None:
    """Check the value of a modifier that means nothing to us (§6).

    Raises:
        MacroError: a macro in it is broken.
    """
    _taken_apart(text, _DOMAIN_LETTERS)


def explain_string(text: str) -> Template:
    """Take an explanation apart (§6.2).

    Raises:
        MacroError: a macro in it is broken.
    """
    return _taken_apart(text, _EXPLANATION_LETTERS)


def uses(template: Template, letters: str) -> bool:
    """Whether one of these macros is in it."""
    return any(part.letter in letters for part in template if isinstance(part, Macro))


def name_of(template: Template, values: Values) -> str:
    """The domain name that a domain-spec stands for: lower case, without final dot, cut on the
    left to what DNS can hold (§7.3). It need not be one that DNS could know.
    """
    if len(template) == 1 and isinstance(template[0], str):
        text = template[0]
    else:
        done: list[str] = []
        length = 0
        for part in reversed(template):
            done.append(part if isinstance(part, str) else _expanded(part, values))
            length += len(done[-1])
            if length > MAX_NAME + 1:
                break
        text = "".join(reversed(done))
    text = text.removesuffix(".").lower()
    while len(text) > MAX_NAME:
        _, dot, text = text.partition(".")
        if not dot:
            return ""
    return text


def text_of(template: Template, values: Values) -> str:
    """The explanation that a template stands for, cut to `MAX_EXPLANATION` characters."""
    done: list[str] = []
    length = 0
    for part in template:
        done.append(part if isinstance(part, str) else _expanded(part, values))
        length += len(done[-1])
        if length > MAX_EXPLANATION:
            break
    return "".join(done)[:MAX_EXPLANATION]


def _taken_apart(text: str, letters: frozenset[str]) -> Template:
    parts: list[str | Macro] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise MacroError(f"a broken macro: {text[at : at + 40]}")
        at = match.end()
        letter, digits, backwards, delimiters, escape, literal = match.groups()
        if letter is None:
            parts.append(literal or _ESCAPES[escape])
            continue
        if letter.lower() not in letters:
            raise MacroError(f"no such macro here: %{{{letter}}}")
        if digits and not digits.strip("0"):
            raise MacroError("a macro that keeps 0 parts")
        digits = digits.lstrip("0")
        kept = int(digits) if 0 < len(digits) < 4 else _ALL
        parts.append(
            Macro(letter.lower(), kept, bool(backwards), delimiters or ".", letter.isupper())
        )
    return tuple(parts)


def _expanded(macro: Macro, values: Values) -> str:
    value = values[macro.letter]
    if macro.parts < _ALL or macro.backwards or macro.delimiters != ".":
        for delimiter in macro.delimiters:
            if delimiter != macro.delimiters[0]:
                value = value.replace(delimiter, macro.delimiters[0])
        parts = value.split(macro.delimiters[0])
        if macro.backwards:
            parts.reverse()
        value = ".".join(parts[-macro.parts :])
    return quote(value, safe="") if macro.escaped else value
