"""Who evidently can't reach the primary although it is up: the rule that needs nobody's help.

Who is deferred because the primary is up should go there, as any mail server does that can. Who
comes here again for the same mail, and goes on long enough, can't: its route is broken, and it is
treated as in an outage. Bots that ignore a 4xx and insist at once do so in vain: only time counts.

A network is let in for all mail of that sender domain then, so that one delay is enough; for
`[cut_off] remember`, after which it has to show it again, since routes get mended.

Large senders come again from another network: where SPF proves their domain, it stands for the
network. It is asked only when there is something to gain by it, not for each bot that is deferred.

Invariants
    What is noted has the bounds of `policy.memory`, and what a stranger says is in it as a hash.
"""

import asyncio
from hashlib import blake2b
from typing import Final

from tideover.authentication.spf import check_host, proves
from tideover.config.model import Config
from tideover.config.values import write_duration
from tideover.dns.names import Names
from tideover.message.envelope import Recipient
from tideover.policy.addresses import recipient_key, sender_key
from tideover.policy.memory import OVERRUN, Kind, Mark, Memory
from tideover.policy.networks import network_of

REMEMBERED: Final = "its network could not reach the primary before"
OF_A_POOL: Final = "other servers of its sender's domain could not reach the primary before"
TOO_MANY: Final = "so many are deferred that some are forgotten before they can come again"

_PATIENCE: Final = 5.0  # seconds for SPF; a client waits


class CutOffs:
    """What is known of clients that are cut off, kept in the memory of clients."""

    def __init__(self, memory: Memory, config: Config, names: Names) -> None:
        self._memory = memory
        self._config = config
        self._names = names

    def reconfigure(self, config: Config) -> None:
        """Judge by these settings from now on."""
        self._config = config

    def deferred(self, address: str, sender: str, recipient: Recipient, now: float) -> str | None:
        """A client (literal IP) is about to be deferred: None, and it is noted; or why it is cut
        off, so that its mail has to be taken. `sender` is "" for the null sender; `now` Unix time.

        While memory is in trouble, or full of others, it may have forgotten whoever it does not
        know: they are taken.
        """
        memory, settings = self._memory, self._config.cut_off
        network, who = network_of(address), sender_key(sender)
        domain = _key(network, who.rpartition("@")[2])
        if memory.get(Kind.CUT_OFF, domain, now) is not None:
            return REMEMBERED
        triplet = _key(network, who, recipient_key(recipient, self._config))
        mark = memory.get(Kind.DEFERRED, triplet, now)
        if mark is None or mark.at > now:
            if memory.trouble:
                return f"the memory of clients: {memory.trouble}"
            if 0.0 <= now - memory.forgotten(Kind.DEFERRED) < OVERRUN:
                return TOO_MANY
            memory.note(Kind.DEFERRED, triplet, Mark(now, now + settings.remember))
            return None
        if now - mark.at < settings.after:
            return None
        memory.note(Kind.CUT_OFF, domain, Mark(now, now + settings.remember))
        return f"deferred first {write_duration((now - mark.at) // 1)} ago, and it tries again"

    async def of_a_pool(
        self, address: str, sender: str, recipient: Recipient, now: float
    ) -> str | None:
        """As `deferred`, for whom that said nothing: whether another network's attempt was its
        sender's, too.
        """
        memory, settings = self._memory, self._config.cut_off
        who = sender_key(sender)
        domain = who.rpartition("@")[2]
        if not domain:
            return None
        pool, mail = _key("pool", domain), _key(who, recipient_key(recipient, self._config))
        known = memory.get(Kind.CUT_OFF, pool, now) is not None
        mark = memory.get(Kind.POOL, mail, now)
        if mark is None or mark.at > now:
            mark = Mark(now, now + settings.remember)
            memory.note(Kind.POOL, mail, mark)
        if not known and now - mark.at < settings.after:
            return None
        if not await self._is_proven(address, sender, now):
            return None
        if known:
            return OF_A_POOL
        memory.note(Kind.CUT_OFF, pool, Mark(now, now + settings.remember))
        ago = write_duration((now - mark.at) // 1)
        return f"deferred first {ago} ago, and another server of its sender's tries again"

    async def _is_proven(self, address: str, sender: str, now: float) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE):
                found = await check_host(
                    address=address, sender=sender, helo="", names=self._names, scope="mfrom",
                    receiver=self._config.hostname, now=now,
                )  # fmt: skip
        except TimeoutError:
            return False
        return proves(found)


def _key(*parts: str) -> bytes:
    text = "\0".join(parts)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
