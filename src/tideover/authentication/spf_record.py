"""SPF records taken apart (RFC 7208 §4.6, §5, §6). Pure; time is linear in what came."""

import re
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_pton
from typing import Final

from msgspec import Struct

from tideover.authentication.spf_macros import MacroError, Template, domain_spec, macro_string

MAX_RECORD: Final = 8192  # RFC 7208 §3.4 recommends 450; the longest that mean well have about 4000
_WORTH_KEEPING: Final = 1024

_PRINTABLE: Final = re.compile(rb"[\x20-\x7e]*")
_VERSION: Final = re.compile(rb"v=spf1(?: |\Z)", re.IGNORECASE)
_TERM: Final = re.compile(r"([+\-?~]?)([A-Za-z][A-Za-z0-9_.\-]*)(.*)", re.DOTALL)
_CIDR: Final = re.compile(r"(?:/(0|[1-9][0-9]?))?(?://(0|[1-9][0-9]{0,2}))?\Z")
_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,2}")
_RESULTS: Final = {"": "pass", "+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}


class RecordError(ValueError):
    """The record breaks the grammar: a permerror. What it says is fit for operators."""


class Directive(Struct, frozen=True, kw_only=True):
    """A mechanism with its qualifier.

    `text` is the mechanism as written, `result` what a match means. `domain` is None where the
    mechanism has none. `bits4` and `bits6` are the prefix lengths of `a` and `mx`; `network` and
    `mask` what `ip4` and `ip6` cover.
    """

    kind: str
    text: str
    result: str
    domain: Template | None = None
    bits4: int = 32
    bits6: int = 128
    network: int = 0
    mask: int = 0


class SpfRecord(Struct, frozen=True, kw_only=True):
    """`redirect_text` is the modifier as written."""

    directives: tuple[Directive, ...]
    redirect: Template | None = None
    redirect_text: str = ""
    explanation: Template | None = None


def is_spf(text: bytes) -> bool:
    """Whether a TXT record is for SPF (§4.5)."""
    return _VERSION.match(text) is not None


def parse(text: bytes) -> SpfRecord:
    """Take a record apart, version included.

    Raises:
        RecordError: a term breaks the grammar, or it is too long.
    """
    if len(text) > MAX_RECORD:
        raise RecordError(f"the record has more than {MAX_RECORD} octets")
    if not _PRINTABLE.fullmatch(text):
        raise RecordError("the record has characters beyond printable ASCII")
    return _kept(text) if len(text) <= _WORTH_KEEPING else _parsed(text)


def _parsed(text: bytes) -> SpfRecord:
    directives: list[Directive] = []
    modifiers: dict[str, tuple[Template, str]] = {}
    try:
        for word in text.decode("ascii").split(" ")[1:]:
            if not word:
                continue
            match = _TERM.fullmatch(word)
            if match is None:
                raise RecordError(f"no such term: {word[:80]}")
            qualifier, name, rest = match.groups()
            name = name.lower()
            if rest[:1] != "=":
                directives.append(_directive(_RESULTS[qualifier], name, rest, word))
            elif qualifier:
                raise RecordError(f"a modifier has no qualifier: {word[:80]}")
            elif name not in ("redirect", "exp"):
                macro_string(rest[1:])
            elif name in modifiers:
                raise RecordError(f"{name}= is there twice")
            else:
                modifiers[name] = domain_spec(rest[1:]), word
    except MacroError as error:
        raise RecordError(str(error)) from None
    redirect, redirect_text = modifiers.get("redirect", (None, ""))
    explanation, _ = modifiers.get("exp", (None, ""))
    return SpfRecord(
        directives=tuple(directives), redirect=redirect, redirect_text=redirect_text,
        explanation=explanation,
    )  # fmt: skip


_kept = lru_cache(maxsize=512)(_parsed)


def _directive(result: str, kind: str, rest: str, word: str) -> Directive:
    text = word.lstrip("+-~?")
    match kind:
        case "all" if not rest:
            return Directive(kind=kind, text=text, result=result)
        case "ip4" | "ip6" if rest[:1] == ":":
            network, mask = _network(kind, rest[1:])
            return Directive(kind=kind, text=text, result=result, network=network, mask=mask)
        case "include" | "exists" if rest[:1] == ":":
            return Directive(kind=kind, text=text, result=result, domain=domain_spec(rest[1:]))
        case "ptr" if not rest or rest[0] == ":":
            domain = domain_spec(rest[1:]) if rest else None
            return Directive(kind=kind, text=text, result=result, domain=domain)
        case "a" | "mx":
            rest, bits4, bits6 = _prefixes(rest)
            if not rest or rest[0] == ":":
                domain = domain_spec(rest[1:]) if rest else None
                return Directive(
                    kind=kind, text=text, result=result, domain=domain, bits4=bits4, bits6=bits6
                )
    raise RecordError(f"no such mechanism: {word[:80]}")


def _prefixes(rest: str) -> tuple[str, int, int]:
    match = _CIDR.search(rest)
    if match is None or not match.group():
        return rest, 32, 128
    bits4, bits6 = int(match.group(1) or 32), int(match.group(2) or 128)
    if bits4 > 32 or bits6 > 128:
        raise RecordError(f"no such prefix length: {match.group()}")
    return rest[: match.start()], bits4, bits6


def _network(kind: str, text: str) -> tuple[int, int]:
    family, most = (AF_INET, 32) if kind == "ip4" else (AF_INET6, 128)
    address, slash, length = text.partition("/")
    if slash and (not _LENGTH.fullmatch(length) or int(length) > most):
        raise RecordError(f"no such prefix length: {text[:80]}")
    try:
        value = int.from_bytes(inet_pton(family, address))
    except OSError:
        raise RecordError(f"no {kind} network: {text[:80]}") from None
    bits = int(length) if slash else most
    mask = ((1 << bits) - 1) << (most - bits)
    return value & mask, mask
