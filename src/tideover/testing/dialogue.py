"""Drives a ServerSession the way a shell does, saying yes to everything unless told otherwise."""

from collections.abc import Callable

from tideover.smtp.events import (
    BodyChunk,
    BodyEnd,
    BodyStart,
    Event,
    Hello,
    MailFrom,
    RcptTo,
    Signal,
    StartTls,
)
from tideover.smtp.offer import ServerOptions
from tideover.smtp.receipt import Receipt
from tideover.smtp.replies import Reply
from tideover.smtp.server import ServerSession

OPTIONS = ServerOptions(hostname="mx2.example.org", max_size=100_000, tls=True)
ASKING = (Hello, MailFrom, RcptTo, BodyStart, StartTls)


class Dialogue:
    """A client's side of one session; `events`, `out` and `bodies` tell what came of it."""

    def __init__(
        self,
        options: ServerOptions = OPTIONS,
        refuse: Callable[[Event], Reply | None] = lambda _event: None,
    ) -> None:
        self.session = ServerSession(options)
        self.session.greet()
        self.events: list[Event] = []
        self.refuse = refuse
        self.out = self.session.data_to_send()

    def pump(self) -> None:
        """Answer events until there are none."""
        while not isinstance(event := self.session.next_event(), Signal):
            self.events.append(event)
            if isinstance(event, (*ASKING, BodyEnd)):
                refusal = self.refuse(event)
                if refusal is not None:
                    self.session.reply(refusal)
                elif isinstance(event, BodyEnd):
                    self.session.accept_message(Receipt("Q1"))
                else:
                    self.session.accept()
        self.out += self.session.data_to_send()

    def say(self, data: bytes, step: int | None = None) -> bytes:
        """Send, in pieces of `step` octets; returns what is answered to it."""
        before = len(self.out)
        for start in range(0, len(data), step or len(data)):
            self.session.receive_data(data[start : start + (step or len(data))])
            self.pump()
        return self.out[before:]

    def codes(self, data: bytes, step: int | None = None) -> list[int]:
        """The codes of the (last lines of the) replies to `data`."""
        lines = self.say(data, step).split(b"\r\n")[:-1]
        return [int(line[:3]) for line in lines if line[3:4] == b" "]

    @property
    def bodies(self) -> list[bytes]:
        """The bodies of the messages that were accepted."""
        found: list[bytes] = []
        current = b""
        for event in self.events:
            match event:
                case BodyStart():
                    current = b""
                case BodyChunk(data=data):
                    current += data
                case BodyEnd():
                    found.append(current)
        return found


MAIL = b"EHLO c.example\r\nMAIL FROM:<s@example.net>\r\nRCPT TO:<r@example.com>\r\n"
