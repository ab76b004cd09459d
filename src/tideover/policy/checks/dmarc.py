"""dmarc: does SPF or DKIM speak for every domain in the From field (RFC 9989)?

Evidence: `result`, `from`, `record` (where the policy was found), `policy` (what it asks for),
`aligned` (what made it pass), `overridden` (whose ARC seal is believed instead). Detail: the
`DmarcResult` of the author domain that counts.
"""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from tideover.authentication.author import AuthorsUnclear, authors
from tideover.authentication.authserv import Statement, statements_of
from tideover.authentication.dmarc import AskedOnce, evaluate, worst
from tideover.authentication.results import ArcResult, DkimResult, DmarcResult, SpfResult
from tideover.eager import together
from tideover.policy.checks.broken_section import whole_section
from tideover.policy.interface import About, Check, Found, Result
from tideover.policy.services import Services
from tideover.smtp.replies import reply

_UNCLEAR: Final = Result(
    found=(
        Found(
            name="dmarc-reject",
            reason="nobody could tell the author from the From field",
            reply=reply(550, "5.7.1", "The From field is too long, or names too many domains"),
        ),
    ),
    evidence={"result": "fail"},
    detail=DmarcResult(result="fail", policy="reject", reason="unclear author domains"),
)


def make(services: Services) -> Check:
    """The check of stage message; it needs dkim and arc, and spf from stage mail."""
    names = services.names
    sealers = frozenset(services.config.policy.trusted_sealers)

    async def check(about: About) -> Result:
        if about.message is None:
            return Result(undecided="no message yet")
        header, section = about.message.header, b""
        try:
            if header.broken:
                whole = await whole_section(about.message)
                if whole is None:
                    return _UNCLEAR
                section = whole
            domains = authors(header, section)
        except AuthorsUnclear:
            return _UNCLEAR
        except OSError as error:
            return Result(undecided=f"the copy of the message can't be read: {error}")
        spf, texts = _spf(about), AskedOnce(names)
        # side by side: one whose DNS is slow must not keep what another asks for from being known
        results = await together(
            evaluate(domain, spf, _dkim(about, domain), texts) for domain in domains
        )
        return _judged(worst(results), about, sealers)

    return check


def _judged(result: DmarcResult, about: About, sealers: Collection[str]) -> Result:
    facts = {
        "result": result.result,
        "from": result.domain,
        "record": result.record_domain,
        "policy": result.policy if result.result == "fail" else "",
        "aligned": result.aligned_by,
    }
    undecided = result.reason if result.result == "temperror" else ""
    found: tuple[Found, ...] = ()
    if result.result == "fail":
        facts["overridden"], undecided = _believed(about, result.domain, sealers)
        if not facts["overridden"] and not undecided:
            found = (_finding(result),)
    evidence = {name: fact for name, fact in facts.items() if fact}
    return Result(found=found, evidence=evidence, undecided=undecided, detail=result)


def _finding(result: DmarcResult) -> Found:
    reason = f"{result.domain}: {result.reason}"
    if result.policy == "none":
        return Found(name="dmarc-fail", reason=reason)
    what = "refuse" if result.policy == "reject" else "suspect"
    text = f"DMARC: neither SPF nor DKIM speaks for {result.domain}, which asks to {what} such mail"
    return Found(name=f"dmarc-{result.policy}", reason=reason, reply=reply(550, "5.7.26", text))


def _believed(about: About, author: str, sealers: Collection[str]) -> tuple[str, str]:
    """The trusted sealer that says that DMARC of this author had passed, and what is missing to
    know whether it does; "" for none.

    Only while all seals above it are trusted too: who seals after it can put its set on any other
    message (RFC 8617 §5.1: a seal covers the sets below it, not the message).
    """
    if not sealers or about.message is None or about.message.header.first(b"arc-seal") is None:
        return "", ""
    known = about.results.get("arc")
    arc = known.detail if known is not None else None
    if not isinstance(arc, ArcResult):
        return "", "" if known is not None and not known.undecided else "ARC is undecided"
    if arc.result not in ("pass", "temperror"):
        return "", ""
    if arc.result == "pass" and arc.reason:  # the newest set leaves open what readers see
        return "", ""
    for sealer, said in zip(reversed(arc.sealers), reversed(arc.assertions), strict=False):
        if sealer.lower() not in sealers:
            return "", ""
        if any(_passed(statement, author) for statement in statements_of(said)):
            name = f"ARC of {sealer.lower()}"
            return (name, "") if arc.result == "pass" else ("", f"{name} is undecided")
    return "", ""


def _passed(statement: Statement, author: str) -> bool:
    of = statement.properties.get("header.from", "").rpartition("@")[2]
    return statement.method == "dmarc" and statement.result == "pass" and of == author


def _spf(about: About) -> Sequence[SpfResult]:
    known = about.results.get("spf")
    if known is None or (known.undecided and known.detail is None):
        domain = about.sender_domain or about.client.helo
        return (SpfResult(result="temperror", domain=domain),)
    if about.sender:
        return known.detail or ()
    # RFC 7208 §2.4: of a null reverse path the HELO name is the MAIL FROM identity
    return [msgspec.structs.replace(result, scope="mfrom") for result in known.detail or ()]


def _dkim(about: About, author: str) -> Sequence[DkimResult]:
    known = about.results.get("dkim")
    if known is None or (known.undecided and known.detail is None):
        return (DkimResult(result="temperror", domain=author, selector=""),)
    return known.detail or ()
