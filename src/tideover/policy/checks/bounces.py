"""Bounces that answer no mail of ours (RFC 5321 §4.5.5: their sender is empty).

Where a domain signs its return addresses (BATV, SRS), a bounce to a signed one is welcome and not
counted. Others are few per recipient and per domain. To a domain with a key for BATV nothing but
signed ones may come, but for postmaster, who must be reached by anybody (§4.5.1).
"""

from collections.abc import Mapping

from tideover.authentication.return_address import signed_batv, signed_srs
from tideover.config.policy import Limits
from tideover.events.policy_records import CheckFailed
from tideover.message.envelope import Recipient
from tideover.policy.addresses import local_of, recipient_key
from tideover.policy.buckets import Buckets
from tideover.policy.interface import NOTHING, About, Check, Found, Result, Stage
from tideover.policy.services import Services
from tideover.recipients.return_addresses import ReturnKeys, return_keys

_NONE = ReturnKeys()


def make(services: Services) -> Check:
    """The check "bounces" (stages rcpt and data)."""
    config, buckets = services.config, services.memory.buckets
    keys_of: Mapping[str, ReturnKeys] = {
        name: keys for name, profile in config.profiles.items() if (keys := return_keys(profile))
    }
    for keys in keys_of.values():
        if keys.trouble:
            services.emit(CheckFailed(check="bounces", reason=keys.trouble))

    async def check(about: About) -> Result:
        if about.sender != "":
            return NOTHING
        if about.stage is Stage.DATA:
            return _several(len(about.recipients))
        if about.recipient is None:
            return NOTHING
        settings = config.domains.get(about.recipient.domain)
        keys = keys_of.get(settings.profile, _NONE) if settings is not None else _NONE
        if keys.trouble:
            return Result(undecided=keys.trouble)
        signed, why_not = _signed(about.recipient, keys, about.now)
        if signed:
            return Result(evidence={"return address": f"signed ({signed})"})
        if why_not:
            return Result(found=(Found(name="bounce-unsigned", reason=why_not),))
        key = recipient_key(about.recipient, config)
        return _counted(buckets, config.limits, key, about.recipient.domain, about.now)

    return check


def _several(recipients: int) -> Result:
    if recipients < 2:
        return NOTHING
    return Result(found=(Found(name="bounce-many", reason=f"{recipients} recipients"),))


def _signed(recipient: Recipient, keys: ReturnKeys, now: float) -> tuple[str, str]:
    """How the address is signed, or why that is a reason to refuse it; both may be ""."""
    local = local_of(recipient)
    signed = signed_batv(local, recipient.domain, keys.batv, now) if keys.batv else None
    if signed is not None:
        return ("BATV", "") if signed else ("", "its BATV signature is wrong or has run out")
    signed = signed_srs(local, keys.srs, now) if keys.srs else None
    if signed is not None:
        return ("SRS", "") if signed else ("", "its SRS signature is wrong or has run out")
    if keys.batv and local.lower() != "postmaster":
        return "", "not signed (BATV)"
    return "", ""


def _counted(buckets: Buckets, limits: Limits, key: str, domain: str, now: float) -> Result:
    for kind, name, limit in (
        ("bounces-recipient", key, limits.bounces_per_recipient),
        ("bounces-domain", domain, limits.bounces_per_domain),
    ):
        if limit is not None and (wait := buckets.take(kind, name, limit, now)):
            reason = f"{name}: more than {limit} bounces; room again in {wait:.0f} s"
            return Result(found=(Found(name="bounce-flood", reason=reason),))
    return NOTHING
