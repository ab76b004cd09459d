"""A transaction by hand: single commands whose owner wants each reply, in pipelined groups.

Part of `ClientSession`, for those who do not have a message to send but pass on what somebody else
says. It knows which commands may leave together, whether a body is due, and which replies make no
sense; what they mean for anybody's mail is the owner's matter.

Invariants:
- A command that ends a group (RFC 2920 §3.1) is followed by nothing before its reply.
- A body refused before its end, or accepted, ends the session: the server and we do not agree any
  more on what is command and what is body.
- After a refused chunk no other is sent (RFC 3030 §2).
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from tideover.smtp.client_body import Framing
from tideover.smtp.client_values import Command
from tideover.smtp.replies import Reply

Line = tuple[Command, bytes]
"""A command and how it goes over the wire, with its CRLF."""

# RFC 2920 §3.1; XCLIENT: Postfix's XCLIENT_README, "must be the last".
_ENDS_GROUP: Final = frozenset(
    (Command.EHLO, Command.HELO, Command.DATA, Command.NOOP, Command.XCLIENT)
)

BY_HAND: Final = _ENDS_GROUP | {Command.MAIL, Command.RCPT, Command.RSET, Command.XFORWARD}
"""What may be said by hand."""

# After a 2xx to these, no transaction is open at the server.
_CLOSES: Final = frozenset((Command.RSET, Command.EHLO, Command.HELO, Command.XCLIENT))


class Talk:
    """What has been said by hand, and what is still to be said or answered.

    `body`: the one under way, until its last reply. `body_sent`: all of it and its end have left,
    and there is no reply yet. `opened`: a transaction is open at the server, but none of the
    session's own.
    """

    __slots__ = ("_refused", "_unanswered", "_waiting", "body", "body_sent", "opened")

    def __init__(self) -> None:
        self.body: Framing | None = None
        self.body_sent = False
        self.opened = False
        self._waiting: deque[Line] = deque()
        self._unanswered = 0
        self._refused = False  # a chunk was

    @property
    def under_way(self) -> bool:
        """Whether anything is to be said, sent or answered."""
        return bool(self._waiting or self._unanswered) or self.body is not None

    def say(self, lines: Sequence[Line]) -> None:
        """More is to be said."""
        self._waiting.extend(lines)

    def group(self, *, pipelining: bool) -> list[Line]:
        """What to send now: nothing while replies are due, then up to the end of a group."""
        group: list[Line] = []
        while self._waiting and not self._unanswered:
            line = self._waiting.popleft()
            group.append(line)
            if not pipelining or line[0] in _ENDS_GROUP:
                break
        self._unanswered += len(group)
        return group

    def may_send(self, *, chunk: bool) -> bool:
        """Whether octets of a body may leave now."""
        if chunk:
            if self.body is None:
                return self.opened and not (self._waiting or self._unanswered or self._refused)
            return self.body is Framing.BDAT and not self.body_sent
        return self.body is Framing.DATA and not self.body_sent

    def sent(self, *, chunk: bool, last: bool) -> Command | None:
        """Octets of a body leave; returns what they will be answered as, if they will."""
        self.body_sent = last
        if not chunk:
            return Command.BODY if last else None
        self.body = Framing.BDAT
        self._unanswered += 1
        return Command.BODY if last else Command.BDAT

    def on_reply(self, command: Command, reply: Reply) -> str | None:
        """Take note of a reply. Returns why the session can't go on after it, or None."""
        self._unanswered -= 1
        refused = reply.code >= 400
        if command is Command.BODY:
            early = not self.body_sent
            self.body, self.opened = None, False
            self.body_sent = reply.code // 100 == 3  # which is no answer
            if early:
                return "refused before the end of the body" if refused else _unexpected(command)
        if refused:
            if command is Command.BDAT:
                self._refused, self.body = True, None
            return None
        if (reply.code != 354) if command is Command.DATA else (reply.code // 100 != 2):
            return _unexpected(command)
        if command is Command.DATA:
            self.body = Framing.DATA
            self._unanswered += 1
        elif command is Command.MAIL:
            self.opened = True
        elif command in _CLOSES:
            self.opened = self._refused = False
        return None


def _unexpected(command: Command) -> str:
    return f"unexpected reply to {'the body' if command is Command.BODY else command.name}"
