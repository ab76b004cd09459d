"""How much mail is taken in a while: from a client network, a sender domain, for a recipient, and
for one of our domains.

Each recipient that is asked about counts, also one that another check refuses. The limits are
looked at in this order, and what is over one is not counted for those after it: a client that sends
too much does not use up what others may send to the same recipient.

Anybody can write a sender's domain. So it counts for the domain as a whole only where SPF proves
it, and otherwise for the domain and the client's network together: nobody can lock a domain out by
forging it.
"""

from collections.abc import Iterator

from tideover.config.model import Config
from tideover.config.policy_values import RateLimit
from tideover.policy.addresses import recipient_key
from tideover.policy.interface import NOTHING, About, Check, Found, Result
from tideover.policy.networks import network_of
from tideover.policy.proven import proven_domain
from tideover.policy.services import Services


def make(services: Services) -> Check:
    """The check "rate-limits" (stage rcpt)."""
    buckets, config = services.memory.buckets, services.config
    limits = config.limits
    if not (limits.client or limits.sender or limits.recipient or limits.domain):
        return _unlimited

    async def check(about: About) -> Result:
        for name, key, limit in _counted(about, config):
            wait = buckets.take(name, key, limit, about.now)
            if wait:
                reason = f"{key}: more than {limit}; room again in {wait:.0f} s"
                return Result(found=(Found(name=name, reason=reason),))
        return NOTHING

    return check


async def _unlimited(_: About) -> Result:
    return NOTHING


def _counted(about: About, config: Config) -> Iterator[tuple[str, str, RateLimit]]:
    """Finding, key and limit of all that has one."""
    limits, recipient = config.limits, about.recipient
    if recipient is None:
        return
    network = network_of(about.client.address)
    if limits.client is not None:
        yield "rate-client", network, limits.client
    if limits.sender is not None and about.sender:
        unproven = f"{about.sender_domain or 'no domain'} from {network}"
        yield "rate-sender", proven_domain(about) or unproven, limits.sender
    if limits.recipient is not None:
        yield "rate-recipient", recipient_key(recipient, config), limits.recipient
    if limits.domain is not None:
        yield "rate-domain", recipient.domain, limits.domain
