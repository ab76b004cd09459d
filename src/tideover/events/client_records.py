"""Happenings with what is remembered of clients."""

from typing import ClassVar

from tideover.events.event import Event


class ClientsTrouble(Event, frozen=True, kw_only=True):
    """What is remembered of clients can't be read or kept as it should. Mail goes on, and nobody is
    greylisted who may only have been forgotten.
    """

    level: ClassVar[str] = "warning"
    reason: str


class ClientsDamaged(Event, frozen=True, kw_only=True):
    """The file with what is remembered of clients was damaged: set aside, a new one was begun."""

    level: ClassVar[str] = "error"
    reason: str
    set_aside: str
