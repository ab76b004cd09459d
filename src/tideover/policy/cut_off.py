"""Who evidently can't reach the primary although it is up: the rule that needs nobody's help.

Who is deferred because the primary is up should go there, as any mail server does that can. Who
comes here again for the same mail, and goes on long enough, can't: its route is broken, and it is
treated as in an outage. Bots that ignore a 4xx and insist at once do so in vain: only time counts.

A network is let in for all mail of that sender domain then, so that one delay is enough; for
`[cut_off] remember`, after which it has to show it again, since routes get mended.

Invariants
    What is noted has the bounds of `policy.memory`, and what a stranger says is in it as a hash.
"""

from hashlib import blake2b
from typing import Final

from tideover.config.model import Config
from tideover.config.values import write_duration
from tideover.message.envelope import Recipient
from tideover.policy.addresses import recipient_key, sender_key
from tideover.policy.memory import Kind, Mark, Memory
from tideover.policy.networks import network_of

REMEMBERED: Final = "its network could not reach the primary before"


class CutOffs:
    """What is known of clients that are cut off, kept in the memory of clients."""

    def __init__(self, memory: Memory, config: Config) -> None:
        self._memory = memory
        self._config = config

    def reconfigure(self, config: Config) -> None:
        """Judge by these settings from now on."""
        self._config = config

    def deferred(self, address: str, sender: str, recipient: Recipient, now: float) -> str | None:
        """A client (literal IP) is about to be deferred: None, and it is noted; or why it is cut
        off, so that its mail has to be taken. `sender` is "" for the null sender; `now` Unix time.

        While memory is in trouble it may have forgotten whoever it does not know: they are taken.
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
            memory.note(Kind.DEFERRED, triplet, Mark(now, now + settings.remember))
            return None
        if now - mark.at < settings.after:
            return None
        memory.note(Kind.CUT_OFF, domain, Mark(now, now + settings.remember))
        return f"deferred first {write_duration((now - mark.at) // 1)} ago, and it tries again"


def _key(*parts: str) -> bytes:
    text = "\0".join(parts)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
