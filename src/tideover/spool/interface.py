"""The durable queue: what every spool does, whatever it is built on.

A spool keeps messages and the state of each recipient. It does not decide anything: who is tried,
when, and what an answer means is the caller's matter. Every implementation passes
`tests/conformance/spool_suite.py`.

States of a recipient::

    queued ──claim──► leased ──settle──► (delivered | bounced): closed
      ▲  ▲               │ ├──────────► deferred ──(not_before reached)──► queued
      │  └── recover ────┘ └──────────► dead ──release──► queued
      └── release ── held ◄── hold

A message is removed in the transaction that closes its last recipient.
"""

from collections.abc import AsyncIterator, Awaitable, Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from tideover.message.envelope import Client, Envelope, Evidence, NewMessage, QueueId
from tideover.smtp.receipt import Receipt

CHUNK = 64 * 1024
"""Bodies are stored in pieces of this many octets; no spool holds more of one body in memory
than a few of them."""


class SpoolError(Exception):
    """The spool could not do what was asked; nothing of it was done. Temporary by nature."""


class SpoolFull(SpoolError):  # noqa: N818
    """No room: full disk or a bound of ours. The client hears 452 4.3.1."""


class SpoolUnavailable(SpoolError):  # noqa: N818
    """I/O error, read-only disk, lock: the client hears 451 4.3.0."""


class SpoolUnusable(Exception):  # noqa: N818
    """The spool can't be opened: foreign or newer file, missing right. Ends the daemon (exit 2)."""


class MessageDamaged(SpoolError):  # noqa: N818
    """A stored message fails its checksum. It has been moved to quarantine."""


class State(StrEnum):
    """Where a recipient stands; the module's drawing shows who moves it."""

    QUEUED = "queued"
    LEASED = "leased"
    DEFERRED = "deferred"
    HELD = "held"
    DEAD = "dead"
    DELIVERED = "delivered"
    BOUNCED = "bounced"


class RecipientRow(Struct, frozen=True, kw_only=True):
    """One recipient as stored.

    `index` is its place in the envelope, from 0. `attempts` counts tries that reached a verdict for
    this recipient; `not_before` is Unix time, 0 when not deferred; `last_reply` is the reply or
    error of the last try; `reason` says why it is held or dead. `changed_at` is when it came into
    its state; a lease that ends without an attempt leaves it as it was.
    """

    index: int
    address: str
    domain: str
    state: State
    attempts: int = 0
    not_before: float = 0.0
    last_reply: str | None = None
    last_host: str | None = None
    reason: str | None = None
    delay_notified: bool = False
    changed_at: float = 0.0


class StoredMessage(Struct, frozen=True, kw_only=True):
    """A message as stored, without its body. `size` is the body in octets, `trace` not counted."""

    queue_id: QueueId
    received_at: float
    size: int
    envelope: Envelope
    client: Client
    evidence: Evidence
    trace: bytes
    recipients: tuple[RecipientRow, ...]


class Claim(Struct, frozen=True, kw_only=True):
    """Recipients of one message, of one domain, leased to us until `lease_until` (Unix time).

    `message.recipients` holds all of the message's recipients; `indexes` those that are leased, in
    order.
    `head` is the body's first chunk: all of it when `len(head) == message.size`.
    """

    message: StoredMessage
    indexes: tuple[int, ...]
    head: bytes
    lease_until: float


class Change(Struct, frozen=True, kw_only=True):
    """The new state of one recipient. `counted` says that this was an attempt with a verdict.

    A change with `delay_notified` records only that: state, attempts and the rest stay.
    """

    index: int
    state: State
    reply: str | None = None
    host: str | None = None
    reason: str | None = None
    not_before: float = 0.0
    counted: bool = True
    delay_notified: bool | None = None


class Settlement(Struct, frozen=True, kw_only=True):
    """What an attempt on one message led to, stored in one transaction.

    `report` is a DSN to queue in that same transaction (I5: a bounce is durable before, or with,
    the closing of the original). `report_body` is its text.

    `leased` is False when the caller holds no lease (expiry, delay reports): such a settlement is
    skipped whole, with its report, when one of its recipients is leased or closed by now (leased
    ones may still have their delay noted).
    """

    queue_id: QueueId
    changes: tuple[Change, ...]
    leased: bool = True
    report: NewMessage | None = None
    report_body: bytes = b""


class Lost(Struct, frozen=True, kw_only=True):
    """A lease that its holder never settled: the attempt's end is unknown."""

    queue_id: QueueId
    domain: str
    addresses: tuple[str, ...]


class DomainCount(Struct, frozen=True, kw_only=True):
    """What lies in the spool for one domain: recipients by state and the oldest arrival.

    `octets` are the bodies still to be sent; one for two recipients counts twice.
    """

    domain: str
    queued: int = 0
    leased: int = 0
    deferred: int = 0
    held: int = 0
    dead: int = 0
    octets: int = 0
    oldest: float | None = None


class Filter(Struct, frozen=True, kw_only=True):
    """Which messages: all fields given must match.

    What is said of recipients must be true of one and the same. Times are Unix times;
    `changed_before` is about the recipient's state. Addresses are compared without regard to
    (ASCII) case.
    """

    ids: tuple[QueueId, ...] | None = None
    domain: str | None = None
    states: tuple[State, ...] | None = None
    received_before: float | None = None
    received_after: float | None = None
    sender: str | None = None
    recipient: str | None = None
    changed_before: float | None = None


class DomainHold(Struct, frozen=True, kw_only=True):
    """A domain whose mail does not go out until released. New mail is still taken in."""

    domain: str
    reason: str
    by: str
    since: float


class Intake(Protocol):
    """One body on its way in. Use: `write` each piece, then `commit` or `abort`, once.

    Never holds more than a few `CHUNK`s in memory: when `write` returns an awaitable, await it
    before the next piece.
    """

    size: int

    def write(self, data: bytes) -> Awaitable[None] | None:
        """Add a piece. Returns None, or what to await before going on (back-pressure).

        Raises:
            SpoolError: from the awaitable; the intake must then be aborted.
        """

    def commit(self, message: NewMessage) -> Awaitable[Receipt]:
        """Store the message; the awaitable ends when it is durable (I1). Its recipients are queued,
        or held where `message.held` says why.

        Raises:
            SpoolError: from the awaitable; nothing of the message is kept then.
        """

    def abort(self) -> Awaitable[None] | None:
        """Forget what was written. Safe to call at any time, also after a failed commit.

        Whoever wants to `open` the same id again awaits first what is returned, if anything is.
        """


class Spool(Protocol):
    """The queue. All methods may raise `SpoolError`; `now` is Unix time in seconds."""

    def new_id(self, now: float) -> QueueId:
        """A fresh id, greater than every one before it."""

    def open(self, queue_id: QueueId) -> Intake:
        """Start taking in the body of a message."""

    async def claim(self, domain: str, *, limit: int, lease: float, now: float) -> Sequence[Claim]:
        """Lease the oldest queued messages of a domain, at most `limit`, for `lease` seconds. When
        there are fewer, there are no more now.
        """

    async def settle(self, settlements: Sequence[Settlement], *, now: float) -> Sequence[QueueId]:
        """Store the ends of attempts. When this returns they are durable (I4).

        Applies to recipients that aren't closed, also when the lease had run out. Returns the
        messages whose settlement was skipped: gone, or see `Settlement.leased`.
        """

    async def extend(self, queue_ids: Sequence[QueueId], *, lease: float, now: float) -> None:
        """Lengthen leases that we hold, for bodies that take long to send."""

    async def lost(self, *, now: float, all_leases: bool = False) -> Sequence[Lost]:
        """Leases that ran out (at start: all). Told before `recover` forgets them (I12)."""

    async def recover(self, *, now: float, all_leases: bool = False) -> None:
        """Return leases that ran out (at start: all) to the queue."""

    async def wake(self, *, now: float) -> float | None:
        """Move deferred recipients whose time has come to queued. Returns the next such time.

        It is past when there were too many for one go: then call again.
        """

    def read(self, queue_id: QueueId, start: int = 0) -> AsyncIterator[bytes]:
        """The body from octet `start` (a multiple of CHUNK), checksums verified.

        Raises:
            MessageDamaged: and the message is in quarantine.
            KeyError: no such message.
        """

    async def counts(self) -> Sequence[DomainCount]:
        """What lies here, a row a domain."""

    async def show(self, queue_id: QueueId) -> StoredMessage | None:
        """One message, or None."""

    async def select(
        self, wanted: Filter, *, after: QueueId | None = None, limit: int = 1000
    ) -> Sequence[StoredMessage]:
        """Messages in arrival order, a page at a time: give the last id of the page before."""

    async def due(
        self, *, received_before: float, limit: int = 1000, delay: bool = False
    ) -> Sequence[StoredMessage]:
        """Messages received before that time with recipients not closed, held or dead.

        With `delay`, only those that have such a recipient for whom no delay was reported yet.
        Takes ids and times of receipt to run in the same order: a message for which they don't may
        be found a little later.
        """

    async def hold(self, wanted: Filter, *, reason: str, now: float) -> int:
        """Queued and deferred recipients → held. Returns how many."""

    async def release(self, wanted: Filter, *, now: float) -> int:
        """Held, deferred and dead recipients → queued, tried at once. Returns how many."""

    async def remove(self, wanted: Filter) -> Sequence[QueueId]:
        """Delete what matches, on a named person's order (the caller logs it). Leased ones stay.

        Recipients that match are deleted; so is a message that has no other ones left that are
        not closed. Returns the messages that lost recipients.
        """

    async def hold_domain(self, hold: DomainHold) -> None:
        """Remember that a domain is held; claims are the caller's matter."""

    async def release_domain(self, domain: str) -> bool:
        """Forget it. Returns whether the domain was held."""

    async def domain_holds(self) -> Sequence[DomainHold]:
        """All held domains."""

    async def close(self) -> None:
        """Finish what was asked for, then close. No call may follow."""
