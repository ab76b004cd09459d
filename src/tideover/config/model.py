"""The configuration as typed values. The TOML reference page and example are made from this file.

Each field's help text, unit and default stand here once. Validation is pydantic's; the values
themselves are plain frozen dataclasses. Durations are seconds (float), sizes octets (int).
"""

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from os.path import join
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Struct
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    Strict,
    ValidationInfo,
)

from tideover.config.values import (
    Endpoint,
    parse_domain,
    parse_duration,
    parse_endpoint,
    parse_hostname,
    parse_network,
    parse_primary,
    parse_resolver,
    parse_size,
    parse_source,
)


class Kind(Struct, frozen=True):
    """What the reference calls a type: `name`, and how a value is written."""

    name: str
    written: str


def _beside_file(path: Path, info: ValidationInfo) -> Path:
    """Relative paths start at the configuration file's directory, given as the context."""
    return Path(info.context, path) if info.context else path


def _source_beside_file(source: str, info: ValidationInfo) -> str:
    kind, _, path = parse_source(source).partition(":")
    return f"{kind}:{join(info.context, path)}" if info.context else source


Duration = Annotated[
    float, BeforeValidator(parse_duration), Kind("duration", '"500ms", "30s", "5m", "4h", "14d"')
]
Timeout = Annotated[Duration, Field(gt=0)]
Size = Annotated[
    int, BeforeValidator(parse_size), Kind("size", '"64KiB", "50MiB", "1GiB" or octets')
]
Count = Annotated[int, Strict(), Kind("number", "a whole number")]
Listen = Annotated[
    Endpoint, PlainValidator(parse_endpoint), Kind("address", '"127.0.0.1:25", "[::1]:25"')
]
Resolver = Annotated[
    Endpoint, PlainValidator(parse_resolver), Kind("address", '"192.0.2.53", "127.0.0.1:5353"')
]
Network = Annotated[
    IPv4Network | IPv6Network,
    PlainValidator(parse_network),
    Kind("network", '"10.0.0.0/8", "2001:db8::/32", one address'),
]
Hostname = Annotated[str, AfterValidator(parse_hostname), Kind("host name", '"mx2.example.org"')]
DomainName = Annotated[str, AfterValidator(parse_domain), Kind("domain", '"example.com"')]
Primary = Annotated[
    tuple[Endpoint, ...] | None,
    PlainValidator(parse_primary),
    Kind("next hops", '["mail.example.com:25"] or "mx"'),
]
Source = Annotated[
    str, AfterValidator(_source_beside_file), Kind("source", '"file:example.com.recipients"')
]
File = Annotated[
    Path, AfterValidator(_beside_file), Kind("path", "absolute, or relative to this file")
]
Text = Annotated[str, Kind("text", '"..."')]
Level = Annotated[
    Literal["debug", "info", "warning", "error"],
    Kind("level", '"debug", "info", "warning" or "error"'),
]

_STRICT = ConfigDict(extra="forbid", frozen=True)


def _doc(text: str, **kwargs: Any) -> Any:  # noqa: ANN401 - as Field itself
    return Field(description=text, **kwargs)


class WhenPrimaryUp(StrEnum):
    """What a client that comes to us meets while the primary is up (used by the policy stage)."""

    AUTO = "auto"
    PASS_THROUGH = "pass-through"  # noqa: S105 - not a password
    DEFER = "defer"
    ACCEPT = "accept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Smtp:
    """[smtp]: taking mail in."""

    __pydantic_config__ = _STRICT

    listen: Annotated[
        tuple[Listen, ...],
        _doc("Addresses to listen on, ADDRESS:PORT (port 0: a free one).", min_length=1),
    ] = (Endpoint("0.0.0.0", 25), Endpoint("::", 25))  # noqa: S104 - a mail server serves all
    tls_certificate: Annotated[
        File | None,
        _doc(
            "PEM file with certificate and chain; re-read when it changes. "
            "Default: a self-made one in data_dir."
        ),
    ] = None
    tls_key: Annotated[
        File | None, _doc("PEM file with the key. Default: it is in tls_certificate.")
    ] = None
    proxy_protocol_from: Annotated[
        tuple[Network, ...],
        _doc("Networks of load balancers that must send a PROXY protocol v1 or v2 header."),
    ] = ()
    max_connections: Annotated[Count, _doc("Connections at once, in all.", ge=1)] = 10_000
    max_connections_per_client: Annotated[
        Count, _doc("Connections at once from one client network (IPv4 /32, IPv6 /64).", ge=1)
    ] = 50
    unlimited_clients: Annotated[
        tuple[Network, ...], _doc("Networks to which max_connections_per_client does not apply.")
    ] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
    max_recipients: Annotated[
        Count, _doc("Recipients in one transaction; RFC 5321 asks at least 100.", ge=100)
    ] = 100
    command_timeout: Annotated[
        Timeout, _doc("How long to wait for the next command (RFC 5321 §4.5.3.2.7).")
    ] = 300.0
    data_timeout: Annotated[
        Timeout, _doc("How long to wait for the next piece of a body (RFC 5321 §4.5.3.2.5).")
    ] = 180.0
    min_data_rate: Annotated[
        Size,
        _doc(
            "Octets a second, averaged over a body after its first minute, below which a "
            "client is cut off."
        ),
    ] = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Dns:
    """[dns]: how names are resolved."""

    __pydantic_config__ = _STRICT

    servers: Annotated[
        tuple[Resolver, ...], _doc("DNS servers, ADDRESS or ADDRESS:PORT. Default: the system's.")
    ] = ()
    timeout: Annotated[Timeout, _doc("How long one look-up may take in all.")] = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """[outbound]: bringing mail home."""

    __pydantic_config__ = _STRICT

    max_connections: Annotated[Count, _doc("Connections to one destination at once.", ge=1)] = 20
    first_connections: Annotated[
        Count, _doc("Connections to start with when a destination has come back.", ge=1)
    ] = 5
    messages_per_connection: Annotated[
        Count, _doc("Messages on one connection before a new one is made.", ge=1)
    ] = 1000
    probe_interval: Annotated[
        Timeout, _doc("Time between probes of a primary that is down and for which mail waits.")
    ] = 1.0
    idle_probe_interval: Annotated[
        Timeout, _doc("The most that it grows to while no mail waits.")
    ] = 30.0
    connect_timeout: Annotated[Timeout, _doc("How long a connection may take to open.")] = 30.0
    command_timeout: Annotated[
        Timeout, _doc("How long to wait for a reply to a command (RFC 5321 §4.5.3.2).")
    ] = 300.0
    data_timeout: Annotated[
        Timeout, _doc("How long to wait for the reply to the final dot (RFC 5321 §4.5.3.2.6).")
    ] = 600.0
    first_backoff: Annotated[
        Timeout, _doc("Delay after a message's first 4xx of its own; doubles with each.")
    ] = 60.0
    max_backoff: Annotated[Timeout, _doc("The most that delay grows to.")] = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """[console]: the web console's address. Read and checked; it is served by a later release."""

    __pydantic_config__ = _STRICT

    listen: Annotated[Listen | None, _doc("Address of the web console, ADDRESS:PORT.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """[log]: the event log kept in data_dir for `tideover explain`."""

    __pydantic_config__ = _STRICT

    max_size: Annotated[
        Size, _doc("Octets that the event log in data_dir may take; the oldest goes first.")
    ] = 256 * 1024 * 1024
    level: Annotated[Level, _doc("Least level that is written to stderr.")] = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """[domains."NAME"]: one domain that we back up."""

    __pydantic_config__ = _STRICT

    primary: Annotated[
        Primary,
        _doc(
            'Next hops in the order of preference, HOST or HOST:PORT (25), or "mx": the better '
            "MX hosts that DNS names."
        ),
    ]
    recipients: Annotated[
        tuple[Source, ...],
        _doc(
            'Sources of valid recipients: "file:PATH", relative to the configuration file.',
            min_length=1,
        ),
    ]
    when_primary_up: Annotated[
        WhenPrimaryUp, _doc("What to do with mail that comes while the primary is up.")
    ] = WhenPrimaryUp.AUTO
    recipient_delimiter: Annotated[
        Text,
        _doc('Characters that start a sub-address, as in user+detail ("": none).', max_length=8),
    ] = "+"
    message_lifetime: Annotated[
        Timeout | None, _doc("Overrides the general message_lifetime for this domain.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole file."""

    __pydantic_config__ = _STRICT

    hostname: Annotated[Hostname, _doc("Our name in greeting, HELO and Received; in the MX set.")]
    data_dir: Annotated[File, _doc("Directory for spool, event log and control socket.")]
    user: Annotated[
        Text | None, _doc("User to go on as when started as root, after the ports are bound.")
    ] = None
    max_message_size: Annotated[Size, _doc("Largest message taken (SIZE, RFC 1870).", ge=65536)] = (
        50 * 1024 * 1024
    )
    min_free_space: Annotated[
        Size, _doc("Below this much free disk space mail is deferred with 452 4.3.1.")
    ] = 1024 * 1024 * 1024
    message_lifetime: Annotated[
        Timeout, _doc("How long a message is tried before it is given up (RFC 5321 §4.5.4.1).")
    ] = 14 * 86400.0
    delay_warning: Annotated[
        Duration, _doc('After this a "delayed" DSN goes to an authenticated sender; 0s: never.')
    ] = 4 * 3600.0
    dead_letter_lifetime: Annotated[Timeout, _doc("How long dead letters are kept.")] = 30 * 86400.0
    smtp: Annotated[Smtp, _doc("Taking mail in.")] = field(default_factory=Smtp)
    outbound: Annotated[Outbound, _doc("Bringing mail home.")] = field(default_factory=Outbound)
    dns: Annotated[Dns, _doc("How names are resolved.")] = field(default_factory=Dns)
    console: Annotated[Console, _doc("The web console.")] = field(default_factory=Console)
    log: Annotated[Log, _doc("The event log.")] = field(default_factory=Log)
    domains: Annotated[dict[DomainName, Domain], _doc("The domains that we back up.")] = field(
        default_factory=dict
    )
