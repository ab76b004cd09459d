"""Greylisting: who is new is asked to come again, which bots seldom do.

A newcomer is a client network, a sender and a recipient that were not seen together before. Who
comes again in time has shown that it has a queue, and nothing more can be learned of it this way:
its network is let in from then on, and so is its sender domain where SPF proves it. One proof is
enough: a backup MX meets most senders in an outage only, and would not meet them often enough to
count further.

Large senders come again from another network: where SPF proves the sender domain, it stands for
the network too.
"""

from hashlib import blake2b
from math import ceil

from tideover.config.policy import Greylist
from tideover.policy.addresses import recipient_key, sender_key
from tideover.policy.interface import NOTHING, About, Check, Found, Result
from tideover.policy.memory import Kind, Mark, Memory
from tideover.policy.networks import network_of
from tideover.policy.proven import proven_domain
from tideover.policy.services import Services
from tideover.smtp.replies import reply


def make(services: Services) -> Check:
    """The check "greylist" (stage rcpt)."""
    memory, settings = services.memory, services.config.greylist

    async def check(about: About) -> Result:
        if about.recipient is None or about.sender is None:
            return NOTHING
        network, domain, now = network_of(about.client.address), proven_domain(about), about.now
        if why := _vouched(memory, about, network, domain):
            _let_in(memory, settings, network, domain, now)
            return Result(evidence={"let in": why})
        what = sender_key(about.sender), recipient_key(about.recipient, services.config)
        keys = [_key(who, *what) for who in (network, domain) if who]
        seen = [mark for key in keys if (mark := await memory.triplet(key, now)) is not None]
        if memory.trouble:
            return Result(undecided=f"the memory of clients: {memory.trouble}")
        first = min((mark.at for mark in seen if mark.at <= now), default=None)
        if first is None:
            for key in keys:
                memory.note(Kind.TRIPLET, key, Mark(now, now + settings.window))
            return _greylisted("not seen before", settings.delay)
        left = first + settings.delay - now
        if left > 0:
            return _greylisted("came again too early", left)
        memory.renew(Kind.PASSED, network.encode(), now, settings.memory)
        _let_in(memory, settings, network, domain, now)
        return Result(evidence={"let in": f"came again after {now - first:.0f} s"})

    return check


def _vouched(memory: Memory, about: About, network: str, domain: str) -> str:
    """Why a client need not come again, or ""."""
    lists = about.results.get("dns-lists")
    if lists is not None and isinstance(lists.detail, float) and lists.detail < 0:
        return "on a welcome list"
    if memory.is_known(network):
        return "a known client"
    if memory.get(Kind.PASSED, network.encode(), about.now) is not None:
        return "its network came again before"
    if domain and memory.get(Kind.SENDER, domain.encode(), about.now) is not None:
        return "its sender domain was let in before"
    return ""


def _let_in(memory: Memory, settings: Greylist, network: str, domain: str, now: float) -> None:
    """Remember for longer what a client is let in for; a proven domain is as good as its client."""
    if memory.get(Kind.PASSED, network.encode(), now) is not None:
        memory.renew(Kind.PASSED, network.encode(), now, settings.memory)
    if domain:
        memory.renew(Kind.SENDER, domain.encode(), now, settings.memory)


def _key(who: str, sender: str, recipient: str) -> bytes:
    text = f"{who}\0{sender}\0{recipient}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _greylisted(reason: str, left: float) -> Result:
    seconds = ceil(left)
    answer = reply(450, "4.7.1", f"Greylisted; please try again in {seconds} seconds")
    found = Found(name="greylisted", reason=f"{reason}; {seconds} s left", reply=answer)
    return Result(found=(found,))
