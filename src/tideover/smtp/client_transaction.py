"""One message under way on the client's side: what each recipient was told so far."""

from tideover.smtp.client_body import BodyEncoder, Framing
from tideover.smtp.client_values import (
    Command,
    Declined,
    InquiryEnded,
    Mail,
    Postponed,
    TransactionEnded,
    Verdict,
    Welcome,
)
from tideover.smtp.replies import Reply


class Transaction:
    """One message under way: what each recipient was told so far."""

    __slots__ = ("accepted", "answered", "body", "body_sent", "framing", "inquiry", "mail",
                 "opened", "verdicts", "welcome")  # fmt: skip

    def __init__(self, mail: Mail, framing: Framing, *, inquiry: bool = False) -> None:
        self.mail = mail
        self.framing = framing
        self.inquiry = inquiry  # ends with RSET instead of DATA
        self.welcome: Reply | None = None  # the 2xx to an inquiry's RCPT
        self.verdicts: list[Verdict | None] = [None] * len(mail.recipients)
        self.answered = 0  # RCPTs answered so far
        self.accepted = 0  # of them, those accepted
        self.opened = False  # MAIL was accepted
        self.body: BodyEncoder | None = None  # from the server's go-ahead on
        self.body_sent = False

    def settle(self, verdict: Verdict) -> None:
        """Give every recipient that has no verdict yet this one."""
        self.verdicts = [old or verdict for old in self.verdicts]

    def note_recipient(self, reply: Reply) -> None:
        """The answer to the next RCPT, a 2xx, 4xx or 5xx."""
        went_well = reply.code // 100 == 2
        if went_well:
            self.accepted += 1
            if self.inquiry and self.opened:
                self.welcome = reply
        elif self.opened:
            self.verdicts[self.answered] = rcpt_verdict(reply, self.accepted)
        self.answered += 1

    def end(self) -> TransactionEnded | InquiryEnded:
        """What is told. No recipient is left without verdict now, but one that is welcome."""
        if self.welcome is not None:
            return InquiryEnded(Welcome(self.welcome))
        verdicts = tuple(verdict for verdict in self.verdicts if verdict is not None)
        return InquiryEnded(verdicts[0]) if self.inquiry else TransactionEnded(verdicts)


def rcpt_verdict(reply: Reply, accepted: int) -> Verdict:
    """What a 4xx or 5xx to RCPT means (RFC 5321 §4.5.3.1.10).

    Too many recipients is 452, and 552 from old servers; both codes also say that the mailbox or
    the disk is full. With other recipients accepted before this one, the next transaction tells.
    """
    if accepted and reply.code in (452, 552) and reply.enhanced in (None, "4.5.3", "5.5.3"):
        return Postponed(reply)
    return Declined(reply, Command.RCPT)
