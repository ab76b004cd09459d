"""spf: whether the domains of MAIL FROM and of HELO let this client send for them (RFC 7208 §2).

The HELO name is checked for the null sender, for which it is all there is, and besides the sender
as far as DNS says soon enough: nobody may keep what is known of a sender from being known by a
HELO name whose DNS is slow.

Evidence: what was found of each. `detail`: the `SpfResult`s, that of MAIL FROM first.
"""

import asyncio
from collections import OrderedDict
from typing import Final, Literal

from tideover.authentication.results import SpfResult
from tideover.authentication.spf import check_host
from tideover.eager import run
from tideover.policy.interface import NOTHING, About, Check, Found, Result
from tideover.policy.services import Services
from tideover.smtp.replies import reply

KEEP: Final = 30.0
"""Seconds that a result is used again: TTLs are not known here, and shorter ones are rare."""

MOST_KEPT: Final = 4096
_MOMENT: Final = 1.0  # seconds that the HELO name may take once all is known of the sender
_MAX_SHOWN: Final = 100
_MAX_WORDS: Final = 200

_FINDINGS: Final = {
    "fail": "spf-fail",
    "softfail": "spf-softfail",
    "permerror": "spf-permerror",
    "none": "spf-none",
}


def make(services: Services) -> Check:
    """The check of stage mail."""
    names, receiver = services.names, services.config.hostname
    kept = _Kept()

    async def ask(about: About, scope: Literal["mfrom", "helo"]) -> SpfResult:
        return await check_host(
            address=about.client.address, sender=about.sender or "", helo=about.client.helo,
            names=names, scope=scope, receiver=receiver, now=about.now,
        )  # fmt: skip

    async def check(about: About) -> Result:
        if about.sender is None:
            return NOTHING
        key = about.client.address, about.sender, about.client.helo
        known = kept.get(key, about.now)
        if known is not None:
            return known
        of_sender, helo = None, run(ask(about, "helo"))
        task = helo if isinstance(helo, asyncio.Task) else None
        try:
            if about.sender:
                of_sender = await ask(about, "mfrom")
            if task is not None:
                await asyncio.wait({task}, timeout=_MOMENT if about.sender else None)
        finally:
            if task is not None and not task.done():
                task.cancel()
        if isinstance(helo, asyncio.Task):
            of_helo = helo.result() if helo.done() else None
        else:
            of_helo = helo
        result = _judged(of_sender, of_helo, about.client.address)
        if of_helo is not None and all(one.result != "temperror" for one in result.detail):
            kept.put(key, result, about.now)
        return result

    return check


class _Kept:
    """The results of the last moments."""

    def __init__(self) -> None:
        self._results: OrderedDict[tuple[str, str, str], tuple[float, Result]] = OrderedDict()

    def get(self, key: tuple[str, str, str], now: float) -> Result | None:
        then, result = self._results.get(key, (0.0, None))
        return result if 0 <= now - then < KEEP else None

    def put(self, key: tuple[str, str, str], result: Result, now: float) -> None:
        self._results[key] = now, result
        self._results.move_to_end(key)
        if len(self._results) > MOST_KEPT:
            self._results.popitem(last=False)


def _judged(of_sender: SpfResult | None, of_helo: SpfResult | None, address: str) -> Result:
    found: list[Found] = []
    if of_sender is not None and of_sender.result in _FINDINGS:
        found.append(_finding(_FINDINGS[of_sender.result], of_sender, address))
    told = of_sender is not None and of_helo is not None and of_sender.domain == of_helo.domain
    if of_helo is not None and of_helo.result == "fail" and not told:
        found.append(_finding("spf-helo-fail", of_helo, address))
    both = tuple(one for one in (of_sender, of_helo) if one is not None)
    matters = of_sender if of_sender is not None else of_helo
    undecided = ""
    if matters is not None and matters.result == "temperror":
        undecided = matters.reason or "DNS did not answer"
    return Result(
        found=tuple(found),
        evidence={one.scope: _shown(one) for one in both},
        undecided=undecided,
        detail=both,
    )


def _finding(name: str, result: SpfResult, address: str) -> Found:
    domain = result.domain[:_MAX_SHOWN]
    reason = f"{domain}: {result.reason or result.mechanism or result.result}"[:_MAX_WORDS]
    if result.result != "fail":
        return Found(name=name, reason=reason)
    text = f"SPF: {domain} does not let {address} send for it"
    if name == "spf-helo-fail":
        text = f"SPF: {domain} does not let {address} use its name in HELO"
    if result.explanation:
        words = result.explanation[:_MAX_WORDS].replace('"', "'")
        text = f'{text}; that domain says: "{words}"'
    return Found(name=name, reason=reason, reply=reply(550, "5.7.23", text))


def _shown(result: SpfResult) -> str:
    by = " ".join(result.trail) or result.reason
    text = f"{result.result} {result.domain[:_MAX_SHOWN]}"
    return f"{text}: {by}"[:_MAX_WORDS] if by else text
