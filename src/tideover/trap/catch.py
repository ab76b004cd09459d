"""Who was caught: contacts that wait until it is known that nothing was down, and marks.

A contact is evidence only if the client had a better host to turn to. So it waits for checks of
all of them that began after it; when one fails, all that wait are dropped. Marks are kept by
`policy.memory`, where the check "trap" finds them. Who is known to send mail that is taken is
never marked.

Invariants
    An outage marks nobody: a mark is made of a contact only between two checks that found all
    better hosts up.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from tideover.config.model import Config
from tideover.events.event import Event, EventSink
from tideover.events.recipient_records import HoneypotHit
from tideover.events.trap_records import ClientTrapped
from tideover.message.client_address import within
from tideover.policy.memory import Kind, Memory
from tideover.policy.networks import host_of, network_of
from tideover.trap.evidence import Contact, is_strong, reasons

WAITING: Final = 20_000
"""Contacts that wait; beyond, the oldest are dropped: some 10 MB."""

_A_STEP: Final = 500  # contacts that are judged before others have their turn


class Caught(NamedTuple):
    """A client's mark. `host` is an IPv4 address or an IPv6 /64; Unix times."""

    host: str
    strong: bool
    at: float
    until: float


class Catch:
    """Marks clients. `clock` is Unix time."""

    def __init__(
        self, config: Config, memory: Memory, emit: EventSink, clock: Callable[[], float]
    ) -> None:
        self._memory = memory
        self._emit = emit
        self._clock = clock
        self._waiting: deque[Contact] = deque(maxlen=WAITING)
        self.reconfigure(config)

    def reconfigure(self, config: Config) -> None:
        """For marks to come."""
        self._config = config

    # Contacts with the trap

    def is_newcomer(self, address: str) -> bool:
        """Whether a contact of this client could be held against it: neither one of the
        operator's hosts, nor one that we know from the listeners that take mail.
        """
        trusted = within(address, self._config.policy.trusted_networks)
        return not trusted and not self._memory.is_patient(network_of(address))

    def add(self, contact: Contact) -> None:
        """A contact is over; it waits."""
        self._waiting.append(contact)

    def confirm(self, since: float) -> bool:
        """All better hosts were found up by checks that began at `since` or later. Judges some of
        the contacts from before; returns whether there are more.
        """
        for _ in range(_A_STEP):
            if not self._waiting or self._waiting[0].ended >= since:
                return False
            contact = self._waiting.popleft()
            self._mark(contact.client, contact.helo, reasons(contact))
        return True

    def drop(self) -> int:
        """A better host may have been down: nobody who waits is to blame. Returns how many."""
        count = len(self._waiting)
        self._waiting.clear()
        return count

    @property
    def waiting(self) -> int:
        """Contacts that are not judged yet."""
        return len(self._waiting)

    # Honeypots

    def hit(self, event: HoneypotHit) -> None:
        """A client wrote to a honeypot, which no outage excuses."""
        trusted = within(event.client, self._config.policy.trusted_networks)
        if self._config.trap.greytrap and not trusted:
            self._mark(event.client, "", ("honeypot",))

    # Marks

    def _mark(self, client: str, helo: str, why: tuple[str, ...]) -> None:
        now, keep = self._clock(), self._config.trap.keep
        if self._memory.is_known(network_of(client)):
            return
        strong = "honeypot" in why or is_strong(why)
        kind, key = (Kind.TRAPPED if strong else Kind.SIDE_DOOR), host_of(client).encode()
        is_new = self._memory.get(kind, key, now) is None
        self._memory.renew(kind, key, now, keep)
        if is_new:
            self._emit(
                ClientTrapped(client=client, helo=helo, why=why, strong=strong, until=now + keep)
            )

    def caught(self) -> list[Caught]:
        """All marks that count: weak ones only of clients without a strong one."""
        now = self._clock()
        found = {
            key: Caught(key.decode(), strong, mark.at, mark.until)
            for strong, kind in ((False, Kind.SIDE_DOOR), (True, Kind.TRAPPED))
            for key, mark in self._memory.marks(kind, now)
        }
        return list(found.values())

    def forget(self, host: str) -> bool:
        """No mark of this address, or network as `caught` tells it, counts any more. Returns
        whether one did.
        """
        now, key = self._clock(), host_of(host.partition("/")[0]).encode()
        gone = [self._memory.forget(kind, key, now) for kind in (Kind.TRAPPED, Kind.SIDE_DOOR)]
        return any(gone)


class Greytrap:
    """A sink of the event stream: tells `catch` of honeypot hits."""

    def __init__(self, catch: Catch) -> None:
        self._catch = catch

    def take(self, event: Event, line: bytes) -> None:
        """Look for a hit."""
        if isinstance(event, HoneypotHit):
            self._catch.hit(event)

    def flush(self) -> None:
        """Nothing to do: memory writes by itself."""

    def close(self) -> None:
        """Nothing to do."""
