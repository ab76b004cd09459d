"""The verbs about recipients: lookup, list, refresh, import.

What a list does not tell in clear stays so: a hashed feed is named and counted, never listed.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice
from typing import Final

from tideover.config.values import source_kind
from tideover.control.interface import Daemon, House, RecipientTable
from tideover.control.pages import ROWS_A_PAGE, Page, own_domain
from tideover.control.protocol import (
    Address,
    AddressInfo,
    Answer,
    Done,
    Failure,
    Lookup,
    Progress,
    Recipients,
    Refresh,
    RefreshInfo,
    Seed,
    SourceInfo,
)
from tideover.events.event import EventSink
from tideover.events.records import OperatorActed
from tideover.recipients.answer import answer
from tideover.recipients.interface import Finding
from tideover.recipients.names import a_label
from tideover.smtp.address import Mailbox, PathError, parse_path
from tideover.smtp.answers import RECIPIENT_OK

_TOLD_EVERY: Final = 1.0
"""Seconds between two words on how far a load has come."""
_NAMELESS: Final = ("feed", "ldap", "sql", "callout", "learn")
"""Kinds of sources that may know more than they can name."""


async def lookup(house: House, request: Lookup) -> AsyncIterator[Page]:
    """What the recipient sources say of one address."""
    mailbox = _mailbox(request.address)
    if mailbox is None:
        yield Failure("bad-request", f"{request.address!r} is not an address like user@example.com")
        return
    explained = await _table(house).explain(request.address)
    found = _table(house).lookup(mailbox.local, mailbox.domain)
    settings = house.config.domains.get(explained.primary_up.domain)
    yield [
        AddressInfo(
            address=request.address,
            now=found if isinstance(found, Finding) else await found,
            primary_up=_answer(explained.primary_up),
            primary_down=_answer(explained.primary_down),
            sources=explained.sources,
            posture=str(settings.when_primary_up) if settings is not None else None,
        )
    ]


def _mailbox(address: str) -> Mailbox | None:
    """The address, or None when it is none."""
    try:
        mailbox, rest = parse_path(f"<{address}>".encode())
    except (PathError, UnicodeEncodeError):
        return None
    return None if rest or (mailbox is not None and not mailbox.domain) else mailbox


def _answer(finding: Finding) -> Answer:
    reply = answer(finding) or RECIPIENT_OK
    return Answer(
        code=reply.code, enhanced=reply.enhanced, text=" ".join(reply.lines), finding=finding
    )


def _table(house: House) -> RecipientTable:
    if house.directory is None:
        raise AssertionError("nobody opened the recipients for this verb")
    return house.directory


async def recipients(house: House, request: Recipients) -> AsyncIterator[Page]:
    """All that the sources of a domain name in clear, then those that know more."""
    domain, table = own_domain(request.domain), _table(house)
    if not table.is_ours(domain):
        yield _not_ours(request.domain)
        return
    for addresses in _portions(table.listing(domain)):
        yield [Address(address=text) for text in addresses]
    yield [
        SourceInfo(status=status)
        for status in table.sources(domain)
        if source_kind(status.source) in _NAMELESS and (status.entries or status.state == "asked")
    ]


def _portions(addresses: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(addresses)
    while portion := list(islice(rest, ROWS_A_PAGE)):
        yield portion


def _not_ours(domain: str) -> Failure:
    return Failure("not-found", f"{domain} is not a domain of ours")


async def refresh(
    house: Daemon, request: Refresh, emit: EventSink, *, by: str
) -> AsyncIterator[Page]:
    """Load sources now; a word every second, so that nobody thinks that we sleep.

    Who goes away meanwhile stops nothing: what is being loaded is loaded to its end.
    """
    if request.domains:
        yield await _refresh_domains(house, request, emit, by)
        return
    table = _table(house)
    domain = None if request.domain is None else own_domain(request.domain)
    if domain is not None and not table.is_ours(domain):
        yield _not_ours(domain)
        return
    news: dict[str, int] = {}
    task = asyncio.ensure_future(
        table.refresh(domain, confirm=request.confirm, progress=news.__setitem__)
    )
    try:
        while not (await asyncio.wait([task], timeout=_TOLD_EVERY))[0]:
            yield [Progress(source=source, entries=count) for source, count in news.items()]
            news.clear()
        done = task.result()
    finally:
        task.cancel()
    changed = sum(result.changed for result in done)
    emit(OperatorActed(by=by, action=_act(request), what=_described(domain), count=changed))
    for start in range(0, len(done), ROWS_A_PAGE):
        yield [RefreshInfo(refreshed=result) for result in done[start : start + ROWS_A_PAGE]]


async def _refresh_domains(daemon: Daemon, request: Refresh, emit: EventSink, by: str) -> Page:
    if request.domain is not None:
        return Failure("selection", "a domain, or the list of domains: not both")
    done = await daemon.refresh_domains(confirm=request.confirm)
    if done is None:
        return Failure("selection", "there is no list of domains: domains_from is not set")
    emit(OperatorActed(by=by, action=_act(request), what="domains_from", count=int(done.changed)))
    return [RefreshInfo(refreshed=done)]


def _act(request: Refresh) -> str:
    return "refresh-confirmed" if request.confirm else "refresh"


def _described(domain: str | None) -> str:
    return "all" if domain is None else f"domain={domain}"


async def seed(daemon: Daemon, request: Seed, emit: EventSink, *, by: str) -> Done | Failure:
    """Remember addresses that callouts shall verify while the primary is up."""
    domain = own_domain(request.domain)
    settings = daemon.config.domains.get(domain)
    if settings is None:
        return _not_ours(request.domain)
    if "callout" not in settings.recipients:
        text = f'"callout" is not among the recipients of {domain}: imported addresses would be'
        return Failure("selection", f"{text} of no use")
    for address in request.addresses:
        mailbox = _mailbox(address)
        if mailbox is None or a_label(mailbox.domain) != domain:
            return Failure("bad-request", f"{address!r} is not an address in {domain}")
    count = await _table(daemon).seed(domain, request.addresses)
    emit(OperatorActed(by=by, action="import", what=_described(domain), count=count))
    return Done(count=count)
