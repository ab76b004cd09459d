"""SPF: may this client send for that domain (RFC 7208, RFC 8616)? And does a pass prove anything?

What a stranger's records can cost is bounded by the limits in `spf_evaluation`.
"""

import re
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Final, Literal

from tideover.authentication.results import SpfResult
from tideover.authentication.spf_evaluation import Evaluation, SpfClient, SpfPermError, SpfTempError
from tideover.authentication.spf_macros import MAX_NAME
from tideover.dns.names import Names

_MAX_TEXT: Final = 255  # of a mechanism in a result
_CUT: Final = "…"
_WIDEST4: Final = 8
_WIDEST6: Final = 16

_MAPPED: Final = bytes(10) + b"\xff\xff"
_NAME: Final = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})+")

# The end of a domain-spec that its author chose and no client can: two labels, or %{d}, %{o}.
_OWN_NAME: Final = re.compile(
    r"(?:\A|\.)(?:[a-z0-9_-]+\.[a-z0-9-]+\.?|%\{[do](?:[2-9]|[1-9][0-9]+)?\})\Z", re.IGNORECASE
)
_PREFIXES: Final = re.compile(r"(?:/([0-9]{1,2}))?(?://([0-9]{1,3}))?\Z")


async def check_host(
    *,
    address: str,
    sender: str,
    helo: str,
    names: Names,
    scope: Literal["mfrom", "helo"],
    receiver: str,
    now: float,
) -> SpfResult:
    """Evaluate SPF for a client (RFC 7208 §4). Whatever strangers wrote, it does not raise.

    Args:
        address: the client's IP address.
        sender: the reverse path; its domain may have U-labels. Of no concern in scope "helo".
        helo: the name of HELO or EHLO.
        names: where records come from.
        scope: "mfrom", or "helo" for postmaster at the HELO name (§2.3).
        receiver: our host name, for explanations.
        now: Unix time, for explanations.
    """
    local, _, domain = sender.rpartition("@") if scope == "mfrom" else ("", "", helo)
    domain = _a_labels(domain)
    client = _client(address)
    trouble = "no address to check" if client is None else _trouble(domain)
    if client is None or trouble:
        return SpfResult(result="none", domain=domain[:MAX_NAME], scope=scope, reason=trouble)
    evaluation = Evaluation(
        client, names, domain=domain, local=local or "postmaster", helo=_a_labels(helo)
    )
    explanation = ""
    try:
        verdict = await evaluation.of(domain)
        if verdict.result == "fail" and verdict.explanation is not None:
            explanation = await evaluation.explain(
                verdict.explanation, verdict.domain, receiver, now
            )
    except SpfPermError as error:
        return SpfResult(result="permerror", domain=domain, scope=scope, reason=str(error))
    except SpfTempError as error:
        return SpfResult(result="temperror", domain=domain, scope=scope, reason=str(error))
    trail = tuple(one if len(one) <= _MAX_TEXT else one[:_MAX_TEXT] + _CUT for one in verdict.trail)
    return SpfResult(
        result=verdict.result,
        domain=domain,
        scope=scope,
        mechanism=next((one for one in trail if not _is_redirect(one)), ""),
        trail=trail,
        explanation=explanation,
    )


@lru_cache(maxsize=1024)  # the same sender writes often, and several checks ask
def proves(result: SpfResult) -> bool:
    """Whether it is a pass that tells this client from any other.

    One by "all", by a network wider than IPv4 /8 or IPv6 /16, or by a name that the client could
    choose itself (its HELO name, say) proves nothing; the same behind an include or a redirect.
    """
    if result.result != "pass" or not result.trail:
        return False
    return all(map(_tells_apart, result.trail))


def _tells_apart(term: str) -> bool:
    if term.endswith(_CUT):
        return False
    kind, sign, rest = _split(term)
    match kind:
        case "all":
            return False
        case "ip4" | "ip6":
            _, slash, bits = rest.partition("/")
            return not slash or int(bits) >= (_WIDEST4 if kind == "ip4" else _WIDEST6)
        case "a" | "mx":
            found = _PREFIXES.search(rest)
            bits4, bits6 = found.groups() if found is not None else (None, None)
            if int(bits4 or 32) < _WIDEST4 or int(bits6 or 128) < _WIDEST6:
                return False
            rest = rest[: found.start()] if found is not None else rest
        case "exists" if "%{i" not in rest.lower():
            return False  # there for one client, there for all
    return not rest.strip(sign) or _OWN_NAME.search(rest) is not None


def _split(term: str) -> tuple[str, str, str]:
    """Its kind in lower case, the sign behind that, and the rest."""
    match = re.match(r"([A-Za-z0-9]+)([:=]?)", term)
    if match is None:
        return "", "", term
    return match.group(1).lower(), match.group(2), term[match.end() :]


def _is_redirect(term: str) -> bool:
    return term[:9].lower() == "redirect="


def _trouble(domain: str) -> str:
    """Why a domain is none to check (§4.3), "" when it is one."""
    if len(domain) > MAX_NAME or not _NAME.fullmatch(domain):
        return "no domain that DNS could know"
    return "an address, no domain" if domain[domain.rfind(".") + 1 :].isdigit() else ""


def _client(address: str) -> SpfClient | None:
    """An address as SPF sees it: an IPv4-mapped one is IPv4 (§5)."""
    try:
        if ":" not in address:
            packed = inet_pton(AF_INET, address)
        else:
            packed = inet_pton(AF_INET6, address.partition("%")[0])
            packed = packed.removeprefix(_MAPPED) if packed.startswith(_MAPPED) else packed
    except (OSError, ValueError):
        return None
    value = int.from_bytes(packed)
    if len(packed) == 4:
        text = inet_ntop(AF_INET, packed)
        return SpfClient(text=text, value=value, is_ipv4=True, dotted=text)
    return SpfClient(
        text=inet_ntop(AF_INET6, packed), value=value, is_ipv4=False,
        dotted=".".join(f"{value:032X}"),
    )  # fmt: skip


def _a_labels(domain: str) -> str:
    """A domain as DNS knows it, as far as that can be had; anything else fails to match later."""
    if domain.isascii():
        return domain.removesuffix(".").lower()
    import idna  # tables of 1 MB that few need

    if len(domain) > MAX_NAME:
        return domain[:MAX_NAME]
    try:
        return idna.encode(domain.removesuffix("."), uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        return domain
