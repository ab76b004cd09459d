"""One message under way on the client's side: its commands, and what follows from each reply.

Part of `ClientSession`, which does what is said here.
"""

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import ClassVar, Final

from tideover.smtp.capabilities import Capabilities
from tideover.smtp.client_body import BodyEncoder, Framing
from tideover.smtp.client_commands import envelope_commands
from tideover.smtp.client_talk import Line
from tideover.smtp.client_values import (
    Command,
    Declined,
    InquiryEnded,
    Mail,
    Postponed,
    Replied,
    SessionEnded,
    Taken,
    TransactionEnded,
    Verdict,
    Welcome,
)
from tideover.smtp.replies import Reply

RSET: Final = (Command.RSET, b"RSET\r\n")
_DATA: Final = (Command.DATA, b"DATA\r\n")


class Step(Enum):
    """What follows from a reply."""

    GO_ON = auto()  # the next command, where they are sent one by one; else the next reply
    BODY = auto()  # the owner's turn
    NO_BODY = auto()  # RFC 2920 §3.1: a lone dot; whatever the server makes of it, nobody gets it
    END = auto()  # of the transaction, whatever has not been sent


class Transaction:
    """One message under way: what each recipient was told so far."""

    __slots__ = ("accepted", "answered", "body", "body_sent", "framing", "inquiry", "mail",
                 "offered", "opened", "verdicts", "welcome")  # fmt: skip

    def __init__(self, mail: Mail, offered: Capabilities, *, inquiry: bool = False) -> None:
        self.mail = mail
        self.offered = offered  # by the server
        bdat = not mail.whole_lines and offered.chunking
        self.framing = Framing.BDAT if bdat else Framing.DATA
        self.inquiry = inquiry  # ends with RSET instead of DATA
        self.welcome: Reply | None = None  # the 2xx to an inquiry's RCPT
        self.verdicts: list[Verdict | None] = [None] * len(mail.recipients)
        self.answered = 0  # RCPTs answered so far
        self.accepted = 0  # of them, those accepted
        self.opened = False  # MAIL was accepted
        self.body: BodyEncoder | None = None  # from the server's go-ahead on
        self.body_sent = False

    def commands(self) -> list[Line]:
        """All up to the body, or to an inquiry's end.

        Raises:
            ValueError: an address would break out of its command line.
        """
        lines = envelope_commands(self.mail, self.offered)
        if self.inquiry:
            lines.append(RSET)
        elif self.framing is Framing.DATA:
            lines.append(_DATA)
        return lines

    def settle(self, verdict: Verdict) -> None:
        """Give every recipient that has no verdict yet this one."""
        self.verdicts = [old or verdict for old in self.verdicts]

    def on_reply(self, command: Command, reply: Reply) -> Step | Replied | SessionEnded:
        """What follows from a reply that is not 421. After `Replied` it goes on as after GO_ON."""
        return self._HANDLERS[command](self, reply)

    def end(self) -> TransactionEnded | InquiryEnded:
        """What is told. No recipient is left without verdict now, but one that is welcome."""
        if self.welcome is not None:
            return InquiryEnded(Welcome(self.welcome))
        verdicts = tuple(verdict for verdict in self.verdicts if verdict is not None)
        return InquiryEnded(verdicts[0]) if self.inquiry else TransactionEnded(verdicts)

    # Replies

    def _on_xforward(self, reply: Reply) -> Replied | SessionEnded:
        if reply.code // 100 == 3:
            return SessionEnded("unexpected reply to XFORWARD", reply)
        return Replied(Command.XFORWARD, reply)

    def _on_mail(self, reply: Reply) -> Step | SessionEnded:
        if reply.code // 100 == 2:
            self.opened = True
            return Step.GO_ON
        if reply.code < 400:
            return SessionEnded("unexpected reply to MAIL", reply)
        self.settle(Declined(reply, Command.MAIL))
        return Step.GO_ON if self.offered.pipelining else Step.END

    def _on_rcpt(self, reply: Reply) -> Step | SessionEnded:
        if reply.code // 100 == 3:
            return SessionEnded("unexpected reply to RCPT", reply)
        self._note_recipient(reply)
        if self.answered < len(self.verdicts):
            return Step.GO_ON
        if self.accepted and not self.opened:
            # To go on would send a message, be it an empty one, for a MAIL that was refused.
            return SessionEnded("RCPT accepted after MAIL was refused")
        if self.inquiry:
            return Step.GO_ON
        if self.framing is Framing.DATA and (self.accepted or self.offered.pipelining):
            return Step.GO_ON  # DATA is next, or on its way already, be there nobody to get it
        return self._ask_for_body() if self.accepted else Step.END

    def _note_recipient(self, reply: Reply) -> None:
        went_well = reply.code // 100 == 2
        if went_well:
            self.accepted += 1
            if self.inquiry and self.opened:
                self.welcome = reply
        elif self.opened:
            self.verdicts[self.answered] = rcpt_verdict(reply, self.accepted)
        self.answered += 1

    def _on_data(self, reply: Reply) -> Step | SessionEnded:
        if reply.code == 354:
            if self.accepted:
                return self._ask_for_body()
            self.body_sent = True
            return Step.NO_BODY
        if reply.code < 400:
            return SessionEnded("unexpected reply to DATA", reply)
        self.settle(Declined(reply, Command.DATA))
        return Step.END

    def _ask_for_body(self) -> Step:
        self.body = BodyEncoder(self.framing, self.mail.size)
        return Step.BODY

    def _on_body(self, reply: Reply) -> Step | SessionEnded:
        if reply.code >= 400:
            self.settle(Declined(reply, Command.BODY))
            if not self.body_sent:  # there is no way to stop short but to hang up
                return SessionEnded("refused before the end of the body", reply)
        elif reply.code >= 300 or not self.body_sent:
            return SessionEnded("unexpected reply to the body", reply)
        else:
            self.settle(Taken(reply))
        self.opened = False  # the end of data has closed it on the server's side too
        return Step.END

    def _on_rset(self, reply: Reply) -> Step | SessionEnded:
        if reply.code // 100 != 2:
            return SessionEnded("RSET refused", reply)
        if not self.answered:
            return Step.GO_ON  # it was for what was open before; an inquiry's own comes last
        self.opened = False
        return Step.END

    _HANDLERS: ClassVar[
        Mapping[Command, Callable[["Transaction", Reply], Step | Replied | SessionEnded]]
    ] = {
        Command.XFORWARD: _on_xforward,
        Command.RSET: _on_rset,
        Command.MAIL: _on_mail,
        Command.RCPT: _on_rcpt,
        Command.DATA: _on_data,
        Command.BODY: _on_body,
    }


def rcpt_verdict(reply: Reply, accepted: int) -> Verdict:
    """What a 4xx or 5xx to RCPT means (RFC 5321 §4.5.3.1.10).

    Too many recipients is 452, and 552 from old servers; both codes also say that the mailbox or
    the disk is full. With other recipients accepted before this one, the next transaction tells.
    """
    if accepted and reply.code in (452, 552) and reply.enhanced in (None, "4.5.3", "5.5.3"):
        return Postponed(reply)
    return Declined(reply, Command.RCPT)
