"""How a server introduces itself: greeting, EHLO or HELO, STARTTLS, and EHLO again.

Part of `ClientSession`, which does what is said here. What is learnt in clear is forgotten under
TLS (RFC 3207 §4.2).
"""

from dataclasses import dataclass, replace

from tideover.smtp.capabilities import Capabilities, parse_capabilities
from tideover.smtp.client_values import Command, Ready, TlsGoAhead, TlsRefused
from tideover.smtp.replies import Reply


@dataclass(frozen=True, slots=True)
class Say:
    """What to send next."""

    command: Command
    line: bytes


@dataclass(frozen=True, slots=True)
class Fail:
    """The server can't be used; `text` says why."""

    text: str


class Introduction:
    """What a server has said of itself so far. `hostname` is our name in EHLO."""

    __slots__ = ("_name", "capabilities", "handshaking", "secure", "xclient_again")

    def __init__(self, hostname: str) -> None:
        self.capabilities = Capabilities()
        self.secure = False
        self.xclient_again = True  # for all that is known
        self.handshaking = False  # between the go-ahead for TLS and its end
        self._name = hostname.encode("ascii")

    def on_reply(
        self, command: Command, reply: Reply
    ) -> Say | Fail | Ready | TlsGoAhead | TlsRefused:
        """What follows from the reply to the greeting, EHLO, HELO or STARTTLS."""
        went_well = reply.code // 100 == 2
        if command is Command.GREETING:
            return self._ehlo() if went_well else Fail("the server gives no service")
        if command is Command.EHLO:
            return self._on_ehlo(reply)
        if command is Command.HELO:
            return Ready(self.capabilities) if went_well else Fail("the server refuses HELO")
        if reply.code == 220:
            self.handshaking = True
            return TlsGoAhead()
        return TlsRefused(reply) if reply.code >= 400 else Fail("unexpected reply to STARTTLS")

    def tls_established(self) -> Say:
        """The handshake is done. All knowledge of the server is dropped and EHLO said again."""
        self.handshaking = False
        self.secure = True
        self.capabilities = Capabilities()
        return self._ehlo()

    def again(self, ehlo: Reply) -> None:
        """EHLO by hand was answered well. What XCLIENT may tell stays known, as it is the server's
        word on us; but Postfix takes it once a connection and asks the told client's right then.
        """
        offered = parse_capabilities(ehlo)
        self.xclient_again = bool(offered.xclient)
        right = offered.xclient or self.capabilities.xclient
        self.capabilities = replace(offered, xclient=right)

    def _on_ehlo(self, reply: Reply) -> Say | Fail | Ready:
        if reply.code // 100 == 2:
            self.capabilities = parse_capabilities(reply)
            return Ready(self.capabilities)
        if reply.permanent and not self.secure:
            return Say(Command.HELO, b"HELO %b\r\n" % self._name)
        return Fail("the server refuses EHLO")

    def _ehlo(self) -> Say:
        return Say(Command.EHLO, b"EHLO %b\r\n" % self._name)
