"""The verbs that change something: hold, release, flush, remove.

Order of effects: the spool first, so that it is durable; then the dispatcher is told; then the
event that names who did it. A removal is told before too, as nothing is left to show it after.
"""

from typing import assert_never

from msgspec.structs import replace

from tideover.control.interface import Daemon, Dispatcher
from tideover.control.pages import normal
from tideover.control.protocol import ActRequest, Done, Failure, Flush, Hold, Release, Remove
from tideover.events.event import EventSink
from tideover.events.records import OperatorActed
from tideover.spool.interface import DomainHold, Filter, Spool, State

_IDS_AN_EVENT = 100


class Acting:
    """What a person orders. `by` is the user's name; `now` Unix time."""

    def __init__(self, daemon: Daemon, emit: EventSink) -> None:
        self._daemon = daemon
        self._emit = emit

    async def act(self, request: ActRequest, *, by: str, now: float) -> Done | Failure:
        """Do it, or say why not."""
        wanted = normal(request.wanted)
        if wanted == Filter() and not request.everything:
            return Failure("selection", "name a domain or ids, or say that all is meant")
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
                assert_never(request)

    async def _hold(self, request: Hold, wanted: Filter, by: str, now: float) -> Done | Failure:
        domain = wanted.domain
        if domain is not None and _domain_alone(wanted):
            if domain not in self._daemon.config.domains:
                return Failure("not-found", f"{domain} is not a domain of ours")
            hold = DomainHold(domain=domain, reason=request.reason, by=by, since=now)
            await self._spool.hold_domain(hold)
            self._dispatcher.set_hold(domain, hold)
        reason = f"held by {by}: {request.reason}" if request.reason else f"held by {by}"
        count = await self._spool.hold(wanted, reason=reason, now=now)
        self._told(by, "hold", wanted, count)
        return Done(count=count)

    async def _release(self, wanted: Filter, by: str, now: float) -> Done:
        if _domain_alone(wanted):
            for hold in await self._spool.domain_holds():
                if wanted.domain in (None, hold.domain):
                    await self._spool.release_domain(hold.domain)
                    self._dispatcher.set_hold(hold.domain, None)
        if wanted.ids is None and wanted.states is None:
            # dead letters come back only by name or when asked for: they are dead for a reason
            wanted = replace(wanted, states=(State.HELD,))
        count = await self._spool.release(wanted, now=now)
        await self._notify(wanted)
        self._told(by, "release", wanted, count)
        return Done(count=count)

    async def _flush(self, wanted: Filter, by: str, now: float) -> Done:
        if _domain_alone(wanted):
            count = await self._dispatcher.flush(None if wanted.domain is None else {wanted.domain})
        else:
            count = await self._spool.release(replace(wanted, states=(State.DEFERRED,)), now=now)
            await self._notify(wanted)
        self._told(by, "flush", wanted, count)
        return Done(count=count)

    async def _remove(self, wanted: Filter, by: str) -> Done:
        self._told(by, "remove-ordered", wanted, 0)
        ids = tuple(await self._spool.remove(wanted))
        for start in range(0, len(ids), _IDS_AN_EVENT):
            some = ids[start : start + _IDS_AN_EVENT]
            self._emit(OperatorActed(by=by, action="remove", what=" ".join(some), count=len(some)))
        return Done(count=len(ids), ids=ids)

    async def _notify(self, wanted: Filter) -> None:
        """Tell of mail that is queued again, by domain: too many are harmless, too few are not."""
        if wanted.domain is not None:
            domains = {wanted.domain}
        elif wanted.ids is not None:
            shown = [await self._spool.show(queue_id) for queue_id in wanted.ids]
            domains = {row.domain for message in shown if message for row in message.recipients}
        else:
            domains = {count.domain for count in await self._spool.counts()}
        for domain in domains:
            self._dispatcher.notify(domain)

    @property
    def _dispatcher(self) -> Dispatcher:
        return self._daemon.dispatcher

    @property
    def _spool(self) -> Spool:
        return self._daemon.spool

    def _told(self, by: str, action: str, wanted: Filter, count: int) -> None:
        self._emit(OperatorActed(by=by, action=action, what=_described(wanted), count=count))


def _domain_alone(wanted: Filter) -> bool:
    """Whether a domain as a whole is meant, or all domains."""
    return wanted == Filter(domain=wanted.domain)


def _described(wanted: Filter) -> str:
    """The filter in words; ids stand alone, so that `explain ID` finds them."""
    words = [str(queue_id) for queue_id in wanted.ids or ()][:_IDS_AN_EVENT]
    for name in Filter.__struct_fields__:
        value = getattr(wanted, name)
        if name != "ids" and value is not None:
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            words.append(f"{name}={text}")
    return " ".join(words) or "all"
