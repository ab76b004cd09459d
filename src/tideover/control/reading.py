"""The verbs that only read. Here: list, show, body and shape, which look at the queue.

Each is an async generator of pages. The spool is asked for one page at a time, so a listing of a
million messages costs the memory of a hundred.
"""

from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from typing import assert_never

from tideover.control import knowing, standing
from tideover.control.interface import House
from tideover.control.pages import ROWS_A_PAGE, Page, normal, own_domain
from tideover.control.protocol import (
    AGES,
    PAGE,
    Body,
    Failure,
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
from tideover.spool.interface import (
    Filter,
    MessageDamaged,
    RecipientRow,
    State,
    StoredMessage,
)

_CLOSED = frozenset((State.DELIVERED, State.BOUNCED))


def answer(house: House, request: ReadRequest, now: float) -> AsyncIterator[Page]:
    """The pages of the answer. Raises SpoolError."""
    match request:
        case Status():
            return standing.status(house, request)
        case List():
            return listing(house, request)
        case Show():
            return show(house, request)
        case Body():
            return body(house, request)
        case Shape():
            return shape(house, request, now)
        case Lookup():
            return knowing.lookup(house, request)
        case Recipients():
            return knowing.recipients(house, request)
        case _:
            assert_never(request)


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
    for start in range(0, len(ordered), ROWS_A_PAGE):
        yield [
            ShapeRow(domain=domain, counts=tuple(counts))
            for domain, counts in ordered[start : start + ROWS_A_PAGE]
        ]
