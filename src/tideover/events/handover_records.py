"""Happenings with what the primary knows of us. As `events.records`."""

from typing import ClassVar

from tideover.events.event import Event


class HandoverTrouble(Event, frozen=True, kw_only=True):
    """The primary's reply says that it was not told of us, or wrongly. `keyword` is "no-relay",
    "no-xclient", "login", "blocked", "limited", "greylisted", "spf", "dmarc" or "name". Told once
    while it lasts, and not again within an hour. `message` is "" when the connection was refused.
    """

    level: ClassVar[str] = "warning"
    domain: str
    host: str
    keyword: str
    text: str
    cure: str
    reply: str
    message: str = ""


class HandoverMended(Event, frozen=True, kw_only=True):
    """The primary took mail of the domain again; the trouble of this keyword had been there for so
    many seconds.
    """

    domain: str
    keyword: str
    seconds: float
