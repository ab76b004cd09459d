"""Happenings with the daemon itself, with sessions of clients, and with the spool."""

from typing import ClassVar

from tideover.events.event import Event

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
    """Our 250: the message is durable and in our custody. `held` says why it does not go home."""

    message: str
    session: str
    client: str
    helo: str
    protocol: str
    sender: str
    recipients: tuple[str, ...]
    size: int
    tls: str | None = None
    held: str | None = None


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
