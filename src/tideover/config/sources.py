"""What is wrong between the settings of recipient sources and the domains that name them.

A source is named in a domain by its text; `[sources."TEXT"]` holds its details. Each kind takes
some of them and needs some.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from tideover.config.document import Location
from tideover.config.model import Config, Domain, Source, SourceMode
from tideover.config.values import is_loopback_url, source_kind, source_rest

Trouble = tuple[Location, str]
"""Where it is, and what."""

_LOADED: Final = frozenset({"refresh", "retry", "timeout", "expire", "max_size", "max_shrink"})
_LINES: Final = frozenset({"format", "column", "max_mistakes"})
_NET: Final = frozenset({"password_file", "ca_file"})
_ASKED: Final = frozenset({"lookup_timeout", "max_lookups"})
_TAKES: Final = {
    "file": _LOADED | _LINES,
    "feed": _LOADED | _NET,
    "http": _LOADED | _LINES | _NET,
    "https": _LOADED | _LINES | _NET,
    "command": _LOADED | _LINES,
    "sql": _LOADED | _NET | _ASKED | {"max_mistakes", "url", "mode", "query"},
    "ldap": _LOADED | _NET | _ASKED | {"max_mistakes", "url", "mode", "starttls", "bind_dn"}
    | {"base", "filter", "attributes", "page_size"},
    "callout": _ASKED | {"max_rate"},
    "learn": frozenset[str](),
}  # fmt: skip
_URLS: Final = {
    "sql": ("postgresql://", "mysql://", "mariadb://", "sqlite:"),
    "ldap": ("ldap://", "ldaps://"),
}
_GET_SIGNER: Final = (
    "a feed needs feed_signer: the public key that `tideover recipients export` prints where the "
    "feed is made"
)
_NO_DETAILS: Final = Source()


class SourceRules:
    """The rules for the sources of one configuration, of which its main part is valid."""

    def __init__(self, config: Config) -> None:
        self._sources = config.sources
        self._listens = config.console.listen is not None
        # a host of 100,000 domains has few sources that need details, and asks for each again
        self._unusable = lru_cache(maxsize=1024)(self._why_unusable)

    def broken_by(self, domain: Domain) -> Iterator[Trouble]:
        """What is wrong with the sources of a domain; where, counted from its table."""
        kinds = [source_kind(source) for source in domain.recipients]
        for index, (source, kind) in enumerate(zip(domain.recipients, kinds, strict=True)):
            if source in domain.recipients[:index]:
                yield ("recipients", index), f"{source} is there twice"
            elif kind in _NEEDY and (why := self._unusable(source)):
                yield ("recipients", index), why
        if "feed" not in kinds:
            return
        if domain.feed_signer is None:
            yield ("recipients", kinds.index("feed")), _GET_SIGNER
        if "feed:push" in domain.recipients:
            yield from self._broken_push(domain)

    def _broken_push(self, domain: Domain) -> Iterator[Trouble]:
        at = "recipients", domain.recipients.index("feed:push")
        if domain.feed_push_token_file is None:
            yield at, "a pushed feed needs feed_push_token_file, a file with a secret of your own"
        if not self._listens:
            yield at, "a feed is pushed over HTTP: set console.listen"

    def broken_in(self, sources: Sequence[str]) -> Iterator[tuple[int, str]]:
        """What is wrong with sources named outside of a domain, by their index."""
        for index, source in enumerate(sources):
            if source_kind(source) == "feed":
                yield index, "a feed belongs to a domain of its own, whose table holds its signer"
            elif why := self._unusable(source):
                yield index, why

    def _why_unusable(self, source: str) -> str | None:
        """Why a source that is named can't be used, whatever its domain is."""
        kind, details = source_kind(source), self._sources.get(source, _NO_DETAILS)
        if kind in ("ldap", "sql") and source not in self._sources:
            wanted = "url and query" if kind == "sql" else "url and base"
            return f'its details are missing: add [sources."{source}"] with {wanted}'
        url = source_rest(source) if kind == "feed" else source
        if details.password_file and url.startswith("http:") and not is_loopback_url(url):
            return "its token would travel in clear: use https:, or leave password_file out"
        return None


_NEEDY: Final = frozenset({"ldap", "sql", "http", "feed"})
"""Kinds of which the text alone does not tell that they can be used."""


def broken_details(name: str, given: Iterable[str], details: Source) -> Iterator[tuple[str, str]]:
    """What is wrong with `[sources."NAME"]`: the key and the reason. `given`: keys in the file."""
    kind = source_kind(name)
    takes = _TAKES[kind]
    for key in given:
        if key not in takes:
            hint = f"it takes {', '.join(sorted(takes))}" if takes else "it takes no settings"
            yield key, f'it has no meaning for a source of the kind "{kind}"; {hint}'
    if kind in _URLS:
        yield from _broken_address(kind, details)
    if kind == "sql":
        yield from _broken_query(details)
    if kind == "ldap":
        yield from _broken_search(details)


def _broken_address(kind: str, details: Source) -> Iterator[tuple[str, str]]:
    forms = ", ".join(f'"{form}…"' for form in _URLS[kind])
    if details.url is None:
        yield "", f'url is required for a source of the kind "{kind}": {forms}'
    elif not details.url.startswith(_URLS[kind]):
        yield "url", f"it begins with one of {forms}"


def _broken_query(details: Source) -> Iterator[tuple[str, str]]:
    if details.query is None:
        yield "", 'query is required for a source of the kind "sql": one SELECT'
        return
    asks = ":local" in details.query or ":address" in details.query
    if details.mode is SourceMode.LOOKUP and not asks:
        yield "query", "a lookup must ask for one address: use :address, or :local and :domain"
    if details.mode is SourceMode.FULL and asks:
        yield "query", 'it asks for one address, which only mode = "lookup" can do'


def _broken_search(details: Source) -> Iterator[tuple[str, str]]:
    if details.base is None:
        yield "", 'base is required for a source of the kind "ldap", like "dc=example,dc=com"'
    if details.starttls and (details.url or "").startswith("ldaps:"):
        yield "starttls", "ldaps:// is encrypted from the start: leave starttls out"
    if details.password_file is not None and details.bind_dn is None:
        yield "password_file", "a password needs bind_dn too"
    asks = "{local}" in (details.filter or "") or "{address}" in (details.filter or "")
    if details.mode is SourceMode.FULL and asks:
        yield "filter", 'it asks for one address, which only mode = "lookup" can do'
    if details.mode is SourceMode.LOOKUP and details.filter is not None and not asks:
        yield "filter", "a lookup must ask for one address: use {address} or {local}"


def broken_list_of_domains(config: Config, rules: SourceRules) -> Iterator[str]:
    """What is wrong with `domains_from`."""
    source = config.domains_from
    if source is None:
        return
    if source_kind(source) not in ("https", "http", "sql"):
        yield 'a list of domains is at "https://…", or "sql:NAME" with its query'
    elif "{domain}" in source:
        yield '"{domain}" has no meaning here, where the domains come from'
    elif source.startswith("http:") and not is_loopback_url(source):
        yield "over plain http: anybody on the way could take our mail: use https:"
    elif why := next((why for _, why in rules.broken_in([source])), None):
        yield why
    elif config.sources.get(source, _NO_DETAILS).mode is SourceMode.LOOKUP:
        yield "it is loaded as a whole: leave mode out of its table"
