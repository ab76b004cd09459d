"""The verb `status`: how each domain stands: its primary, its queue, its sources, its MX set."""

from collections.abc import AsyncIterator
from typing import Final

from tideover import __version__
from tideover.config.directory import DomainFiles
from tideover.config.domains import UNREADABLE
from tideover.control.interface import House, MxWatch
from tideover.control.pages import ROWS_A_PAGE, Page, own_domain
from tideover.control.protocol import (
    DaemonInfo,
    DomainInfo,
    Failure,
    HandoverInfo,
    MxChangeInfo,
    MxInfo,
    Status,
)
from tideover.primary.handover_signs import hint
from tideover.primary.interface import PrimaryState
from tideover.spool.interface import DomainCount, DomainHold

_CHANGES_SHOWN: Final = 20
_UNREADABLE: Final = "its settings can't be used: new mail is deferred, and what is queued waits"


async def status(house: House, request: Status) -> AsyncIterator[Page]:
    """The daemon, then each domain that is configured or has mail here."""
    counts = {count.domain: count for count in await house.spool.counts()}
    holds = {hold.domain: hold for hold in await house.spool.domain_holds()}
    names = sorted({*house.config.domains, *counts})
    if request.domain is not None:
        names = [name for name in names if name == own_domain(request.domain)]
        if not names:
            yield Failure("not-found", f"{request.domain} is not a domain of ours")
            return
    changes = 0 if request.domain is None else _CHANGES_SHOWN
    yield [
        DaemonInfo(
            version=__version__,
            hostname=house.config.hostname,
            started=house.started,
            domains_from=house.domain_list(),
            broken_files=_broken(house.domain_files),
        )
    ]
    for start in range(0, len(names), ROWS_A_PAGE):
        yield [
            _domain_info(house, name, holds.get(name), counts.get(name),
                         await _mx_info(house.mx, name, changes))
            for name in names[start : start + ROWS_A_PAGE]
        ]  # fmt: skip


def _domain_info(
    house: House,
    name: str,
    hold: DomainHold | None,
    count: DomainCount | None,
    mx: MxInfo | None,
) -> DomainInfo:
    count = count or DomainCount(domain=name)
    way = house.dispatcher.way(name) if house.dispatcher is not None else None
    state = PrimaryState.UNKNOWN if way is None else way.state
    since = None if way is None else way.since or None
    reason = "" if way is None else way.reason
    if hold is not None:
        state, since = PrimaryState.HELD, hold.since
        reason = f"held by {hold.by}: {hold.reason}" if hold.reason else f"held by {hold.by}"
    if house.config.domains.get(name) is UNREADABLE:
        reason = "; ".join(filter(None, (_UNREADABLE, reason)))
    return DomainInfo(
        domain=name,
        primary=str(state),
        since=since,
        reason=reason,
        hops=() if way is None else way.hops,
        capabilities=() if way is None else way.capabilities,
        in_flight=0 if way is None else way.in_flight,
        queued=count.queued + count.leased + count.deferred,
        deferred=count.deferred,
        held=count.held,
        dead=count.dead,
        octets=count.octets,
        oldest=count.oldest,
        sources=None if house.directory is None else tuple(house.directory.sources(name)),
        mx=mx,
        handover=_handover(house, name),
        hint=_hint(house, name, state, () if way is None else way.capabilities),
    )


def _handover(house: House, name: str) -> HandoverInfo | None:
    trouble = house.handover.trouble(name) if house.handover is not None else None
    if trouble is None:
        return None
    return HandoverInfo(
        keyword=trouble.sign.keyword, text=trouble.sign.text, cure=trouble.sign.cure,
        host=trouble.host, reply=trouble.reply, since=trouble.since, latest=trouble.latest,
        count=trouble.count,
    )  # fmt: skip


def _hint(house: House, name: str, state: PrimaryState, offered: tuple[str, ...]) -> str:
    settings = house.config.domains.get(name)
    return hint(offered, settings.when_primary_up) if settings and state is PrimaryState.UP else ""


def _broken(files: DomainFiles | None) -> tuple[str, ...]:
    if files is None or not files.mistakes:
        return ()
    told = tuple(f"{mistake.file}: {mistake}" for mistake in files.mistakes)
    return told if not files.more else (*told, f"and {files.more} more files")


async def _mx_info(watch: MxWatch | None, domain: str, changes: int) -> MxInfo | None:
    """How the MX set of a domain stands, with so many of its latest changes."""
    state = watch.watch_state(domain) if watch is not None else None
    if watch is None or state is None:
        return None
    history = await watch.history(domain, changes) if changes else ()
    return MxInfo(
        hosts=tuple(state.hosts),
        own=state.own,
        serial=state.serial,
        checked_at=state.checked_at,
        next_at=state.next_at,
        problem=state.problem,
        alarm=state.alarm,
        history=tuple(
            MxChangeInfo(
                at=change.at, before=tuple(change.before), after=tuple(change.after),
                serial=change.serial,
            )
            for change in history
        ),
    )  # fmt: skip
