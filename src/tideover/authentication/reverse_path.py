"""Whether the owner of a reverse path sent the message: only then may a report go there (I7)."""

from collections.abc import Sequence
from typing import Final

from tideover.authentication.dmarc import AskedOnce, aligned
from tideover.authentication.results import DkimResult, DmarcResult, SpfResult
from tideover.authentication.spf import proves
from tideover.dns.names import Names
from tideover.dns.resolver import DnsUnavailable

_MAX_SHOWN: Final = 100


async def authenticated(
    sender_domain: str,
    spf: Sequence[SpfResult],
    dkim: Sequence[DkimResult],
    dmarc: DmarcResult | None,
    names: Names,
) -> tuple[bool, str]:
    """Whether the reverse path is proven, and why (or why not), in a few words.

    `sender_domain` is that of the reverse path in lower-case A-labels, "" for the null reverse path
    and for one that DNS could not know. Proven is a path for which SPF passes by something that
    tells its owner's hosts from others, or that a valid DKIM signature of the whole message is
    aligned with (relaxed, RFC 9989 §4.4); unless DMARC fails, or is not known. Never raises; does
    not suspend when the names are in the cache.
    """
    if not sender_domain:
        return False, "no reverse path that could be proven"
    if dmarc is None:
        return False, "DMARC was not checked"
    if dmarc.result in ("fail", "temperror"):
        return False, f"DMARC of {dmarc.domain}: {dmarc.result}"
    for result in spf:
        if result.scope == "mfrom" and result.domain == sender_domain and proves(result):
            return True, f"SPF passes for {sender_domain} by {result.mechanism[:_MAX_SHOWN]}"
    unknown, texts = False, AskedOnce(names)
    for signature in dkim:
        if not signature.speaks:
            continue
        signer = signature.domain.lower()
        try:
            if await aligned(sender_domain, signer, texts):
                return True, f"a DKIM signature of {signer} is valid"
        except DnsUnavailable:
            unknown = True
    if unknown:
        return False, f"DNS does not say whether a DKIM signature is aligned with {sender_domain}"
    return False, f"neither SPF nor DKIM proves that {sender_domain} sent it"
