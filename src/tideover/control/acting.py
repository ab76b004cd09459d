"""The verbs that change something: hold, release, flush, remove.

Order of effects: the spool first, so that it is durable; then the dispatcher is told; then the
event that names who did it. A removal is told before too, as nothing is left to show it after.
"""

from tideover.control.interface import Daemon
from tideover.control.protocol import Act, Done, Failure, Flush, Hold, Release, Remove
from tideover.control.reading import normal
from tideover.events.records import EventSink, OperatorActed
from tideover.spool.interface import DomainHold, Filter, State

_IDS_AN_EVENT = 100


class Acting:
    """What a person orders. `by` is the user's name; `now` Unix time."""

    def __init__(self, daemon: Daemon, emit: EventSink) -> None:
        self._daemon = daemon
        self._emit = emit

    async def act(self, request: Act, *, by: str, now: float) -> Done | Failure:
        """Do it, or say why not."""
        wanted = normal(request.wanted)
        if wanted == Filter() and not request.everything:
            return Failure("selection", "name a domain or ids, or say that all is meant")
        if self._daemon.dispatcher is None:
            return Failure("not-allowed", "this needs the daemon to run")
        match request:
            case Hold():
                return await self._hold(request, wanted, by, now)
            case Release():
                return await self._release(wanted, by, now)
            case Flush():
                return await self._flush(wanted, by, now)
            case Remove():
                return await self._remove(wanted, by)
            case _:
                return Failure("bad-request", "no such verb")

    async def _hold(self, request: Hold, wanted: Filter, by: str, now: float) -> Done | Failure:
        if wanted == Filter(domain=wanted.domain) and wanted.domain is not None:
            if wanted.domain not in self._daemon.config.domains:
                return Failure("not-found", f"{wanted.domain} is not a domain of ours")
            hold = DomainHold(domain=wanted.domain, reason=request.reason, by=by, since=now)
            await self._daemon.spool.hold_domain(hold)
            await self._tell_holds()
        reason = f"held by {by}: {request.reason}" if request.reason else f"held by {by}"
        count = await self._daemon.spool.hold(wanted, reason=reason, now=now)
        self._told(by, "hold", wanted, count)
        return Done(count=count)

    async def _release(self, wanted: Filter, by: str, now: float) -> Done:
        lifted = False
        for domain in await self._held_domains(wanted):
            lifted |= await self._daemon.spool.release_domain(domain)
        if wanted.ids is None and wanted.states is None:
            # dead letters come back only by name or when asked for: they are dead for a reason
            wanted = _with_states(wanted, (State.HELD,))
        count = await self._daemon.spool.release(wanted, now=now)
        if lifted:
            await self._tell_holds()
        self._told(by, "release", wanted, count)
        if count or lifted:
            self._try_now(await self._domains(wanted))
        return Done(count=count)

    async def _held_domains(self, wanted: Filter) -> list[str]:
        """Domains whose hold this lifts: the one that is named alone, or all."""
        if wanted not in (Filter(), Filter(domain=wanted.domain)):
            return []
        holds = [hold.domain for hold in await self._daemon.spool.domain_holds()]
        return [d for d in holds if wanted.domain in (None, d)]

    async def _flush(self, wanted: Filter, by: str, now: float) -> Done:
        deferred = _with_states(wanted, (State.DEFERRED,))
        count = await self._daemon.spool.release(deferred, now=now)
        self._try_now(await self._domains(wanted))
        self._told(by, "flush", wanted, count)
        return Done(count=count)

    async def _remove(self, wanted: Filter, by: str) -> Done:
        self._told(by, "remove-ordered", wanted, 0)
        ids = tuple(await self._daemon.spool.remove(wanted))
        for start in range(0, len(ids), _IDS_AN_EVENT):
            some = ids[start : start + _IDS_AN_EVENT]
            what = " ".join(some)
            self._emit(OperatorActed(by=by, action="remove", what=what, count=len(some)))
        return Done(count=len(ids), ids=ids)

    async def _domains(self, wanted: Filter) -> set[str] | None:
        """The domains that are meant; None: all, where finding out would cost more than trying."""
        if wanted.domain is not None:
            return {wanted.domain}
        if wanted.ids is None:
            return None
        shown = [await self._daemon.spool.show(queue_id) for queue_id in wanted.ids]
        return {row.domain for message in shown if message for row in message.recipients}

    def _try_now(self, domains: set[str] | None) -> None:
        if self._daemon.dispatcher is not None:
            self._daemon.dispatcher.flush(domains)

    async def _tell_holds(self) -> None:
        if self._daemon.dispatcher is not None:
            await self._daemon.dispatcher.holds_changed()

    def _told(self, by: str, action: str, wanted: Filter, count: int) -> None:
        self._emit(OperatorActed(by=by, action=action, what=_described(wanted), count=count))


def _with_states(wanted: Filter, states: tuple[State, ...] | None) -> Filter:
    values = {name: getattr(wanted, name) for name in Filter.__struct_fields__}
    return Filter(**values | {"states": states})


def _described(wanted: Filter) -> str:
    """The filter in words; ids stand alone, so that `explain ID` finds them."""
    words = [str(queue_id) for queue_id in wanted.ids or ()][:_IDS_AN_EVENT]
    for name in Filter.__struct_fields__:
        value = getattr(wanted, name)
        if name != "ids" and value is not None:
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            words.append(f"{name}={text}")
    return " ".join(words) or "all"
