"""Happenings on the way home: destinations, deliveries, bounces, dead letters."""

from typing import ClassVar

from tideover.events.event import Event


class PrimaryChanged(Event, frozen=True, kw_only=True):
    """A destination changed its state (up, down, recovering). `domains`: some that it serves."""

    destination: str
    before: str
    after: str
    reason: str
    domains: tuple[str, ...] = ()


class Delivered(Event, frozen=True, kw_only=True):
    """The next hop's 250: custody has passed on. `waited` is seconds since our 250."""

    message: str
    domain: str
    recipients: tuple[str, ...]
    host: str
    reply: str
    waited: float
    tls: str | None = None


class DeliveryDeferred(Event, frozen=True, kw_only=True):
    """The next hop said "later" to these recipients, or the connection failed."""

    message: str
    domain: str
    recipients: tuple[str, ...]
    host: str
    reply: str
    next_attempt: float | None = None


class DeliveryRefused(Event, frozen=True, kw_only=True):
    """The next hop said "never" to these recipients (or lacks what the message needs).

    `stage` is what it answered: "MAIL", "RCPT", "DATA" or "BODY"; None when it was not asked.
    """

    level: ClassVar[str] = "warning"
    message: str
    domain: str
    recipients: tuple[str, ...]
    host: str
    reply: str
    stage: str | None = None


class DeliveryUnknown(Event, frozen=True, kw_only=True):
    """An attempt's end is unknown: lost after the final dot, or by our own death. It is tried
    again, so it may arrive twice.
    """

    level: ClassVar[str] = "warning"
    message: str
    domain: str
    recipients: tuple[str, ...]
    host: str
    reason: str


class Bounced(Event, frozen=True, kw_only=True):
    """A DSN for these recipients was queued, as message `report`."""

    message: str
    recipients: tuple[str, ...]
    report: str
    kind: str


class DeadLettered(Event, frozen=True, kw_only=True):
    """These recipients went to dead letters: kept, listed, restorable."""

    level: ClassVar[str] = "warning"
    message: str
    recipients: tuple[str, ...]
    reason: str


class DeadLetterExpired(Event, frozen=True, kw_only=True):
    """A dead letter reached `dead_letter_lifetime` and was removed, as configured."""

    level: ClassVar[str] = "warning"
    message: str
    sender: str
    recipients: tuple[str, ...]
