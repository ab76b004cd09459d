"""own-sender: a sender of one of our domains comes from outside, and SPF does not vouch for it.

Where SPF says neither yes nor no (there is no record, or a broken one, or one that lets anybody
send), a domain is taken to send from its own address and its mail hosts: so its primary may write
to our other domains.
"""

from collections.abc import Sequence

from tideover.authentication.results import SpfResult
from tideover.authentication.spf import proves
from tideover.dns.resolver import DnsUnavailable
from tideover.policy.hosts import is_host_of
from tideover.policy.interface import NOTHING, About, Check, Found, Result
from tideover.policy.services import Services


def make(services: Services) -> Check:
    """The check of stage mail; it needs spf. Trusted networks never come here."""

    async def check(about: About) -> Result:
        domain = about.sender_domain
        if not domain or not services.is_ours(domain):
            return NOTHING
        spf = _spf_of_sender(about)
        if spf is None or spf.result == "temperror":
            return Result(undecided=f"SPF of {domain} is not known")
        if proves(spf):
            return NOTHING
        try:
            if spf.result not in ("fail", "softfail") and await is_host_of(
                services.names, domain, about.client.address
            ):
                return NOTHING
        except DnsUnavailable as error:
            return Result(undecided=str(error))
        reason = f"{domain} is one of our domains; SPF says {spf.result}"
        return Result(found=(Found(name="own-sender", reason=reason),))

    return check


def _spf_of_sender(about: About) -> SpfResult | None:
    result = about.results.get("spf")
    detail: Sequence[SpfResult] = (result.detail or ()) if result is not None else ()
    return next((spf for spf in detail if spf.scope == "mfrom"), None)
