"""What a client hears about a recipient. Never names the primary, a path or a source."""

import unicodedata
from typing import Final

from tideover.recipients.interface import Finding, Verdict
from tideover.smtp.replies import Reply, reply

_UNKNOWN: Final = "No such recipient here"
_ANSWERS: Final[dict[Verdict, Reply | None]] = {
    Verdict.ACCEPT: None,
    Verdict.SWALLOW: None,
    Verdict.DEFER: reply(
        450, "4.1.1", "This recipient cannot be verified now; please try again later"
    ),
    Verdict.REJECT: reply(550, "5.1.1", _UNKNOWN),
    Verdict.FOREIGN: reply(554, "5.7.1", "Relaying denied: no mail for this domain is taken here"),
    Verdict.CLOSED: reply(556, "5.1.10", "This domain takes no mail (null MX)"),
}


_PLAIN: Final = str.maketrans(
    {"ß": "ss", "‘": "'", "’": "'", "“": '"', "”": '"', "„": '"', "–": "-", "—": "-"}
)


def spoken(text: str) -> str:
    """A text of a source as a reply may hold it: one line of printable ASCII, since a client that
    did not say SMTPUTF8 must hear nothing else (RFC 6531 §3.7.4).
    """
    letters = unicodedata.normalize("NFKD", text.translate(_PLAIN))
    plain = "".join(
        " " if sign.isspace() else sign if " " <= sign <= "~" else "?"
        for sign in letters
        if not unicodedata.combining(sign)
    )
    plain = " ".join(plain.split())
    return plain if any(map(str.isalnum, plain)) else _UNKNOWN


def answer(finding: Finding) -> Reply | None:
    """The refusal for this finding, or None when the recipient is to be accepted.

    I8: only a recipient that the verdict accepts is accepted.
    """
    if finding.text is not None and finding.verdict is Verdict.REJECT:
        return reply(550, "5.1.1", spoken(finding.text))
    return _ANSWERS[finding.verdict]
