"""Replies of an SMTP server: bytes in, `Reply` values out (RFC 5321 §4.2, RFC 2034).

The server is a stranger: every line, and the number of lines, is bounded, and its text is cleaned
before anybody sees it. Being read by people and by the log, text is decoded as UTF-8 and loses its
control characters. A bare LF ends a line as CRLF does: it carries no data, so nothing can be
smuggled by it.

Invariant: at most `MAX_LINE` octets of an unfinished line and `MAX_LINES` lines of `MAX_KEPT`
octets are ever held.
"""

import re
from functools import lru_cache

from tideover.smtp.replies import Reply

MAX_LINE = 4096
"""Octets in one line, without its end. RFC 5321 §4.5.3.1.5 says 512; some servers exceed it."""

MAX_KEPT = 512
"""Octets of one line's text that are kept."""

MAX_LINES = 100
"""Lines in one reply. The longest honest ones are answers to EHLO."""

_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(rb"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: +|$)")


class ReplyParser:
    """Feed it what arrives; it gives the replies that are complete.

    `error` is set, for good, once something arrived that is no reply. What came before it in the
    same piece is still returned.
    """

    __slots__ = ("_buffer", "_code", "_enhanced", "_lines", "error")

    def __init__(self) -> None:
        self.error: str | None = None
        self._buffer = b""
        self._code = 0
        self._enhanced: str | None = None
        self._lines: list[str] = []

    @property
    def pending(self) -> bool:
        """Whether part of a reply has arrived."""
        return bool(self._buffer or self._lines)

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that `data` completes. Nothing more once `error` is set."""
        replies: list[Reply] = []
        if self._buffer:
            data = self._buffer + data
        start = 0
        while self.error is None:
            end = data.find(b"\n", start)
            if end < 0:
                self._buffer = data[start:]
                if len(self._buffer) > MAX_LINE:
                    self.error = "reply line too long"
                break
            if end - start > MAX_LINE:
                self.error = "reply line too long"
                break
            reply = self._line(data[start:end])
            start = end + 1
            if reply is not None:
                replies.append(reply)
        if self.error is not None:
            self._buffer = b""
        return replies

    def _line(self, line: bytes) -> Reply | None:
        """One line: a whole reply, or None when more lines follow or it is an error."""
        parsed = _parse_line(line)
        if parsed is None:
            self.error = "not an SMTP reply"
            return None
        line_alone, last = parsed
        if not self._lines:
            if last:
                return line_alone
            self._code = line_alone.code
        elif line_alone.code != self._code:
            self.error = "reply lines with different codes"
            return None
        if len(self._lines) == MAX_LINES:
            self.error = "reply with too many lines"
            return None
        self._lines += line_alone.lines
        self._enhanced = self._enhanced or line_alone.enhanced
        if not last:
            return None
        reply = Reply(self._code, self._enhanced, tuple(self._lines))
        self._lines = []
        self._enhanced = None
        return reply


@lru_cache(maxsize=256)
def _parse_line(line: bytes) -> tuple[Reply, bool] | None:
    """The line as a reply of its own, and whether it is the last; None when it is no reply line.

    Cached because a busy server says the same few things over and over.
    """
    match = _LINE.fullmatch(line.rstrip(b"\r"))
    if match is None:
        return None
    code, separator, rest = match.groups()
    rest = (rest or b"")[:MAX_KEPT]
    enhanced = None
    # RFC 2034 §4: the class must agree with the reply code's first digit.
    if (found := _ENHANCED.match(rest)) and found[1][0] == code[0]:
        enhanced = found[1].decode("ascii")
        rest = rest[found.end() :]
    return Reply(int(code), enhanced, (_clean(rest),)), separator != b"-"


def _clean(text: bytes) -> str:
    """Text that is safe to log and to show."""
    decoded = text.decode("utf-8", "replace")
    if decoded.isprintable():
        return decoded
    return "".join(char for char in decoded.replace("\t", " ") if char.isprintable())
