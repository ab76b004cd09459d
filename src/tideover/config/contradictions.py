"""What is wrong between settings, or with this machine, and will not get right by itself."""

import pwd
from collections.abc import Iterator
from ipaddress import ip_address

from tideover.config.document import Table
from tideover.config.mistakes import Flaw
from tideover.config.model import Config
from tideover.config.own_addresses import shared
from tideover.config.policy_rules import broken_policy
from tideover.config.sources import (
    SourceRules,
    Trouble,
    broken_details,
    broken_list_of_domains,
)
from tideover.config.values import parse_domain, source_beside

# A unix socket's address has 107 octets; "/control.sock" and a spare come off (control.server).
_LONGEST_DATA_DIR = 90


def contradictions(config: Config, table: Table, base: str, rules: SourceRules) -> Iterator[Flaw]:
    """The flaws of a configuration's main part; `table` is the same as it was written.

    Those of its domains are `SourceRules.broken_by`.
    """
    for part in (_smtp, shared, _console, _machine, _outbound, _cut_off, broken_policy):
        for at, allowed in part(config):
            yield Flaw(at=at, allowed=allowed)
    yield from _sources(config, table, base)
    yield from _dns_lists(table)
    for index, allowed in rules.broken_in(config.discover.recipients):
        if "discover" in table:
            yield Flaw(at=("discover", "recipients", index), allowed=allowed)
    for allowed in broken_list_of_domains(config, rules):
        yield Flaw(at=("domains_from",), allowed=allowed)


def _smtp(config: Config) -> Iterator[Trouble]:
    if config.smtp.tls_key and not config.smtp.tls_certificate:
        yield ("smtp", "tls_key"), "a key alone is of no use: set smtp.tls_certificate too"


def _console(config: Config) -> Iterator[Trouble]:
    console = config.console
    if console.tls_key and not console.tls_certificate:
        yield ("console", "tls_key"), "a key alone is of no use: set console.tls_certificate too"
    if console.listen is None or console.tls_certificate is not None:
        return
    if not ip_address(console.listen.host).is_loopback:
        reason = "tokens and lists would travel in clear"
        yield (
            ("console", "listen"),
            f"without console.tls_certificate only a loopback address, as 127.0.0.1: {reason}",
        )


def _cut_off(config: Config) -> Iterator[Trouble]:
    if config.cut_off.remember <= config.cut_off.after:
        reason = "or nobody comes again in time"
        yield ("cut_off", "remember"), f"it must be longer than cut_off.after, {reason}"


def _machine(config: Config) -> Iterator[Trouble]:
    if config.user is not None and not _user_exists(config.user):
        yield ("user",), f'this machine has no user "{config.user}": create it, or name another'
    if len(str(config.data_dir).encode()) > _LONGEST_DATA_DIR:
        reason = "the control socket lies in it, and the system bounds the names of sockets"
        yield ("data_dir",), f"at most {_LONGEST_DATA_DIR} octets: {reason}"


def _outbound(config: Config) -> Iterator[Trouble]:
    if config.outbound.first_connections > config.outbound.max_connections:
        yield ("outbound", "first_connections"), "it must not exceed outbound.max_connections"
    if config.outbound.first_backoff > config.outbound.max_backoff:
        yield ("outbound", "first_backoff"), "it must not exceed outbound.max_backoff"


def _sources(config: Config, table: Table, base: str) -> Iterator[Flaw]:
    """The details of sources, each by the text under which the file has them."""
    seen: set[str] = set()
    for written, given in table.get("sources", {}).items():
        name = source_beside(written, base)
        if name in seen:
            allowed = f"this source is there already (as {name})"
            yield Flaw(at=("sources", written), allowed=allowed)
        seen.add(name)
        for key, allowed in broken_details(name, given, config.sources[name]):
            yield Flaw(at=("sources", written, key) if key else ("sources", written),
                       allowed=allowed)  # fmt: skip


def _dns_lists(table: Table) -> Iterator[Flaw]:
    seen: set[str] = set()
    for written in table.get("dns_lists", {}):
        zone = parse_domain(written)
        if zone in seen:
            yield Flaw(at=("dns_lists", written), allowed=f"this list is there already (as {zone})")
        seen.add(zone)


def _user_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except (KeyError, ValueError):
        return False
    return True
