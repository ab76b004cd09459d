"""Whether a report may be sent: one pure function of what was stored with the message.

Invariant I7: no report goes to a sender that was not authenticated, and none ever for a null
sender. A backup MX that reports to forged senders is a spammer's tool; what can't be reported goes
to dead letters instead, where it is kept. Whether a sender is authenticated was decided when the
message came, from SPF, DKIM and DMARC (`authentication.reverse_path`): later nobody could tell.
"""

from typing import Final

from msgspec import Struct

from tideover.message.dsn import Kind
from tideover.message.envelope import Envelope, Evidence


class Verdict(Struct, frozen=True):
    """May a report be sent? `reason` says why not, "" when it may."""

    allowed: bool
    reason: str = ""


_YES: Final = Verdict(True)
_KEYWORD: Final = {
    Kind.FAILED: "FAILURE",
    Kind.EXPIRED: "FAILURE",
    Kind.DELAYED: "DELAY",
    Kind.RELAYED: "SUCCESS",
}


def may_report(envelope: Envelope, evidence: Evidence, index: int, kind: Kind) -> Verdict:
    """Whether the sender may be told about the recipient at `index` of the envelope.

    Without NOTIFY, failures and delays are told and successes not (RFC 3461 §4.1, §6.2).
    """
    if not envelope.sender:
        return Verdict(False, "null sender: a report is never answered by a report")
    notify = envelope.recipients[index].notify
    if "NEVER" in notify:
        return Verdict(False, "the sender asked for no report (NOTIFY=NEVER)")
    if notify and _KEYWORD[kind] not in notify:
        return Verdict(False, f"the sender asked for no such report (NOTIFY={','.join(notify)})")
    if not notify and kind is Kind.RELAYED:
        return Verdict(False, "the sender did not ask for reports of success")
    if evidence.sender_authenticated is not True:
        why = f" ({evidence.authentication})" if evidence.authentication else ""
        return Verdict(False, f"the sender is not authenticated{why}")
    return _YES
