"""What a primary's replies say of how we were handed over to it. Pure.

A primary that was not told of us treats us like any stranger: it greylists, limits and blocks us,
asks for SPF records that name us, or does not take us for a way to its domain. Its replies say so,
each server in words of its own. Where it knows the true client (XCLIENT), most of that is about
the client, and only what no client can be blamed for remains a sign.

Words of users are no evidence: addresses are taken out before anything is looked for.
"""

import re
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from tideover.config.model import WhenPrimaryUp

MAX_LOOKED_AT: Final = 2000
"""Characters of a reply; the text of a whole reply is longer only by intent."""

_CURE: Final = "see `tideover handover` for what to paste there"


class Sign(Struct, frozen=True, kw_only=True):
    """What is wrong: a stable keyword, a sentence for people, and the cure.

    `ours`: it is about us even where the primary knows the true client.
    """

    keyword: str
    text: str
    cure: str = _CURE
    ours: bool = False

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.text}: {self.cure}"


NO_RELAY: Final = Sign(
    keyword="no-relay",
    text="the primary does not take mail for this domain, or not from us",
    cure="is the domain configured there? Relay permission: `tideover handover`",
    ours=True,
)
NO_XCLIENT: Final = Sign(
    keyword="no-xclient",
    text="the primary does not let us say who the client is",
    cure="the right to use XCLIENT is in what `tideover handover` prints",
    ours=True,
)
LOGIN: Final = Sign(
    keyword="login",
    text="the primary wants us to log in, as if we were a user",
    cure="is this its port for users (587)? Permission without a login: `tideover handover`",
    ours=True,
)
BLOCKED: Final = Sign(keyword="blocked", text="the primary blocks our address")
LIMITED: Final = Sign(
    keyword="limited", text="the primary limits our connections or messages as a stranger's"
)
GREYLISTED: Final = Sign(keyword="greylisted", text="the primary greylists what we bring")
SPF: Final = Sign(
    keyword="spf",
    text="the primary checks SPF against our address instead of the client's",
)
DMARC: Final = Sign(
    keyword="dmarc",
    text="the primary judges DMARC without the client's address and without our ARC seal",
)
NAME: Final = Sign(
    keyword="name",
    text="the primary does not like our name",
    cure="does DNS give our address and our hostname to each other? Else: `tideover handover`",
)
SIGNS: Final = (
    NO_RELAY, NO_XCLIENT, LOGIN, BLOCKED, LIMITED, GREYLISTED, SPF, DMARC, NAME,
)  # fmt: skip

_ADDRESS: Final = re.compile(r"<[^<>]{0,400}>|[^\s<>]{1,200}@[^\s<>]{1,255}")
_HEAD: Final = re.compile(r"([245]\d\d)[ -](?:([245]\.\d{1,3}\.\d{1,3})(?:\s|$))?")

# Looked for in this order; each in lower case, without addresses. Texts that are too common to be
# found anywhere stand with their end ($) or code.
_WORDS: Final[tuple[tuple[Sign, re.Pattern[str]], ...]] = (
    (NO_RELAY, re.compile(
        r"relay(ing)? access denied"
        r"|relay(ing)?( to)? (is )?(not (permitted|allowed)|denied|prohibited)"
        r"|unable to relay|(does|do|will) not relay|we do ?n.t relay|relay rejected"
        r"|not a permitted relay|list of (allowed )?rcpthosts|i cannot deliver mail for"
        r"|tenantattribution|no relay(ing)? (allowed|permitted)|not authorized to relay"
    )),
    (NO_XCLIENT, re.compile(r"\bxclient\b.*not advertised|insufficient authorization")),
    (LOGIN, re.compile(
        r"authentication (is )?required|must authenticate|please authenticate|auth(entication)?"
        r" first|client was not authenticated|not logged in|requires authentication"
    )),
    (BLOCKED, re.compile(
        r"blocked using|blocked by|(black|block|deny) ?-?list(ed)?\b|\b(rbl|dnsbl)\b|spamhaus"
        r"|spamcop|barracudacentral|sorbs\b|banned sending ip|client host rejected: access denied"
        r"|poor reputation|bad reputation|ip reputation|your ip (address )?(is|has been|was) "
        r"(blocked|banned|rejected)|your (host|server) (is|has been) (blocked|banned)"
        r"|not accepting mail from your (ip|host|server)"
    )),
    (LIMITED, re.compile(
        r"too many (concurrent |simultaneous |open |new )?((smtp|tls) )?(connections|sessions)"
        r"|too much mail|too many messages|number of concurrent connections"
        r"|(connection|message|submission|sending|mail|sender)s? rate\b|\brate[ -]?limit"
        r"|over ?limit|unusual rate of|throttl|server busy|exceeded the configured limit"
        r"|too many recipients from|slow down"
    )),
    (GREYLISTED, re.compile(
        r"gr[ae]y ?-?list|temporary failure, please try again later\.?$"
        r"|^service currently unavailable$|^try again later$"
    )),
    (DMARC, re.compile(r"\bdmarc\b|unauthenticated email from")),
    (SPF, re.compile(
        r"\bspf\b|sender policy framework|openspf|does not designate|as permitted sender"
    )),
    (NAME, re.compile(
        r"helo command rejected|helo (name )?(rejected|invalid)|(invalid|bad|forged) (he|eh)lo"
        r"|(he|eh)lo (argument|name) .{0,80}(invalid|rejected|not)|cannot find your (reverse )?host"
        r"|no (ptr|reverse dns)|(ptr|reverse dns) (record|validation|lookup|entry)"
        r"|does not have a ptr|missing reverse|reverse hostname"
    )),
)  # fmt: skip

# Of one mailbox, or a fault of the moment: neither says anything of us.
_MAILBOX_RATE: Final = re.compile(r"user .{0,80}receiving mail|mailbox (has )?received too much")
# What a reply is about, by whose words it is no word about us: a mailbox, the message, its sender.
_NOT_US: Final = {
    LIMITED: re.compile(r"\b(mailbox|inbox|quota|storage|virus|attachment)\b"),
    LOGIN: re.compile(r"\b(group|mailing list|members?|moderat\w*)\b"),
    BLOCKED: re.compile(
        r"\b(message|content|attachment|ur[il]s?|links?|surbl|uribl|dbl|virus|sender|domain)\b"
        r"|spam (filter|content)|\brecipient.s\b|(he|eh)lo command"
    ),
}
_US: Final = re.compile(r"client host|\b(ip|host|server|connection)\b|\d\.\d{1,3}\.\d")

_PASSING: Final = re.compile(r"temp(orary)? ?-?(error|fail|dns|problem)|dns (lookup|error|time)")


def sign_of(reply: str, stage: str | None, *, told: str = "") -> Sign | None:
    """What a refusal says of the handover, None for most.

    `reply` is its code, enhanced code and text, as logs have it; `stage` what it answered, as
    events name it; `told` how the primary learnt who the client is ("XCLIENT", "XFORWARD", "").
    """
    reply = " ".join(reply[:MAX_LOOKED_AT].split())
    head = _HEAD.match(reply)
    if head is None or head[1].startswith("2"):
        return None
    if stage in ("XCLIENT", "XFORWARD"):
        return NO_XCLIENT if head[1] in ("500", "501", "502", "550", "530", "554") else None
    words = " ".join(_ADDRESS.sub(" ", reply[head.end() :]).lower().split())
    sign = _sign(head[1], words)
    if sign is GREYLISTED and (stage == "CONNECT" or head[1] == "421"):
        return None  # who greylists lets in first: this is an outage
    return None if sign is None or (told == "XCLIENT" and not sign.ours) else sign


def _sign(code: str, words: str) -> Sign | None:
    if _MAILBOX_RATE.search(words):
        return None
    for sign, pattern in _WORDS:
        if not pattern.search(words):
            continue
        others = _NOT_US.get(sign)
        if others is not None and others.search(words) and not _US.search(words):
            return None
        if sign is GREYLISTED and not code.startswith("4"):
            return None
        if sign in (SPF, DMARC) and code.startswith("4") and _PASSING.search(words):
            return None
        return sign
    return None


def hint(offered: Sequence[str], posture: WhenPrimaryUp) -> str:
    """What is worth knowing of a primary that is up, "" for most: no alarm. `offered` is what it
    last said to EHLO, a line each; nothing of it is known yet: ().
    """
    knows = any(line.split(" ", 1)[0].upper() == "XCLIENT" for line in offered)
    if not offered or knows:
        return ""
    if posture is WhenPrimaryUp.AUTO:
        return "no XCLIENT: clients are deferred (`tideover handover`)"
    if posture is WhenPrimaryUp.PASS_THROUGH:
        return "no XCLIENT: it takes us for the client (`tideover handover`)"
    return ""
