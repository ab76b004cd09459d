"""Authentication-Results in our name (RFC 8601), also as ARC-Authentication-Results (RFC 8617).

Much of what is reported was chosen by strangers. It goes through `_value` alone, which writes a
plain token or address as it is, and anything else as a quoted string of printable ASCII.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from tideover.authentication.results import ArcResult, DkimResult, DmarcResult, SpfResult

_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+")  # RFC 2045 §5.1
_ADDRESS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]*@[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_PRINTABLE: Final = re.compile(r"[^\x20-\x7e]")
_WIDTH: Final = 78
_MAX_VALUE: Final = 255
_MAX_REASON: Final = 120
_MAX_SIGNATURES: Final = 10


def authentication_results(
    hostname: str,
    *,
    spf: Sequence[SpfResult] = (),
    dkim: Sequence[DkimResult] = (),
    arc: ArcResult | None = None,
    dmarc: DmarcResult | None = None,
    iprev: str = "",
    client: str = "",
) -> str:
    """The field's value, folded at 78 columns where it can be; no final line end.

    `iprev` is pass, fail, temperror or permerror (RFC 8601 §3) for the address `client`, "" when
    it was not looked at. What is left out is not reported; with nothing to report, the value says
    "none" (§2.2).
    """
    statements = [_statement("iprev", iprev, "", ("policy.iprev", client))] if iprev else []
    statements += map(_spf, spf)
    statements += map(_dkim, dkim[:_MAX_SIGNATURES])
    if arc is not None:
        statements.append(_statement("arc", arc.result, arc.reason, ("smtp.remote-ip", client)))
    if dmarc is not None:
        statements.append(_dmarc(dmarc))
    if not statements:
        return f"{hostname}; none"
    return f"{hostname};\r\n\t" + ";\r\n\t".join(_folded(words) for words in statements)


def _spf(result: SpfResult) -> list[str]:
    name = "smtp.helo" if result.scope == "helo" else "smtp.mailfrom"
    return _statement("spf", result.result, result.reason, (name, result.domain))


def _dkim(result: DkimResult) -> list[str]:
    reason = result.reason or ("the key is in test mode" if result.testing else "")
    return _statement(
        "dkim",
        result.result,
        reason,
        ("header.d", result.domain),
        ("header.i", result.identity),
        ("header.s", result.selector),
        ("header.a", result.algorithm),
        ("header.b", result.signature),
    )


def _dmarc(result: DmarcResult) -> list[str]:
    policy = result.policy if result.result == "fail" else ""
    return _statement(
        "dmarc",
        result.result,
        "" if result.result == "pass" else result.reason,
        ("policy.dmarc", policy),
        ("header.from", result.domain),
    )


def _statement(method: str, result: str, reason: str, *properties: tuple[str, str]) -> list[str]:
    """The words of one result; properties without a value are left out."""
    words = [f"{method}={result}"]
    if reason:
        words.append(f"reason={_quoted(reason[:_MAX_REASON])}")
    words += [f"{name}={_value(value)}" for name, value in properties if value]
    return words


def _value(text: str) -> str:
    """A value that can't be taken for anything else, whatever is in it."""
    text = text[:_MAX_VALUE]
    if _TOKEN.fullmatch(text) or _ADDRESS.fullmatch(text):
        return text
    return _quoted(text)


def _quoted(text: str) -> str:
    escaped = _PRINTABLE.sub("?", text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _folded(words: Sequence[str]) -> str:
    """The words in lines that begin with a tab, which counts as one column."""
    return "\r\n\t".join(_lines(words))


def _lines(words: Sequence[str]) -> Iterator[str]:
    line = words[0]
    for word in words[1:]:
        if len(line) + len(word) + 3 > _WIDTH:  # tab, space, semicolon
            yield line
            line = word
        else:
            line = f"{line} {word}"
    yield line
