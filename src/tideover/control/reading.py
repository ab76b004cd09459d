"""The verbs that only read: status, list, show, body, shape, lookup, recipients.

Each is an async generator of pages. The spool is asked for one page at a time, so a listing of a
million messages costs the memory of a hundred.
"""

from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from typing import assert_never

from msgspec.structs import replace

from tideover import __version__
from tideover.config.values import parse_domain
from tideover.control.interface import Destination, House
from tideover.control.protocol import (
    AGES,
    PAGE,
    Address,
    AddressInfo,
    Body,
    DaemonInfo,
    DomainInfo,
    Failure,
    Item,
    List,
    Lookup,
    MessageDetail,
    MessageInfo,
    Piece,
    ReadRequest,
    RecipientInfo,
    Recipients,
    Shape,
    ShapeRow,
    Show,
    Status,
)
from tideover.message.envelope import QueueId
from tideover.primary.interface import PrimaryState
from tideover.recipients.interface import Standing
from tideover.smtp.address import PathError, parse_path
from tideover.spool.interface import (
    DomainCount,
    DomainHold,
    Filter,
    MessageDamaged,
    RecipientRow,
    State,
    StoredMessage,
)

Page = Sequence[Item] | Failure
_CLOSED = frozenset((State.DELIVERED, State.BOUNCED))
_ROWS_A_PAGE = 1000


def answer(house: House, request: ReadRequest, now: float) -> AsyncIterator[Page]:
    """The pages of the answer. Raises SpoolError."""
    match request:
        case Status():
            return status(house, request)
        case List():
            return listing(house, request)
        case Show():
            return show(house, request)
        case Body():
            return body(house, request)
        case Shape():
            return shape(house, request, now)
        case Lookup():
            return lookup(house, request)
        case Recipients():
            return recipients(house, request)
        case _:
            assert_never(request)


def own_domain(text: str) -> str:
    """A domain as somebody typed it -> its A-labels; what is none stays as it is."""
    try:
        return parse_domain(text)
    except ValueError:
        return text


def normal(wanted: Filter) -> Filter:
    """The filter with its domain in A-labels."""
    return wanted if wanted.domain is None else replace(wanted, domain=own_domain(wanted.domain))


async def status(house: House, request: Status) -> AsyncIterator[Page]:
    """The daemon, then each domain that is configured or has mail here."""
    counts = {count.domain: count for count in await house.spool.counts()}
    holds = {hold.domain: hold for hold in await house.spool.domain_holds()}
    known = house.dispatcher.status() if house.dispatcher is not None else {}
    names = sorted({*house.config.domains, *counts})
    if request.domain is not None:
        names = [name for name in names if name == own_domain(request.domain)]
        if not names:
            yield Failure("not-found", f"{request.domain} is not a domain of ours")
            return
    yield [DaemonInfo(version=__version__, hostname=house.config.hostname, started=house.started)]
    for start in range(0, len(names), _ROWS_A_PAGE):
        yield [
            _domain_info(name, known.get(name), holds.get(name), counts.get(name))
            for name in names[start : start + _ROWS_A_PAGE]
        ]


def _domain_info(
    name: str, way: Destination | None, hold: DomainHold | None, count: DomainCount | None
) -> DomainInfo:
    count = count or DomainCount(domain=name)
    state = PrimaryState.UNKNOWN if way is None else way.state
    since = None if way is None else way.since
    reason = "" if way is None else way.reason
    if hold is not None:
        state, since = PrimaryState.HELD, hold.since
        reason = f"held by {hold.by}: {hold.reason}" if hold.reason else f"held by {hold.by}"
    return DomainInfo(
        domain=name,
        primary=str(state),
        since=since,
        reason=reason,
        hops=() if way is None else way.hops,
        in_flight=0 if way is None else way.in_flight,
        queued=count.queued + count.leased + count.deferred,
        deferred=count.deferred,
        held=count.held,
        dead=count.dead,
        octets=count.octets,
        oldest=count.oldest,
    )


async def messages(
    house: House, wanted: Filter, limit: int | None = None
) -> AsyncIterator[Sequence[StoredMessage]]:
    """Pages of messages in arrival order."""
    after: QueueId | None = None
    left = limit
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        page = await house.spool.select(normal(wanted), after=after, limit=size)
        if not page:
            return
        yield page
        after = page[-1].queue_id
        left = None if left is None else left - len(page)


async def listing(house: House, request: List) -> AsyncIterator[Page]:
    """Messages with those of their recipients that are still here."""
    async for page in messages(house, request.wanted, request.limit):
        yield [_message_info(message, request.wanted) for message in page]


def _message_info(message: StoredMessage, wanted: Filter) -> MessageInfo:
    """The message with those of its recipients that are here and were asked for."""
    domain = own_domain(wanted.domain) if wanted.domain else None
    rows = [
        row
        for row in message.recipients
        if (row.state in wanted.states if wanted.states else row.state not in _CLOSED)
        and domain in (None, row.domain)
    ]
    return MessageInfo(
        id=message.queue_id,
        sender=message.envelope.sender,
        size=message.size,
        received_at=message.received_at,
        recipients=tuple(map(recipient_info, rows)),
    )


def recipient_info(row: RecipientRow) -> RecipientInfo:
    """A recipient's row as it is told."""
    return RecipientInfo(
        address=row.address,
        domain=row.domain,
        state=str(row.state),
        attempts=row.attempts,
        next_attempt=row.not_before if row.state is State.DEFERRED else None,
        last_reply=row.last_reply,
        reason=row.reason,
    )


async def show(house: House, request: Show) -> AsyncIterator[Page]:
    """One message."""
    message = await house.spool.show(request.id)
    yield _no_message(request.id) if message is None else [MessageDetail(message=message)]


def _no_message(queue_id: str) -> Failure:
    return Failure("not-found", f"no message {queue_id} is in the queue")


async def body(house: House, request: Body) -> AsyncIterator[Page]:
    """A message's octets, piece by piece."""
    message = await house.spool.show(request.id)
    if message is None:
        yield _no_message(request.id)
        return
    try:
        yield [Piece(data=message.trace)]
        async for piece in house.spool.read(request.id):
            yield [Piece(data=piece)]
    except KeyError:
        yield Failure("not-found", f"message {request.id} left the queue meanwhile")
    except MessageDamaged as error:
        yield Failure("spool", f"message {request.id} is damaged and now in quarantine: {error}")


async def shape(house: House, request: Shape, now: float) -> AsyncIterator[Page]:
    """Waiting recipients by domain and age, the fullest domain first."""
    rows: dict[str, list[int]] = {}
    states = request.wanted.states or (State.QUEUED, State.LEASED, State.DEFERRED, State.HELD)
    wanted = own_domain(request.wanted.domain) if request.wanted.domain else None
    async for page in messages(house, request.wanted):
        for message in page:
            column = bisect_left(AGES, now - message.received_at)
            for row in message.recipients:
                if row.state in states and wanted in (None, row.domain):
                    counts = rows.setdefault(row.domain, [0] * (len(AGES) + 1))
                    counts[column] += 1
    ordered = sorted(rows.items(), key=lambda item: (-sum(item[1]), item[0]))
    for start in range(0, len(ordered), _ROWS_A_PAGE):
        yield [
            ShapeRow(domain=domain, counts=tuple(counts))
            for domain, counts in ordered[start : start + _ROWS_A_PAGE]
        ]


async def lookup(house: House, request: Lookup) -> AsyncIterator[Page]:
    """What the recipient sources say of one address."""
    try:
        mailbox, rest = parse_path(f"<{request.address}>".encode())
    except (PathError, UnicodeEncodeError):
        mailbox, rest = None, b""
    if mailbox is None or rest:
        yield Failure("bad-request", f"{request.address!r} is not an address like user@example.com")
        return
    finding = house.directory.lookup(mailbox.local, mailbox.domain)
    yield [
        AddressInfo(
            address=request.address,
            standing=str(finding.standing),
            domain=finding.domain,
            source=finding.source,
            reason=finding.reason,
        )
    ]


async def recipients(house: House, request: Recipients) -> AsyncIterator[Page]:
    """All that the sources of a domain list."""
    domain = own_domain(request.domain)
    if house.directory.lookup("postmaster", domain).standing is Standing.FOREIGN:
        yield Failure("not-found", f"{request.domain} is not a domain of ours")
        return
    addresses = house.directory.listing(domain)
    for start in range(0, len(addresses), _ROWS_A_PAGE):
        yield [Address(address=text) for text in addresses[start : start + _ROWS_A_PAGE]]
