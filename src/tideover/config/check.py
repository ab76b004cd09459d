"""What is no mistake, but what an operator would want to know before the start."""

import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Final

from tideover.config.directory import DomainFiles
from tideover.config.model import Config, Domain
from tideover.config.own_addresses import HopRules
from tideover.config.policy_rules import key_files
from tideover.config.values import is_loopback_url, source_kind, source_rest, without_password

_DEFERRED: Final = "until it can be read, recipients get 4xx"


def warnings(config: Config, files: DomainFiles | None = None) -> Iterator[str]:
    """One text a thing that may get right by itself, or may be meant: `KEY: what, and its cure`.

    `files` is what `domains_dir` holds. What concerns many domains is told of the first.
    """
    discovers = config.discover.primary_hosts or config.discover.primary_networks
    if not (config.domains or config.domains_from or discovers):
        yield "domains: none is configured, so all mail is refused with 554 5.7.1"
    for name in files.ignored if files is not None else ():
        yield f"domains_dir: {name} is left out: its name is no domain"
    yield from _sources_of_domains(config)
    yield from _details_of_sources(config)
    yield from HopRules(config).doubtful(config)
    yield from _trap(config)
    for section, without in (
        ("smtp", "a self-made one is used"),
        ("console", "nobody is served there"),
    ):
        for key in ("tls_certificate", "tls_key"):
            file: Path | None = getattr(getattr(config, section), key)
            if file is not None and (reason := unreadable(file)):
                yield f"{section}.{key}: {file} {reason}; until it can be read, {without}"
    for setting, path in key_files(config):
        if reason := unreadable(path) or _kept_from(config.user, path):
            yield f"{setting}: {path} {reason}; until it can be read, its purpose is not served"
    if config.user is None and os.geteuid() == 0:
        yield "user: not set; started as root, the daemon would stay root"


def _sources_of_domains(config: Config) -> Iterator[str]:
    told: set[str] = set()
    for name, domain in config.domains.items():
        for source in domain.recipients:
            text = source.replace("{domain}", name)
            if text not in told:
                told.add(text)
                if reason := _out_of_reach(text):
                    yield f'domains."{name}".recipients: {reason}; {_DEFERRED}'
        for key in ("feed_key_file", "feed_push_token_file"):
            file: Path | None = getattr(domain, key)
            if file is None or str(file) in told:
                continue
            told.add(str(file))
            if reason := unreadable(file):
                yield f'domains."{name}".{key}: {file} {reason}; until it can be read, no feed is'
        if (unused := _unused(domain)) and unused not in told:
            told.add(unused)
            yield f'domains."{name}".{unused}: of no use without a feed: source in recipients'


def _trap(config: Config) -> Iterator[str]:
    others = config.domains_from or config.discover.primary_hosts
    for name in config.trap.domains:
        if name not in config.domains and not (others or config.discover.primary_networks):
            yield f"trap.domains: {name} is no domain of ours, so the trap stays silent"


def _unused(domain: Domain) -> str | None:
    if any(source_kind(source) == "feed" for source in domain.recipients):
        return None
    keys = "feed_signer", "feed_key_file", "feed_push_token_file"
    return next((key for key in keys if getattr(domain, key) is not None), None)


def _out_of_reach(source: str) -> str | None:
    """Why this source can't be read now, as far as this machine can tell without asking others."""
    kind, rest = source_kind(source), source_rest(source)
    if kind == "command":
        program = shlex.split(rest)[0]
        return None if which(program) else f"{program} is no program that can be run"
    if kind == "file" or (kind == "feed" and rest != "push" and "://" not in rest):
        reason = unreadable(Path(rest))
        return f"{rest} {reason}" if reason else None
    return None


def _details_of_sources(config: Config) -> Iterator[str]:
    used = {source for domain in config.domains.values() for source in domain.recipients}
    used.update(config.discover.recipients)
    if config.domains_from is not None:
        used.add(config.domains_from)
    for name, details in config.sources.items():
        key = f'sources."{name}"'
        if name not in used and config.domains_from is None:
            yield f"{key}: no domain names this source, letter by letter; is it misspelt?"
        for setting in ("password_file", "ca_file"):
            file: Path | None = getattr(details, setting)
            if file is not None and (reason := unreadable(file)):
                yield f"{key}.{setting}: {file} {reason}; {_DEFERRED}"
        url = details.url or ""
        if without_password(url) != url:
            yield f"{key}.url: holds a password; password_file keeps it out of this file"
        in_clear = url.startswith("ldap:") and not details.starttls and details.password_file
        if in_clear and not is_loopback_url(url):
            yield f"{key}.url: the password travels in clear; use ldaps:// or starttls"


def _kept_from(user: str | None, path: Path) -> str | None:
    """Why the user that the daemon becomes can't read this file, which root can. Files are read
    anew after that, too.
    """
    if user is None or os.geteuid() != 0:
        return None
    entry, facts = pwd.getpwnam(user), path.stat()
    if facts.st_uid == entry.pw_uid:
        right = stat.S_IRUSR
    elif facts.st_gid in os.getgrouplist(user, entry.pw_gid):
        right = stat.S_IRGRP
    else:
        right = stat.S_IROTH
    if entry.pw_uid == 0 or facts.st_mode & right:
        return None
    return f"can't be read by {user} (chown {user} {shlex.quote(str(path))})"


def unreadable(path: Path) -> str | None:
    """Why this file can't be read, or None."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))  # a FIFO must not keep us waiting
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"can't be read ({error.strerror})"
    return "is a directory" if path.is_dir() else None
