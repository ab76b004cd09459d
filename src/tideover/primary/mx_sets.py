"""The MX sets of the domains that we back up: what they are, what changed, what is wrong with them.

Each look-up of the router ends here. A change is told with the serial of the zone, and an alarm
once while it lasts. A null MX closes a domain (RFC 7505) for as long as DNS said so lately; one
that was said a day ago, and since then nothing, closes it no more (I9).
"""

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import Final

from msgspec import Struct

from tideover.dns.resolver import Resolver
from tideover.events.domain_records import (
    DnsRecovered,
    DnsTrouble,
    MxAlarm,
    MxAlarmCleared,
    MxChanged,
)
from tideover.events.event import EventSink
from tideover.primary.mx_set import (
    PATIENCE,
    Alarm,
    Look,
    MxSet,
    Problem,
    difference,
    is_unresolved,
    problem,
    texts,
)
from tideover.primary.store import NULL_MX_HOLDS, Kept, MxChange, PrimaryStore

MOST_UNRESOLVED: Final = 50
"""Domains that DNS may not answer for before DNS itself is in trouble, and alarms end."""

_TOUCH: Final = 3600.0
"""Seconds after which it is written again that a set is still so."""


class MxState(Struct, frozen=True, kw_only=True):
    """How the MX set of a domain stands. `hosts` like "10 mail.example.com", the best first; `own`
    is our preference in it. Times are Unix seconds. `problem` is a word of `mx_set.Problem`;
    `last_good` are the hops to which mail last could go, as "NAME[ADDRESS]:PORT".
    """

    hosts: tuple[str, ...] = ()
    own: int | None = None
    serial: int | None = None
    checked_at: float | None = None
    next_at: float | None = None
    problem: str | None = None
    alarm: str | None = None
    last_good: tuple[str, ...] = ()


class _Seen:
    """What is known of one domain's set. `written_at`: when that was last put into the store."""

    __slots__ = ("alarm", "alarm_at", "checked_at", "mx", "serial", "written_at")

    def __init__(self) -> None:
        self.mx: MxSet | None = None
        self.serial: int | None = None
        self.checked_at: float | None = None
        self.written_at = 0.0
        self.alarm: Alarm | None = None
        self.alarm_at = 0.0


class MxSets:
    """All sets that were looked at. `store` None: nothing is kept over a restart."""

    def __init__(self, resolver: Resolver, sink: EventSink, store: PrimaryStore | None) -> None:
        self._resolver = resolver
        self._sink = sink
        self._store = store
        self._seen: dict[str, _Seen] = {}
        self._null_at: dict[str, float] = dict(store.null_mx) if store is not None else {}
        self._unresolved: set[str] = set()
        self._in_trouble = False

    def restore(self, domain: str, kept: Kept) -> None:
        """Begin with what was known before the start."""
        seen = self._seen[domain] = _Seen()
        seen.mx, seen.serial, seen.written_at = kept.mx, kept.serial, kept.seen_at

    def forget_all_but(
        self, domains: AbstractSet[str], others: Iterable[str], followed: Callable[[str], bool]
    ) -> None:
        """Forget what is not among `domains`, and of these `others` what is not `followed`."""
        gone = self._seen.keys() - domains
        gone.update(name for name in (*others, *self._null_at) if not followed(name))
        for name in gone:
            self.forget(name)

    def forget(self, domain: str) -> None:
        """This one is followed no more."""
        self._seen.pop(domain, None)
        self._unresolved.discard(domain)
        self._null_at.pop(domain, None)

    def closed(self, domain: str, now: float) -> str | None:
        """Why the domain takes no mail, or None when it does."""
        at = self._null_at.get(domain)
        if at is None or now - at > NULL_MX_HOLDS:
            return None
        return f"{domain} takes no mail: its MX record is null (RFC 7505)"

    def state(self, domain: str) -> MxState | None:
        """How a set stands, without `next_at` and `last_good`; None: not looked at yet."""
        seen = self._seen.get(domain)
        if seen is None:
            return None
        mx, alarm = seen.mx or MxSet(hosts=()), seen.alarm
        return MxState(
            hosts=texts(mx.hosts),
            own=mx.own,
            serial=seen.serial,
            checked_at=seen.checked_at,
            problem=alarm.problem.value if alarm is not None else None,
            alarm=alarm.text if alarm is not None else None,
        )

    async def saw(
        self, domain: str, look: Look, *, had_mx: bool, failures: int, now: float
    ) -> None:
        """A look-up ended. `had_mx`: the last good route came from MX records; `failures`: how
        often in a row DNS failed. Waits for DNS, to ask for the serial, when the set has changed.
        """
        seen = self._seen.get(domain)
        if seen is None:
            seen = self._seen[domain] = _Seen()
        seen.checked_at = now
        mx = look.mx
        if mx is not None:
            if mx.is_null:
                self._null_at[domain] = now
            else:
                self._null_at.pop(domain, None)
            if seen.mx is None or seen.mx.hosts != mx.hosts:
                await self._change(domain, seen, mx, now)
            elif seen.mx != mx or now - seen.written_at > _TOUCH:
                self._write(domain, seen, mx, now)
        if not is_unresolved(look) or (failures >= PATIENCE and seen.alarm is None):
            self._set_alarm(domain, seen, problem(domain, look, had_mx=had_mx), now)

    async def _change(self, domain: str, seen: _Seen, mx: MxSet, now: float) -> None:
        """A set that differs; the first one that is ever seen is remembered but not told."""
        first, before = seen.mx is None, seen.mx.hosts if seen.mx is not None else ()
        seen.mx = mx  # now: a second look-up must not tell the same
        seen.serial = await self._resolver.serial(domain)
        self._write(domain, seen, mx, now)
        if before == mx.hosts:
            return
        change = MxChange(at=now, before=texts(before), after=texts(mx.hosts), serial=seen.serial)
        if self._store is not None:
            self._store.add_change(domain, change)
        if not first:
            apart = difference(before, mx.hosts)
            self._sink(
                MxChanged(
                    domain=domain,
                    added=apart.added,
                    removed=apart.removed,
                    reordered=apart.reordered,
                    before=change.before,
                    after=change.after,
                    serial=seen.serial,
                )
            )

    def _write(self, domain: str, seen: _Seen, mx: MxSet, now: float) -> None:
        seen.mx, seen.written_at = mx, now
        if self._store is not None:
            self._store.put_set(domain, mx, seen.serial, now)

    def _set_alarm(self, domain: str, seen: _Seen, alarm: Alarm | None, now: float) -> None:
        before, seen.alarm = seen.alarm, alarm
        old, new = _word(before), _word(alarm)
        if old is new:
            return
        muted = self._in_trouble
        if old is not None:
            self._unresolved.discard(domain)
            if not (muted and old is Problem.UNRESOLVED) and new is None:
                seconds = now - seen.alarm_at
                self._sink(MxAlarmCleared(domain=domain, problem=old.value, seconds=seconds))
        seen.alarm_at = now
        if alarm is not None and alarm.problem is Problem.UNRESOLVED:
            self._unresolved.add(domain)
            muted = muted or len(self._unresolved) > MOST_UNRESOLVED
        if alarm is not None and not (muted and alarm.problem is Problem.UNRESOLVED):
            self._sink(MxAlarm(domain=domain, problem=alarm.problem.value, text=alarm.text))
        self._weigh(alarm)

    def _weigh(self, alarm: Alarm | None) -> None:
        """Tell when it is DNS as a whole that fails, and when it is over."""
        count = len(self._unresolved)
        if not self._in_trouble and alarm is not None and count > MOST_UNRESOLVED:
            self._in_trouble = True
            self._sink(DnsTrouble(domains=count, text=alarm.text))
        elif self._in_trouble and count <= MOST_UNRESOLVED // 2:
            self._in_trouble = False
            self._sink(DnsRecovered(domains=count))


def _word(alarm: Alarm | None) -> Problem | None:
    return alarm.problem if alarm is not None else None
