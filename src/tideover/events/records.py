"""Every happening that is worth telling, one typed record each.

The records are the product's public log format: names and fields are stable. JSON log, event store
(`tideover explain`), and later metrics and console are sinks of this one stream. Each record
gets `time` (Unix seconds) when it is made; `message` is a queue id, `session` a session id.
"""

from collections.abc import Callable
from typing import ClassVar

from msgspec import Struct, field

from tideover.events.clock import now


def _name(class_name: str) -> str:
    """`MessageAccepted` -> `message-accepted`."""
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in class_name).lstrip("-")


class Event(Struct, frozen=True, kw_only=True, tag_field="event", tag=_name, omit_defaults=True):
    """Base of all records. `level` is "debug", "info", "warning" or "error"."""

    level: ClassVar[str] = "info"

    time: float = field(default_factory=now)


EventSink = Callable[[Event], None]
"""Takes an event; returns at once and never raises."""


# The daemon


class DaemonStarted(Event, frozen=True, kw_only=True):
    """The daemon serves: listeners are open and the spool is in use."""

    version: str
    hostname: str
    listen: tuple[str, ...]
    domains: int


class DaemonStopped(Event, frozen=True, kw_only=True):
    """The daemon has stopped cleanly."""

    reason: str


class ConfigReloaded(Event, frozen=True, kw_only=True):
    """SIGHUP: the new configuration is in use. `restart_needed` names keys that wait for one."""

    domains: int
    restart_needed: tuple[str, ...] = ()


class ConfigRejected(Event, frozen=True, kw_only=True):
    """SIGHUP: the new configuration has mistakes; the running one stays."""

    level: ClassVar[str] = "error"
    errors: tuple[str, ...]


class CertificateLoaded(Event, frozen=True, kw_only=True):
    """A TLS certificate was read, or made by ourselves."""

    subject: str
    not_after: str
    self_signed: bool = False


class CertificateRejected(Event, frozen=True, kw_only=True):
    """A changed certificate file can't be used; the one in use stays."""

    level: ClassVar[str] = "error"
    reason: str


class RecipientsLoaded(Event, frozen=True, kw_only=True):
    """A recipient source was read. `domain` is "" when several use it; `mistakes` are the first
    malformed lines, which were left out, and `bad` counts all of them.
    """

    domain: str
    source: str
    addresses: int
    mistakes: tuple[str, ...] = ()
    bad: int = 0


class RecipientsFailed(Event, frozen=True, kw_only=True):
    """A recipient source can't be read; the last good list stays (or none was ever read)."""

    level: ClassVar[str] = "error"
    domain: str
    source: str
    reason: str


class OperatorActed(Event, frozen=True, kw_only=True):
    """A named person changed something by the control socket."""

    by: str
    action: str
    what: str
    count: int


class EventsDropped(Event, frozen=True, kw_only=True):
    """A sink (stderr, store) could not take events for a while; `count` are missing there."""

    level: ClassVar[str] = "warning"
    sink: str
    count: int
    reason: str


# Sessions


class SessionOpened(Event, frozen=True, kw_only=True):
    """A client connected."""

    level: ClassVar[str] = "debug"
    session: str
    client: str
    port: int
    listener: str


class SessionClosed(Event, frozen=True, kw_only=True):
    """A session ended. `reason`: quit, eof, timeout, too-slow, junk, shutdown, protocol."""

    level: ClassVar[str] = "debug"
    session: str
    client: str
    reason: str
    seconds: float
    accepted: int = 0
    refused: int = 0
    honeypots: int = 0


class ConnectionRefused(Event, frozen=True, kw_only=True):
    """A client was turned away before the greeting: too many connections, bad PROXY header."""

    level: ClassVar[str] = "warning"
    client: str
    reason: str


class TlsFailed(Event, frozen=True, kw_only=True):
    """A client's STARTTLS handshake failed."""

    session: str
    client: str
    reason: str


class CommandRefused(Event, frozen=True, kw_only=True):
    """A MAIL or RCPT was refused. `reason` says why, for the operator."""

    session: str
    client: str
    command: str
    sender: str | None = None
    recipient: str | None = None
    reply: str
    reason: str


class MessageRefused(Event, frozen=True, kw_only=True):
    """A message was refused or deferred at its end of data."""

    session: str
    client: str
    message: str
    sender: str
    recipients: tuple[str, ...]
    reply: str
    reason: str


class MessageAccepted(Event, frozen=True, kw_only=True):
    """Our 250: the message is durable and in our custody."""

    message: str
    session: str
    client: str
    helo: str
    protocol: str
    sender: str
    recipients: tuple[str, ...]
    size: int
    tls: str | None = None


# Going home


class PrimaryChanged(Event, frozen=True, kw_only=True):
    """A destination changed its state (up, down, recovering). `domains`: some that it serves."""

    destination: str
    before: str
    after: str
    reason: str
    domains: tuple[str, ...] = ()


class RouteChanged(Event, frozen=True, kw_only=True):
    """The next hops of a domain changed."""

    domain: str
    before: tuple[str, ...]
    after: tuple[str, ...]


class RouteTrouble(Event, frozen=True, kw_only=True):
    """A domain has no route; its mail is kept."""

    level: ClassVar[str] = "warning"
    domain: str
    trouble: str
    text: str


class Delivered(Event, frozen=True, kw_only=True):
    """The next hop's 250: custody has passed on. `waited` is seconds since our 250."""

    message: str
    domain: str
    recipients: tuple[str, ...]
    host: str
    reply: str
    waited: float
    tls: str | None = None


class DeliveryDeferred(Event, frozen=True, kw_only=True):
    """The next hop said "later" to these recipients, or the connection failed."""

    message: str
    domain: str
    recipients: tuple[str, ...]
    host: str
    reply: str
    next_attempt: float | None = None


class DeliveryRefused(Event, frozen=True, kw_only=True):
    """The next hop said "never" to these recipients (or lacks what the message needs).

    `stage` is what it answered: "MAIL", "RCPT", "DATA" or "BODY"; None when it was not asked.
    """

    level: ClassVar[str] = "warning"
    message: str
    domain: str
    recipients: tuple[str, ...]
    host: str
    reply: str
    stage: str | None = None


class DeliveryUnknown(Event, frozen=True, kw_only=True):
    """An attempt's end is unknown: lost after the final dot, or by our own death. It is tried
    again, so it may arrive twice.
    """

    level: ClassVar[str] = "warning"
    message: str
    domain: str
    recipients: tuple[str, ...]
    host: str
    reason: str


class Bounced(Event, frozen=True, kw_only=True):
    """A DSN for these recipients was queued, as message `report`."""

    message: str
    recipients: tuple[str, ...]
    report: str
    kind: str


class DeadLettered(Event, frozen=True, kw_only=True):
    """These recipients went to dead letters: kept, listed, restorable."""

    level: ClassVar[str] = "warning"
    message: str
    recipients: tuple[str, ...]
    reason: str


class DeadLetterExpired(Event, frozen=True, kw_only=True):
    """A dead letter reached `dead_letter_lifetime` and was removed, as configured."""

    level: ClassVar[str] = "warning"
    message: str
    sender: str
    recipients: tuple[str, ...]


# The spool


class SpoolTrouble(Event, frozen=True, kw_only=True):
    """The spool can't take mail now; clients get 4xx until `spool-recovered`."""

    level: ClassVar[str] = "error"
    reason: str


class SpoolRecovered(Event, frozen=True, kw_only=True):
    """The spool takes mail again."""

    seconds: float


class MessageDamaged(Event, frozen=True, kw_only=True):
    """A stored message fails its checksum; what is left of it is kept in quarantine."""

    level: ClassVar[str] = "error"
    message: str
    reason: str


class SpoolSalvaged(Event, frozen=True, kw_only=True):
    """The spool's database was damaged: set aside whole, and what could be read was copied."""

    level: ClassVar[str] = "error"
    reason: str
    set_aside: str
    copied: int
    quarantined: int
    lost: int


# Honeypots


class HoneypotHit(Event, frozen=True, kw_only=True):
    """A client named a honeypot as a recipient; `source` says that it is one."""

    session: str
    client: str
    sender: str
    recipient: str
    source: str


class MessageSwallowed(Event, frozen=True, kw_only=True):
    """A message was for honeypots alone, and the operator has such mail swallowed: the client was
    told 250, and nothing is kept.
    """

    session: str
    client: str
    message: str
    sender: str
    recipients: tuple[str, ...]
    size: int


# What is learned of addresses


class AddressesTrouble(Event, frozen=True, kw_only=True):
    """The file with what was learned of addresses can't be used now; mail goes on."""

    level: ClassVar[str] = "warning"
    reason: str


class AddressesDamaged(Event, frozen=True, kw_only=True):
    """The file with what was learned of addresses was damaged: set aside, a new one was begun."""

    level: ClassVar[str] = "error"
    reason: str
    set_aside: str


class CalloutsRefused(Event, frozen=True, kw_only=True):
    """The primary won't be asked: it refuses the null sender, or us. Told once until it answers."""

    level: ClassVar[str] = "warning"
    domain: str
    host: str
    reply: str


class CatchAllFound(Event, frozen=True, kw_only=True):
    """The primary takes an address that nobody has: callouts say nothing about this domain's."""

    level: ClassVar[str] = "warning"
    domain: str
    reply: str


# Following the DNS


class MxChanged(Event, frozen=True, kw_only=True):
    """The MX set of a domain changed. Hosts are written like "10 mail.example.com"; `serial` is of
    the zone's SOA record, None when DNS did not say it.
    """

    domain: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    reordered: tuple[str, ...] = ()
    before: tuple[str, ...]
    after: tuple[str, ...]
    serial: int | None = None


class MxAlarm(Event, frozen=True, kw_only=True):
    """The MX set of a domain can't be followed as it is. Its mail is kept. `problem` is "best",
    "alone", "missing", "vanished", "unresolved" or "null-mx". Told once while it lasts.
    """

    level: ClassVar[str] = "error"
    domain: str
    problem: str
    text: str


class MxAlarmCleared(Event, frozen=True, kw_only=True):
    """What the alarm was about is over; it lasted so many seconds."""

    domain: str
    problem: str
    seconds: float


class DnsTrouble(Event, frozen=True, kw_only=True):
    """DNS answers for so many domains no more that it is likely DNS itself, or our way to it.
    Further domains raise no alarm of their own until `dns-recovered`.
    """

    level: ClassVar[str] = "error"
    domains: int
    text: str


class DnsRecovered(Event, frozen=True, kw_only=True):
    """DNS answers again for most domains."""

    domains: int


class DomainDiscovered(Event, frozen=True, kw_only=True):
    """A domain that is not in the configuration is taken in: its MX set names us behind an owner
    that is listed.
    """

    domain: str
    hosts: tuple[str, ...]


class DomainLost(Event, frozen=True, kw_only=True):
    """A discovered domain is ours no more; what is queued for it is still delivered."""

    level: ClassVar[str] = "warning"
    domain: str
    reason: str


class DiscoveryFull(Event, frozen=True, kw_only=True):
    """So many domains are discovered already that no further one is taken in."""

    level: ClassVar[str] = "error"
    domain: str
    most: int


class RouteMemoryTrouble(Event, frozen=True, kw_only=True):
    """What is remembered of DNS can't be read or written; the service goes on without it."""

    level: ClassVar[str] = "error"
    reason: str


# The HTTP interface


class FeedPushed(Event, frozen=True, kw_only=True):
    """A primary pushed its feed, and it is in use. `changed`: its entries are other ones now."""

    domain: str
    client: str
    entries: int
    changed: bool


class FeedPushRefused(Event, frozen=True, kw_only=True):
    """A pushed feed was refused, or its sender had no right to push (`status` 401: told once for
    a client, and when it is not listened to any more). `status` is the HTTP status.
    """

    level: ClassVar[str] = "warning"
    domain: str
    client: str
    status: int
    reason: str


# Domains


class DomainFilesBroken(Event, frozen=True, kw_only=True):
    """Files in domains_dir can't be used. `kept` of their domains go on with what they had; mail
    for `held` others, which had nothing, is deferred. All other domains are served.
    """

    level: ClassVar[str] = "error"
    files: int
    kept: int
    held: int
    errors: tuple[str, ...]


class DomainListLoaded(Event, frozen=True, kw_only=True):
    """The list of domains was read anew. `bad` of them can't be used, for the reasons in
    `mistakes` (the first ones): they keep what they had, or are deferred.
    """

    level: ClassVar[str] = "info"
    source: str
    domains: int
    added: int
    removed: int
    bad: int = 0
    mistakes: tuple[str, ...] = ()


class DomainListTrouble(Event, frozen=True, kw_only=True):
    """The list of domains can't be used as it is now; the last good one, of `domains`, stays."""

    level: ClassVar[str] = "warning"
    source: str
    domains: int
    reason: str
