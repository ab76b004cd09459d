"""What a client hears about a recipient. Never names the primary, a path or a source."""

from typing import Final

from tideover.recipients.interface import Finding, Standing
from tideover.smtp.replies import Reply, reply

_ANSWERS: Final[dict[Standing, Reply | None]] = {
    Standing.LISTED: None,
    Standing.UNKNOWN: reply(550, "5.1.1", "No such recipient here"),
    Standing.FOREIGN: reply(554, "5.7.1", "Relaying denied: no mail for this domain is taken here"),
    Standing.UNAVAILABLE: reply(
        451, "4.3.0", "This recipient cannot be checked now; please try again later"
    ),
}


def answer(finding: Finding) -> Reply | None:
    """The refusal for this finding, or None when the recipient is to be accepted.

    I8: only a recipient that is LISTED is accepted.
    """
    return _ANSWERS[finding.standing]
