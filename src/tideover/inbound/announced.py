"""No more is promised than primaries take: at EHLO by what any of them does, at RCPT by what the
domain's own does. Pure functions of what primaries last offered, which stays known while they are
down. Of whom nothing is known, everything is expected.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from tideover.smtp.capabilities import Capabilities
from tideover.smtp.offer import ServerOptions
from tideover.smtp.parameters import MailParameters
from tideover.smtp.replies import Reply, reply

OURS: Final = 8192
"""Octets of a primary's limit that are kept for the fields which we put before a message."""

TOO_LARGE: Final = reply(552, "5.3.4", "Message too large for this recipient")
NO_SMTPUTF8: Final = reply(553, "5.6.7", "Internationalized mail is not taken for this recipient")


def announced(options: ServerOptions, offers: Iterable[Capabilities | None]) -> ServerOptions:
    """What our EHLO may say, by what each primary offers (None: it is not known)."""
    known: list[Capabilities] = []
    for offer in offers:
        if offer is None:
            return options
        known.append(offer)
    if not known:
        return options
    return replace(
        options,
        max_size=_least(options.max_size, (_room(one) for one in known)),
        max_recipients=_least(options.max_recipients, (one.rcpt_max for one in known)),
        eight_bit_mime=options.eight_bit_mime and any(one.eight_bit_mime for one in known),
        smtputf8=options.smtputf8 and any(one.smtputf8 for one in known),
    )


def unmet(offered: Capabilities | None, parameters: MailParameters) -> Reply | None:
    """Why a recipient's primary, which offers this, can't take mail with these parameters.

    8BITMIME is not among the reasons: what is declared so is mostly plain ASCII (`unmet_need` of
    `smtp.client_commands` looks at the octets).
    """
    if offered is None:
        return None
    if parameters.smtputf8 and not offered.smtputf8:
        return NO_SMTPUTF8
    room = _room(offered)
    if room is not None and (parameters.size or 0) > room:
        return TOO_LARGE
    return None


def _room(offered: Capabilities) -> int | None:
    """The largest message that it takes with our fields before it; None: any."""
    return None if offered.size is None else max(offered.size - OURS, offered.size // 2)


def _least(ours: int, theirs: Iterable[int | None]) -> int:
    """The largest of their limits, but not more than ours; None is no limit."""
    most = 0
    for limit in theirs:
        if limit is None:
            return ours
        most = max(most, limit)
    return min(ours, most)
