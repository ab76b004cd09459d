"""SMTP replies as values (RFC 5321 §4.2) with enhanced status codes (RFC 2034, RFC 3463)."""

from dataclasses import dataclass, field

# A reply line is at most 512 octets with CRLF (RFC 5321 §4.5.3.1.5).
MAX_TEXT = 450


@dataclass(frozen=True, slots=True)
class Reply:
    """One complete reply. `lines` hold the text without code and enhanced code.

    `enhanced` is `"5.1.1"`-shaped, or None for replies that carry none (greeting, EHLO, 354).
    """

    code: int
    enhanced: str | None
    lines: tuple[str, ...]
    _wire: bytes = field(init=False, repr=False, compare=False)

    @property
    def positive(self) -> bool:
        """2xx or 3xx."""
        return self.code < 400

    @property
    def temporary(self) -> bool:
        """4xx: the same may succeed later."""
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        """5xx: the same will fail again."""
        return self.code >= 500

    def to_wire(self) -> bytes:
        """The reply's bytes, one line for each text line, CRLF at each end."""
        return self._wire

    def __post_init__(self) -> None:
        # most replies are constants that are sent a million times: rendered once
        prefix = f"{self.enhanced} " if self.enhanced else ""
        last = len(self.lines) - 1
        wire = "".join(
            f"{self.code}{' ' if n == last else '-'}{prefix}{line}\r\n"
            for n, line in enumerate(self.lines)
        )
        object.__setattr__(self, "_wire", wire.encode("utf-8", "replace"))

    def __str__(self) -> str:
        """One line for logs: code, enhanced code and text."""
        enhanced = f" {self.enhanced}" if self.enhanced else ""
        return f"{self.code}{enhanced} {' '.join(self.lines)}"


def reply(code: int, enhanced: str | None, text: str) -> Reply:
    """A reply of one line; the text is cut so that the line stays within RFC 5321's limit."""
    return Reply(code, enhanced, (text[:MAX_TEXT],))
