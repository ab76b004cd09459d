"""The types that a setting may have: how its text is checked, and how the reference names it."""

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Struct
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    Strict,
    ValidationInfo,
)

from tideover.config.findings import Action
from tideover.config.policy_values import (
    ListCode,
    RateLimit,
    SocketAddress,
    parse_actions,
    parse_check,
    parse_http_url,
    parse_list_codes,
    parse_rate,
    parse_score,
    parse_selector,
    parse_socket,
)
from tideover.config.values import (
    Endpoint,
    NamedHop,
    parse_domain,
    parse_duration,
    parse_endpoint,
    parse_hostname,
    parse_network,
    parse_primary,
    parse_public_key,
    parse_resolver,
    parse_size,
    parse_source,
    source_beside,
)


class Kind(Struct, frozen=True):
    """What the reference calls a type: `name`, and how a value is written."""

    name: str
    written: str


def _beside_file(path: Path, info: ValidationInfo) -> Path:
    """Relative paths start at the configuration file's directory, given as the context."""
    if "\0" in str(path):
        raise ValueError("a path can't hold the sign NUL")
    return Path(info.context, path) if info.context else path


def _source_beside_file(source: str, info: ValidationInfo) -> str:
    return _source(source, info.context)


@lru_cache(maxsize=4096)  # most domains of a host name the same sources
def _source(source: str, directory: str | None) -> str:
    name = parse_source(source)
    return source_beside(name, directory) if directory else name


def _url_beside_file(url: str, info: ValidationInfo) -> str:
    """`sqlite:PATH` names a file, whose path starts where all others do."""
    path = url.removeprefix("sqlite:")
    if path == url or path.startswith("/") or not info.context:
        return url
    return f"sqlite:{Path(info.context, path)}"


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
    tuple[NamedHop, ...] | None,
    PlainValidator(parse_primary),
    Kind("next hops", '["mail.example.com:25"], ["10 in1.example:25", "10 in2.example:25"], "mx"'),
]
SourceName = Annotated[
    str, AfterValidator(_source_beside_file), Kind("source", '"file:example.com.recipients"')
]
PublicKey = Annotated[
    str, AfterValidator(parse_public_key), Kind("key", "32 octets (Ed25519) in base64")
]
Switch = Annotated[bool, Strict(), Kind("switch", "true or false")]
Percent = Annotated[int, Strict(), Field(ge=0, le=100), Kind("percent", "0 to 100")]
File = Annotated[
    Path, AfterValidator(_beside_file), Kind("path", "absolute, or relative to this file")
]
Text = Annotated[str, Kind("text", '"..."')]
Url = Annotated[
    str, AfterValidator(_url_beside_file), Kind("URL", '"postgresql://db.example/mail"')
]
Level = Annotated[
    Literal["debug", "info", "warning", "error"],
    Kind("level", '"debug", "info", "warning" or "error"'),
]
Score = Annotated[float, PlainValidator(parse_score), Kind("score", "a number, as 5 or 2.5")]
Rate = Annotated[RateLimit, PlainValidator(parse_rate), Kind("rate", '"100/1h", "5/1m"')]
Socket = Annotated[
    SocketAddress,
    PlainValidator(parse_socket),
    Kind("socket", '"127.0.0.1:3310", "unix:/run/clamav/clamd.ctl"'),
]
HttpUrl = Annotated[str, AfterValidator(parse_http_url), Kind("URL", '"http://127.0.0.1:11333"')]
AgentUrl = Annotated[
    str, AfterValidator(parse_http_url), Kind("URL", '"http://mail.example.com:8025"')
]
Selector = Annotated[str, AfterValidator(parse_selector), Kind("selector", '"arc2026"')]
CheckName = Annotated[str, AfterValidator(parse_check), Kind("check", '"spf", "helo"')]
ListCodes = Annotated[
    tuple[ListCode, ...],
    PlainValidator(parse_list_codes),
    Kind("list of weights", '["127.0.0.2=8", "127.0.0.8/30=2", "&4=3", "*=0"]'),
]
Actions = Annotated[
    dict[str, Action],
    PlainValidator(parse_actions),
    Kind("table of actions", '{ spf-fail = "reject", helo-bare-ip = 2 }'),
]
