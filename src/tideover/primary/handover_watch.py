"""Watches what primaries reply, for signs that they were not told of us. A sink of the events."""

import re
from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from tideover.config.values import domain_of
from tideover.events.delivery_records import (
    Delivered,
    DeliveryDeferred,
    DeliveryRefused,
    PrimaryChanged,
)
from tideover.events.event import Event, EventSink
from tideover.events.handover_records import HandoverMended, HandoverTrouble
from tideover.events.pass_records import PassedRefused, PassedThrough, PassThroughLost
from tideover.primary.handover_signs import Sign, sign_of
from tideover.primary.interface import PrimaryState
from tideover.smtp.capabilities import Capabilities

REMEMBERED: Final = 10_000
"""Domains with trouble at most; the oldest trouble is forgotten first, and told again."""

QUIET: Final = 3600.0
"""Seconds in which the same is not told twice, however often it was well in between."""

_REPLY_KEPT: Final = 500
_CONNECT: Final = "CONNECT"
_REPLY_IN: Final = re.compile(r"(?:^|: )([45]\d\d[ -].*)")


class Handover(Struct, frozen=True, kw_only=True):
    """What is wrong with a domain's handover now: the latest sign and the reply that had it.

    `stage` is what was answered, as events name it. `since` and `latest` are Unix time, `count` is
    how many replies had this sign since then.
    """

    sign: Sign
    host: str
    reply: str
    stage: str | None
    since: float
    latest: float
    count: int


class HandoverWatch:
    """Keeps the latest sign of each domain until the primary takes mail for it.

    `offered` says what the domain's primary last offered us: where that is XCLIENT, it knows the
    clients, and its refusals are about them.
    """

    def __init__(self, emit: EventSink, offered: Callable[[str], Capabilities | None]) -> None:
        self._emit = emit
        self._offered = offered
        self._troubles: dict[str, Handover] = {}
        self._told: dict[tuple[str, str], float] = {}

    def trouble(self, domain: str) -> Handover | None:
        """What is wrong with this domain's (A-labels), None: nothing that we know of."""
        return self._troubles.get(domain)

    def take(self, event: Event, _: bytes) -> None:
        """Look at what a primary said."""
        match event:
            case Delivered():
                self._mended([event.domain], event.time)
            case PassedThrough():
                self._mended(filter(None, map(domain_of, event.recipients)), event.time)
            case DeliveryDeferred():
                self._replied(event, event.domain, event.host, event.reply, None)
            case DeliveryRefused() | PassedRefused():
                self._replied(event, event.domain, event.host, event.reply, event.stage)
            case PassThroughLost():
                if found := _REPLY_IN.search(event.reason):
                    self._replied(event, event.domain, event.host, found[1], event.stage)
            case PrimaryChanged():
                self._connected(event)
            case _:
                pass

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""

    def _connected(self, event: PrimaryChanged) -> None:
        """A primary that does not even let us in may say why: always about us."""
        if event.after != PrimaryState.DOWN:
            barred = (d for d in event.domains if self._stage(d) == _CONNECT)
            self._mended(list(barred), event.time)
        elif found := _REPLY_IN.search(event.reason):
            for domain in event.domains:
                self._replied(event, domain, event.destination, found[1], _CONNECT)

    def _stage(self, domain: str) -> str | None:
        trouble = self._troubles.get(domain)
        return None if trouble is None else trouble.stage

    def _replied(self, event: Event, domain: str, host: str, reply: str, stage: str | None) -> None:
        barred = isinstance(event, PrimaryChanged)
        offered = None if barred else self._offered(domain)
        told = "XCLIENT" if offered is not None and offered.xclient else ""
        sign = sign_of(reply, stage, told=told)
        if sign is None:
            return
        before = self._troubles.pop(domain, None)
        if before is not None and before.sign is not sign:
            before = None
        if len(self._troubles) >= REMEMBERED:
            del self._troubles[next(iter(self._troubles))]
        self._troubles[domain] = trouble = Handover(
            sign=sign,
            host=host,
            reply=reply[:_REPLY_KEPT],
            stage=stage,
            since=before.since if before is not None else event.time,
            latest=event.time,
            count=before.count + 1 if before is not None else 1,
        )
        if before is None:
            self._tell(domain, trouble, getattr(event, "message", ""))

    def _tell(self, domain: str, trouble: Handover, message: str) -> None:
        sign, now = trouble.sign, trouble.latest
        key = (domain, sign.keyword)
        told_at = self._told.get(key)
        if told_at is not None and 0.0 <= now - told_at < QUIET:
            return
        self._told.pop(key, None)
        if len(self._told) >= REMEMBERED:
            del self._told[next(iter(self._told))]
        self._told[key] = now
        self._emit(
            HandoverTrouble(
                message=message,
                domain=domain,
                host=trouble.host,
                keyword=sign.keyword,
                text=sign.text,
                cure=sign.cure,
                reply=trouble.reply,
            )
        )

    def _mended(self, domains: Iterable[str], now: float) -> None:
        for domain in domains:
            trouble = self._troubles.pop(domain, None)
            if trouble is None:
                continue
            keyword = trouble.sign.keyword
            if self._told.get((domain, keyword), 0.0) >= trouble.since:
                seconds = max(0.0, now - trouble.since)
                self._emit(HandoverMended(domain=domain, keyword=keyword, seconds=seconds))
