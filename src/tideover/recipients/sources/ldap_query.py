"""What is asked of a directory, and which addresses its answers hold. Values only, no network.

Filters are RFC 4515; what a client wrote reaches one only escaped. Addresses are taken as
`mail`, `mailLocalAddress` and Active Directory's `proxyAddresses` hold them: "smtp:" and "SMTP:"
in front go, values of other kinds (x500:, sip:) are no addresses.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from tideover.config.model import Source
from tideover.recipients.sources.interface import SourceError

_PORTS: Final = {"ldap": 389, "ldaps": 636}
_PLACE: Final = re.compile(r"\{(domain|local|address)\}")
_SPECIAL: Final = re.compile(r"[\\*()\0]")
_ATTRIBUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9-]*):(.*)", re.DOTALL)
# Active Directory names these at the root of each domain; no mailbox lies there.
_NO_MAILBOXES: Final = ("cn=configuration,", "dc=domaindnszones,", "dc=forestdnszones,")


class Server(Struct, frozen=True, kw_only=True):
    """Where to connect to."""

    host: str
    port: int
    tls: bool
    starttls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'ldaps' if self.tls else 'ldap'}://{host}:{self.port}"


def server_of(settings: Source) -> Server:
    """The server that the settings name.

    Raises:
        SourceError: they do not say all that is needed, or contradict each other.
    """
    scheme, host, port = _parts(settings.url or "")
    if scheme == "ldaps" and settings.starttls:
        raise SourceError("starttls: ldaps:// begins with TLS; use ldap:// with starttls")
    if settings.base is None:
        raise SourceError('base: needs where to search, like "dc=example,dc=com"')
    if (settings.bind_dn is None) != (settings.password_file is None):
        # RFC 4513 §5.1.2: a name without password binds as nobody, and seems to work
        raise SourceError("bind_dn and password_file: one needs the other")
    return Server(
        host=host,
        port=port or _PORTS[scheme],
        tls=scheme == "ldaps",
        starttls=settings.starttls,
    )


def _parts(text: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of an URL that says no more than these."""
    try:
        url = urlsplit(text)
        more = url.username or url.path.strip("/") or url.query or url.fragment
        if url.hostname and url.scheme in _PORTS and not more:
            return url.scheme, url.hostname, url.port
    except ValueError:
        pass
    raise SourceError('url: needs "ldap://HOST", "ldaps://HOST" or either with ":PORT"')


def escape(value: str) -> str:
    """A value as it stands in a filter (RFC 4515 §3)."""
    return _SPECIAL.sub(lambda match: f"\\{ord(match[0]):02x}", value)


def full_filter(settings: Source, domain: str | None) -> str:
    """The filter for all entries.

    Raises:
        SourceError: it has places that can't be filled.
    """
    if settings.filter is None:
        return _any([f"({name}=*)" for name in attributes_of(settings)])
    return _filled(settings.filter, {"domain": domain}, "filter")


def lookup_filter(settings: Source, local: str, domain: str) -> str:
    """The filter for the entries that have one address.

    Raises:
        SourceError: as `full_filter`; or it would ask the same for each address.
    """
    address = f"{local}@{domain}"
    if settings.filter is not None:
        if not re.search(r"\{(local|address)\}", settings.filter):
            raise SourceError("filter: a lookup needs {address} or {local} in it")
        return _filled(
            settings.filter, {"local": local, "domain": domain, "address": address}, "filter"
        )
    forms = []
    for name in attributes_of(settings):
        schemes = ("smtp:", "SMTP:") if name.lower() == "proxyaddresses" else ("",)
        forms += [f"({name}={scheme}{escape(address)})" for scheme in schemes]
    return _any(forms)


def base_of(settings: Source, domain: str | None) -> str:
    """Where the search begins. A domain in A-labels needs no escaping in a DN (RFC 4514)."""
    return _filled(settings.base or "", {"domain": domain}, "base")


def attributes_of(settings: Source) -> Sequence[str]:
    """The attributes to ask for.

    Raises:
        SourceError: one is no attribute's name.
    """
    for name in settings.attributes:
        if not _ATTRIBUTE.fullmatch(name):
            raise SourceError(f"attributes: {name!r} is no attribute's name")
    return settings.attributes


def address_in(value: str) -> str | None:
    """The address or local part that a value holds, or None when it is of another kind."""
    if match := _SCHEME.fullmatch(value):
        return match[2] if match[1].lower() == "smtp" else None
    return value


def leaves_gap(reference: str) -> bool:
    """Whether mailboxes may lie where a server refers us to (RFC 4511 §4.5.3)."""
    try:
        name = urlsplit(reference).path.lstrip("/").lower()
    except ValueError:
        return True
    return not name.startswith(_NO_MAILBOXES)


def _any(forms: Sequence[str]) -> str:
    return f"(|{''.join(forms)})"


def _filled(text: str, values: Mapping[str, str | None], what: str) -> str:
    """All places filled at once, so that no value is searched for places itself."""

    def value(match: re.Match[str]) -> str:
        filling = values.get(match[1])
        if filling is None:
            raise SourceError(f"{what}: {match[0]} has no meaning here")
        return escape(filling)

    return _PLACE.sub(value, text)
