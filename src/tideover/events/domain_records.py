"""Happenings with domains: which are ours, and where DNS says that their homes are."""

from typing import ClassVar

from tideover.events.event import Event


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
