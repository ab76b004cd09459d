"""The configuration as typed values. The TOML reference page and example are made from this file.

Each field's help text, unit and default stand here once. Validation is pydantic's; the values
themselves are plain frozen dataclasses. Durations are seconds (float), sizes octets (int).
"""

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

from tideover.config.field import STRICT, doc
from tideover.config.kinds import (
    AgentUrl,
    Count,
    DomainName,
    Duration,
    File,
    Hostname,
    Level,
    Listen,
    Network,
    Percent,
    Primary,
    PublicKey,
    Resolver,
    Selector,
    Size,
    SourceName,
    Switch,
    Text,
    Timeout,
    Url,
)
from tideover.config.policy import (
    Arc,
    Clamav,
    DnsList,
    Greylist,
    Limits,
    Milter,
    Policy,
    Profile,
    Rspamd,
    Spamassassin,
)
from tideover.config.primaries import CutOff, Health, PassThrough, Trap
from tideover.config.values import Endpoint


class WhenPrimaryUp(StrEnum):
    """What a client that comes to us meets while the primary is up."""

    AUTO = "auto"
    PASS_THROUGH = "pass-through"  # noqa: S105 - not a password
    DEFER = "defer"
    ACCEPT = "accept"


class MinConfidence(StrEnum):
    """The kinds of knowledge that can be a reason to accept, the surest first."""

    LISTED = "listed"
    HASHED = "hashed"
    LEARNED = "learned"
    PATTERN = "pattern"
    CATCH_ALL = "catch-all"


class HoneypotAction(StrEnum):
    """What becomes of mail for a honeypot."""

    REJECT = "reject"
    SWALLOW = "swallow"


class SourceFormat(StrEnum):
    """How a file, an HTTP answer or a program's output is written. AUTO goes by its name."""

    AUTO = "auto"
    PLAIN = "plain"
    POSTFIX = "postfix"
    ALIASES = "aliases"
    CSV = "csv"
    PASSWD = "passwd"  # noqa: S105 - a format


class SourceMode(StrEnum):
    """FULL: the whole list is loaded now and then. LOOKUP: asked for each address."""

    FULL = "full"
    LOOKUP = "lookup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Smtp:
    """[smtp]: taking mail in."""

    __pydantic_config__ = STRICT

    listen: Annotated[
        tuple[Listen, ...],
        doc("Addresses to listen on, ADDRESS:PORT (port 0: a free one).", min_length=1),
    ] = (Endpoint("0.0.0.0", 25), Endpoint("::", 25))  # noqa: S104 - a mail server serves all
    tls_certificate: Annotated[
        File | None,
        doc("PEM file with certificate and chain, watched. Default: a self-made one in data_dir."),
    ] = None
    tls_key: Annotated[
        File | None, doc("PEM file with the key. Default: it is in tls_certificate.")
    ] = None
    proxy_protocol_from: Annotated[
        tuple[Network, ...], doc("Networks of load balancers, which must send a PROXY header.")
    ] = ()
    max_connections: Annotated[Count, doc("Connections at once, in all.", ge=1)] = 10_000
    max_connections_per_client: Annotated[
        Count, doc("Connections at once from one client network (IPv4 /32, IPv6 /64).", ge=1)
    ] = 50
    unlimited_clients: Annotated[
        tuple[Network, ...], doc("Networks to which max_connections_per_client does not apply.")
    ] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
    max_recipients: Annotated[
        Count, doc("Recipients in one transaction; RFC 5321 asks at least 100.", ge=100)
    ] = 100
    command_timeout: Annotated[
        Timeout, doc("How long to wait for the next command (RFC 5321 §4.5.3.2.7).")
    ] = 300.0
    data_timeout: Annotated[
        Timeout, doc("How long to wait for the next piece of a body (RFC 5321 §4.5.3.2.5).")
    ] = 180.0
    min_data_rate: Annotated[
        Size,
        doc("Octets a second, averaged over a body after its first minute, that a client needs."),
    ] = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Dns:
    """[dns]: how names are resolved."""

    __pydantic_config__ = STRICT

    servers: Annotated[
        tuple[Resolver, ...], doc("DNS servers, ADDRESS or ADDRESS:PORT. Default: the system's.")
    ] = ()
    timeout: Annotated[Timeout, doc("How long one look-up may take in all.")] = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """[outbound]: bringing mail home."""

    __pydantic_config__ = STRICT

    max_connections: Annotated[Count, doc("Connections to one destination at once.", ge=1)] = 20
    first_connections: Annotated[
        Count, doc("Connections to start with when a destination has come back.", ge=1)
    ] = 5
    messages_per_connection: Annotated[
        Count, doc("Messages on one connection before a new one is made.", ge=1)
    ] = 1000
    probe_interval: Annotated[
        Timeout, doc("Time between probes of a primary that is down, or of which a check failed.")
    ] = 1.0
    connect_timeout: Annotated[Timeout, doc("How long a connection may take to open.")] = 30.0
    command_timeout: Annotated[
        Timeout, doc("How long to wait for a reply to a command (RFC 5321 §4.5.3.2).")
    ] = 300.0
    data_timeout: Annotated[
        Timeout, doc("How long to wait for the reply to the final dot (RFC 5321 §4.5.3.2.6).")
    ] = 600.0
    first_backoff: Annotated[
        Timeout, doc("Delay after a message's first 4xx of its own; doubles with each.")
    ] = 60.0
    max_backoff: Annotated[Timeout, doc("The most that delay grows to.")] = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """[console]: the HTTP interface, to which primaries push their feeds."""

    __pydantic_config__ = STRICT

    listen: Annotated[Listen | None, doc("Address of the HTTP interface, ADDRESS:PORT.")] = None
    tls_certificate: Annotated[
        File | None,
        doc("PEM file with certificate and chain: serve HTTPS. Without it, loopback only."),
    ] = None
    tls_key: Annotated[
        File | None, doc("PEM file with the key. Default: it is in tls_certificate.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """[log]: the event log kept in data_dir for `tideover explain`."""

    __pydantic_config__ = STRICT

    max_size: Annotated[
        Size, doc("Octets that the event log in data_dir may take; the oldest goes first.")
    ] = 256 * 1024 * 1024
    level: Annotated[Level, doc("Least level that is written to stderr.")] = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """[sources."SOURCE"]: details of one source, under the text by which domains name it."""

    __pydantic_config__ = STRICT

    refresh: Annotated[
        Timeout | None,
        doc("Time between two loads. Default: 1s for a file, 5m otherwise; a feed says its own."),
    ] = None
    retry: Annotated[
        Timeout, doc("Time to the next try after a failed load; doubles up to refresh.")
    ] = 10.0
    timeout: Annotated[Timeout, doc("How long one load may take.")] = 300.0
    lookup_timeout: Annotated[Timeout, doc("How long one lookup may take.")] = 10.0
    expire: Annotated[
        Duration,
        doc(
            "How long after the last good load of a source in trouble its silence means 550, not "
            "450. A feed says its own."
        ),
    ] = 0.0
    format: Annotated[
        SourceFormat, doc('How the list is written; "auto" goes by its name (aliases, CSV).')
    ] = SourceFormat.AUTO
    column: Annotated[
        Text | None, doc("CSV: the column with the addresses. Default: one named like that.")
    ] = None
    max_size: Annotated[Size, doc("Largest list that is read.")] = 1024 * 1024 * 1024
    max_mistakes: Annotated[
        Percent, doc("Malformed lines, in percent, beyond which a load is refused.")
    ] = 1
    max_shrink: Annotated[
        Percent, doc("Loss of entries, in percent, beyond which an operator must agree.")
    ] = 20
    url: Annotated[
        Url | None,
        doc(
            'Where it is: "ldap://…" or "ldaps://…"; "postgresql://…", "mysql://…", "sqlite:PATH".'
        ),
    ] = None
    password_file: Annotated[
        File | None, doc("LDAP, SQL: file with the password. HTTP: with the bearer token.")
    ] = None
    ca_file: Annotated[
        File | None, doc("PEM file with the authorities to trust. Default: the system's.")
    ] = None
    mode: Annotated[
        SourceMode, doc('LDAP, SQL: load the whole list, or "lookup": ask for each address.')
    ] = SourceMode.FULL
    query: Annotated[
        Text | None,
        doc(
            "SQL: one SELECT whose first column is an address or local part. It may use :domain "
            "and, for lookups, :local and :address."
        ),
    ] = None
    starttls: Annotated[Switch, doc("LDAP: STARTTLS before anything is said.")] = False
    bind_dn: Annotated[Text | None, doc("LDAP: who we are. Default: anonymous.")] = None
    base: Annotated[Text | None, doc("LDAP: where the search begins.")] = None
    filter: Annotated[
        Text | None,
        doc(
            "LDAP: which entries; {domain}, {local} and {address} stand for their escaped values. "
            "Default: all with one of the attributes."
        ),
    ] = None
    attributes: Annotated[
        tuple[Text, ...], doc("LDAP: attributes that hold addresses.", min_length=1)
    ] = ("mail", "mailLocalAddress", "proxyAddresses")
    page_size: Annotated[Count, doc("LDAP: entries in one page (RFC 2696).", ge=1)] = 500
    max_lookups: Annotated[Count, doc("Lookups, or callouts to one primary, at once.", ge=1)] = 4
    max_rate: Annotated[Count, doc("Callouts to one primary in a minute.", ge=1)] = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Discover:
    """[discover]: domains taken in because their MX set names us, for listed owners only."""

    __pydantic_config__ = STRICT

    primary_hosts: Annotated[
        tuple[DomainName, ...],
        doc("Hosts of owners that we serve: every better MX host of a domain must be one."),
    ] = ()
    primary_networks: Annotated[
        tuple[Network, ...],
        doc("Networks of owners that we serve: every better MX host must lie in one."),
    ] = ()
    recipients: Annotated[
        tuple[SourceName, ...],
        doc("Their sources of valid recipients; as in a domain, but for feeds.", min_length=1),
    ] = ("callout", "learn")
    when_primary_up: Annotated[
        WhenPrimaryUp, doc("What to do with their mail while the primary is up; as in a domain.")
    ] = WhenPrimaryUp.AUTO
    max_domains: Annotated[Count, doc("So many are discovered at most.", ge=1)] = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """[domains."NAME"]: one domain that we back up."""

    __pydantic_config__ = STRICT

    primary: Annotated[
        Primary,
        doc(
            "Next hops in the order in which to try them, HOST or HOST:PORT (25); or each with a "
            "preference, as MX records have it (the lowest first, equals share the load): "
            '"10 HOST:PORT"; or "mx": the better MX hosts that DNS names.'
        ),
    ]
    recipients: Annotated[
        tuple[SourceName, ...],
        doc(
            'Sources of valid recipients, in the order in which they are believed: "file:PATH", '
            '"feed:PATH or URL", "feed:push", "https://…", "ldap:NAME", "sql:NAME", "command:…", '
            '"callout", "learn". "{domain}" stands for the domain. Paths are relative to the '
            "configuration file.",
            min_length=1,
        ),
    ]
    feed_signer: Annotated[
        PublicKey | None, doc("Public key whose signature a feed: source must have.")
    ] = None
    feed_key_file: Annotated[
        File | None, doc("File with the secret hash key of a feed that does not carry it itself.")
    ] = None
    feed_push_token_file: Annotated[
        File | None, doc("File with the token with which a feed may be pushed by HTTPS PUT.")
    ] = None
    min_confidence: Annotated[
        MinConfidence, doc("The least that must be known of an address to take mail for it.")
    ] = MinConfidence.CATCH_ALL
    honeypots: Annotated[
        HoneypotAction,
        doc('What a client hears for a honeypot: "reject" as if unknown, or "swallow".'),
    ] = HoneypotAction.REJECT
    profile: Annotated[
        Text, doc("Name of the [profiles] table by which mail for it is judged.")
    ] = "default"
    rspamd_settings: Annotated[
        Text | None, doc("Settings id that rspamd is given for this domain.")
    ] = None
    arc_selector: Annotated[
        Selector | None, doc("Selector of this domain's own ARC key; needs arc_key_file.")
    ] = None
    arc_key_file: Annotated[
        File | None,
        doc("PEM file with the key that seals this domain's mail (ARC)."),
    ] = None
    when_primary_up: Annotated[
        WhenPrimaryUp, doc("What to do with mail that comes while the primary is up.")
    ] = WhenPrimaryUp.AUTO
    hide_primary: Annotated[
        Switch, doc("Say the primary's replies in words of our own; the codes stay.")
    ] = False
    agent: Annotated[
        AgentUrl | None, doc("URL of the agent beside the primary, which says whom it can reach.")
    ] = None
    agent_key: Annotated[PublicKey | None, doc("Public key with which that agent signs.")] = None
    recipient_delimiter: Annotated[
        Text,
        doc('Characters that start a sub-address, as in user+detail ("": none).', max_length=8),
    ] = "+"
    message_lifetime: Annotated[
        Timeout | None, doc("Overrides the general message_lifetime for this domain.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole file."""

    __pydantic_config__ = STRICT

    hostname: Annotated[Hostname, doc("Our name in greeting, HELO and Received; in the MX set.")]
    data_dir: Annotated[File, doc("Directory for spool, event log and control socket.")]
    user: Annotated[
        Text | None, doc("User to go on as when started as root, after the ports are bound.")
    ] = None
    max_message_size: Annotated[Size, doc("Largest message taken (SIZE, RFC 1870).", ge=65536)] = (
        50 * 1024 * 1024
    )
    min_free_space: Annotated[
        Size, doc("Below this much free disk space mail is deferred with 452 4.3.1.")
    ] = 1024 * 1024 * 1024
    message_lifetime: Annotated[
        Timeout, doc("How long a message is tried before it is given up (RFC 5321 §4.5.4.1).")
    ] = 14 * 86400.0
    delay_warning: Annotated[
        Duration, doc('After this a "delayed" DSN goes to an authenticated sender; 0s: never.')
    ] = 4 * 3600.0
    dead_letter_lifetime: Annotated[Timeout, doc("How long dead letters are kept.")] = 30 * 86400.0
    domains_dir: Annotated[
        File | None,
        doc(
            "Directory with a file NAME.toml for each further domain, holding what its table would "
            "(paths in it start at this file's directory too)."
        ),
    ] = None
    domains_from: Annotated[
        SourceName | None,
        doc(
            'Where further domains are named: "https://…" (JSON or CSV) or "sql:NAME", which yield '
            "rows of domain, primary and recipients."
        ),
    ] = None
    smtp: Annotated[Smtp, doc("Taking mail in.")] = field(default_factory=Smtp)
    outbound: Annotated[Outbound, doc("Bringing mail home.")] = field(default_factory=Outbound)
    dns: Annotated[Dns, doc("How names are resolved.")] = field(default_factory=Dns)
    health: Annotated[Health, doc("How it is known whether a primary is up.")] = field(
        default_factory=Health
    )
    pass_through: Annotated[
        PassThrough, doc("Transactions that a primary which is up answers itself.")
    ] = field(default_factory=PassThrough)
    cut_off: Annotated[CutOff, doc("Clients that evidently can't reach the primary.")] = field(
        default_factory=CutOff
    )
    trap: Annotated[Trap, doc("The last MX as a trap, and the first as a wall.")] = field(
        default_factory=Trap
    )
    console: Annotated[Console, doc("The web console.")] = field(default_factory=Console)
    log: Annotated[Log, doc("The event log.")] = field(default_factory=Log)
    policy: Annotated[Policy, doc("How clients and messages are checked.")] = field(
        default_factory=Policy
    )
    profiles: Annotated[
        dict[Text, Profile],
        doc('What findings mean. Domains name one; "default" is there without being written.'),
    ] = field(default_factory=dict)
    dns_lists: Annotated[
        dict[DomainName, DnsList], doc("DNS block and welcome lists, by their zones.")
    ] = field(default_factory=dict)
    limits: Annotated[Limits, doc("How much mail is taken in a while.")] = field(
        default_factory=Limits
    )
    greylist: Annotated[Greylist, doc("Greylisting; off by default.")] = field(
        default_factory=Greylist
    )
    rspamd: Annotated[Rspamd, doc("The spam filter rspamd, by HTTP.")] = field(
        default_factory=Rspamd
    )
    clamav: Annotated[Clamav, doc("The virus scanner ClamAV.")] = field(default_factory=Clamav)
    spamassassin: Annotated[Spamassassin, doc("The spam filter SpamAssassin.")] = field(
        default_factory=Spamassassin
    )
    milters: Annotated[
        dict[Text, Milter], doc("Milters, asked in the order in which they stand here.")
    ] = field(default_factory=dict)
    arc: Annotated[Arc, doc("The ARC seal (RFC 8617) for domains without a key of their own.")] = (
        field(default_factory=Arc)
    )
    sources: Annotated[dict[SourceName, Source], doc("Details of recipient sources.")] = field(
        default_factory=dict
    )
    discover: Annotated[Discover, doc("Domains that are taken in because DNS names us.")] = field(
        default_factory=Discover
    )
    domains: Annotated[dict[DomainName, Domain], doc("The domains that we back up.")] = field(
        default_factory=dict
    )
