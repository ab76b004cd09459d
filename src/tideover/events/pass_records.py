"""Happenings with clients that come although the primary is up. As `events.records`."""

from typing import ClassVar

from tideover.events.event import Event


class PassedThrough(Event, frozen=True, kw_only=True):
    """The primary took a message from the client by our hands: its 250 is the client's 250.

    `told`: how it was told who the client is ("XCLIENT", "XFORWARD", "" for not at all).
    """

    message: str
    session: str
    client: str
    helo: str
    protocol: str
    sender: str
    recipients: tuple[str, ...]
    size: int
    host: str
    told: str
    reply: str
    tls: str | None = None


class PassedRefused(Event, frozen=True, kw_only=True):
    """The primary refused a client, recipient or message that passed through: its own verdict.

    `stage` is what it answered: "CONNECT" (also XCLIENT and EHLO), "RCPT" (also MAIL), "DATA" or
    "BODY".
    """

    message: str
    session: str
    client: str
    domain: str
    sender: str
    recipients: tuple[str, ...]
    host: str
    reply: str
    stage: str


class PassThroughLost(Event, frozen=True, kw_only=True):
    """A primary that passed for up had no verdict: the message goes on as in an outage.

    `stage` as in PassedRefused. `maybe_delivered`: all of the message had left, so that it may
    arrive twice.
    """

    level: ClassVar[str] = "warning"
    message: str
    session: str
    client: str
    domain: str
    recipients: tuple[str, ...]
    host: str
    stage: str
    reason: str
    maybe_delivered: bool = False


class ClientCutOff(Event, frozen=True, kw_only=True):
    """A client evidently can't reach the primary, which is up: it is served as in an outage."""

    message: str
    session: str
    client: str
    domain: str
    sender: str
    recipient: str
    reason: str
