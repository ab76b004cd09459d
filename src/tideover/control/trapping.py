"""The verbs about the trap: who was caught, and taking that back."""

from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_network
from typing import Literal, Protocol

from tideover.control.pages import ROWS_A_PAGE, Page
from tideover.control.protocol import Done, Failure, Forget
from tideover.control.trap_items import TrapInfo, Trapped
from tideover.events.event import EventSink
from tideover.events.records import OperatorActed


class State(Protocol):
    """How a trap stands; see `tideover.trap.role.TrapState`."""

    @property
    def state(self) -> Literal["off", "silent", "open"]:
        """In a word."""
        ...

    @property
    def since(self) -> float:
        """Since when, Unix time."""
        ...

    @property
    def reason(self) -> str:
        """Why it is silent."""
        ...

    @property
    def connections(self) -> int:
        """Held now."""
        ...

    @property
    def waiting(self) -> int:
        """Contacts that are not judged yet."""
        ...


class Mark(Protocol):
    """A client that was caught; see `tideover.trap.catch.Caught`."""

    @property
    def host(self) -> str:
        """An IPv4 address or an IPv6 /64."""
        ...

    @property
    def strong(self) -> bool:
        """Whether it did what no honest sender does."""
        ...

    @property
    def at(self) -> float:
        """When, Unix time."""
        ...

    @property
    def until(self) -> float:
        """Until when that counts."""
        ...


class TrapView(Protocol):
    """The part of the trap that the control socket needs."""

    def state(self) -> State:
        """How it stands."""
        ...

    def caught(self) -> Sequence[Mark]:
        """Who was caught."""
        ...

    def forget(self, host: str) -> bool:
        """Take it back; whether there was anything."""
        ...


async def caught(trap: TrapView) -> AsyncIterator[Page]:
    """How the trap stands, then all marks, as they were when it was asked."""
    state = trap.state()
    yield [
        TrapInfo(
            state=state.state,
            since=state.since,
            reason=state.reason,
            connections=state.connections,
            waiting=state.waiting,
        )
    ]
    marks = trap.caught()
    for start in range(0, len(marks), ROWS_A_PAGE):
        yield [
            Trapped(host=mark.host, strong=mark.strong, at=mark.at, until=mark.until)
            for mark in marks[start : start + ROWS_A_PAGE]
        ]


def forget(trap: TrapView, request: Forget, emit: EventSink, *, by: str) -> Done | Failure:
    """Take back what a client did."""
    try:
        network = ip_network(request.host, strict=False)
    except ValueError:
        return Failure("bad-request", f"{request.host!r} is neither an address nor a network")
    if network.prefixlen < (32 if network.version == 4 else 64):
        return Failure("bad-request", "an IPv4 address, or an IPv6 address or its /64, is wanted")
    if not trap.forget(str(network.network_address)):
        return Failure("not-found", f"nothing is held against {request.host}")
    emit(OperatorActed(by=by, action="trap-forget", what=request.host, count=1))
    return Done(count=1)
