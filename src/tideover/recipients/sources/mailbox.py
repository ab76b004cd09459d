"""Whether a refusal of RCPT says that the mailbox does not exist. Pure.

Servers refuse RCPT for many reasons: a policy, a block list, a full mailbox, a domain that they
don't know. Only what speaks of the mailbox itself may ever turn into a 550 of ours.
"""

import re
from typing import Final

_REPLY: Final = re.compile(r"(\d{3})(?: (\d\.\d{1,3}\.\d{1,3}))?(?= |$)", re.ASCII)
_MAILBOX_CODES: Final = frozenset({"550", "551", "553"})

# RFC 3463 §3.2: 1.2 is the domain, 1.7 and 1.8 are the sender.
_NOT_THE_MAILBOX: Final = frozenset({"1.2", "1.7", "1.8"})

# Of other subjects: a disabled mailbox; and what large providers say for "no such user":
# Exchange Online 5.4.1, Outlook.com 5.5.0, sendmail 5.0.0.
_ALSO: Final = frozenset({"2.1", "4.1", "5.0", "0.0"})


def refuses_mailbox(reply: str) -> bool:
    """Whether this reply to RCPT, as `str(Reply)`, says for good that there is no such mailbox."""
    match = _REPLY.match(reply)
    if match is None or not reply.startswith("5"):
        return False
    code, enhanced = match.groups()
    if enhanced is None:
        return code in _MAILBOX_CODES and "relay" not in reply.lower()
    kind, _, detail = enhanced.partition(".")
    if kind != "5":
        return False
    if detail.startswith("1."):
        return detail not in _NOT_THE_MAILBOX
    return detail in _ALSO and code in _MAILBOX_CODES and "relay" not in reply.lower()


def doubts_mailbox(reply: str) -> bool:
    """Whether this reply says the same for now only, as Postfix can be set to: 450 4.1.1."""
    match = _REPLY.match(reply)
    if match is None or not reply.startswith("4"):
        return False
    kind, _, detail = (match[2] or "").partition(".")
    return kind == "4" and detail.startswith("1.") and detail not in _NOT_THE_MAILBOX
