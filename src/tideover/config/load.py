"""From a file to a `Config`, or to all of its mistakes at once.

Invariant C1: a `Config` that `load` returns is whole and checked; there is no half configuration.
Only what can't get right by itself is a mistake. A recipient file that is not there yet is none:
`config.check` warns of it, and the daemon answers 4xx until it is there.
"""

import gc
import pwd
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from tideover.config.document import (
    InseparableError,
    Location,
    Table,
    UnreadableError,
    line_of,
    locate,
    parse,
    pieces,
    read,
)
from tideover.config.mistakes import ConfigError, Mistake, dotted, shown, unknown_key
from tideover.config.model import Config, Domain, DomainName
from tideover.config.values import BadItemError, parse_domain

# A unix socket's address has 107 octets; "/control.sock" and a spare come off (control.server).
_LONGEST_DATA_DIR = 90


def load(path: Path) -> Config:
    """Read, check and return the configuration.

    Raises:
        ConfigError: it has mistakes; all of them.
    """
    try:
        text = read(path)
        with _no_collections():
            try:
                reading = _Reading(path)
                reading.take(pieces(text))
            except InseparableError:
                reading = _Reading(path)
                reading.take([parse(text)])
    except UnreadableError as error:
        place = f"column {error.column}: {error}" if error.column else str(error)
        raise ConfigError(path, [Mistake(path="", line=error.line, allowed=place)]) from None
    return reading.config(text)


@contextmanager
def _no_collections() -> Iterator[None]:
    """Collections while a large file is read find nothing and take a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:  # noqa: ANN401 - any type that pydantic knows
    return TypeAdapter(kind)


class _Reading:
    """The tables of one file turned into values, and what was wrong with them."""

    def __init__(self, path: Path) -> None:
        self._file = path
        self._base = str(path.absolute().parent)
        self._errors: list[ErrorDetails] = []
        self._repeated: list[tuple[Location, str]] = []
        self._domains: dict[str, Domain] = {}
        self._rest: Config | None = None

    def take(self, tables: Iterable[Table]) -> None:
        """Validate each table; the first holds all but further domains."""
        for number, table in enumerate(tables):
            domains = table.pop("domains", {})
            if number == 0:
                self._rest = self._validate(Config, table, ())
            known: dict[str, Domain] | None = self._validate(
                dict[DomainName, Domain], domains, ("domains",)
            )
            if known:
                self._note_repeated(domains, known)
                self._domains |= known

    def _validate(self, kind: Any, table: Table, prefix: Location) -> Any:  # noqa: ANN401
        try:
            return _adapter(kind).validate_python(table, context=self._base)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                detail["loc"] = (*prefix, *detail["loc"])
                self._errors.append(detail)
            return None

    def _note_repeated(self, domains: Table, known: dict[str, Domain]) -> None:
        """Names that are the same domain in A-labels, as `BÜCHER.example` and `xn--…`."""
        if len(known) == len(domains) and not known.keys() & self._domains.keys():
            return
        seen = dict.fromkeys(self._domains, "above")
        for written in domains:
            name = parse_domain(written)
            if name in seen:
                self._repeated.append((("domains", written), name))
            seen[name] = written

    def config(self, text: str) -> Config:
        """The checked configuration.

        Raises:
            ConfigError: there were mistakes.
        """
        if self._rest is not None and not self._errors and not self._repeated:
            config = replace(self._rest, domains=self._domains)
            found = list(_contradictions(config))
            if not found:
                return config
            lines = locate(text)
            raise ConfigError(
                self._file,
                [Mistake(path=dotted(at), line=line_of(lines, at), allowed=t) for at, t in found],
            )
        lines = locate(text)
        mistakes = list(_mistakes(self._errors, lines))
        for at, name in self._repeated:
            allowed = f"this domain is there already (as {name})"
            mistakes.append(Mistake(path=dotted(at), line=line_of(lines, at), allowed=allowed))
        if self._rest is not None:
            for at, allowed in _contradictions(self._rest):
                mistakes.append(Mistake(path=dotted(at), line=line_of(lines, at), allowed=allowed))
        mistakes.sort(key=lambda mistake: mistake.line or 0)
        raise ConfigError(self._file, mistakes)


def _mistakes(errors: Iterable[ErrorDetails], lines: dict[Location, int]) -> Iterator[Mistake]:
    """Pydantic's findings in our words."""
    for error in errors:
        at: Location = error["loc"]
        cause = (error.get("ctx") or {}).get("error")
        found: object = error["input"]
        if at[-1:] == ("[key]",):
            at = at[:-1]
        if isinstance(cause, BadItemError):
            at, found = (*at, cause.index), cause.found
        line = line_of(lines, at)
        match error["type"]:
            case "unexpected_keyword_argument":
                yield unknown_key(at, line)
            case "missing" | "missing_argument":
                allowed = "this setting is required"
                yield Mistake(path=dotted(at), line=line, allowed=allowed)
            case "too_short" if found:  # its items are wrong, and have a mistake each
                continue
            case kind:
                allowed = str(cause) if cause else _allowed(kind, error)
                yield Mistake(path=dotted(at), line=line, found=shown(found), allowed=allowed)


_TYPES = {
    "int_type": "a whole number without quotes is wanted",
    "string_type": "text in quotes is wanted",
    "path_type": "a path in quotes is wanted",
    "tuple_type": "a list in [ ] is wanted",
    "dataclass_type": "a table is wanted",
    "dict_type": "a table is wanted",
    "too_short": "at least one item is needed",
}


def _allowed(kind: str, error: ErrorDetails) -> str:
    context = error.get("ctx") or {}
    match kind:
        case "literal_error" | "enum":
            return f"allowed: {context['expected']}".replace("'", '"')
        case "greater_than_equal":
            return f"it must be at least {context['ge']}"
        case "greater_than":
            return f"it must be more than {context['gt']}"
        case "string_too_long":
            return f"at most {context['max_length']} characters"
        case _:
            return _TYPES.get(kind, error["msg"])


def _contradictions(config: Config) -> Iterator[tuple[Location, str]]:
    """What is wrong between settings, or with this machine, and will not get right by itself."""
    if config.smtp.tls_key and not config.smtp.tls_certificate:
        yield ("smtp", "tls_key"), "a key alone is of no use: set smtp.tls_certificate too"
    for index, endpoint in enumerate(config.smtp.listen):
        if endpoint.port and endpoint in config.smtp.listen[:index]:
            yield ("smtp", "listen", index), f"{endpoint} is there twice"
    if config.user is not None and not _user_exists(config.user):
        yield ("user",), f'this machine has no user "{config.user}": create it, or name another'
    if len(str(config.data_dir).encode()) > _LONGEST_DATA_DIR:
        reason = "the control socket lies in it, and the system bounds the names of sockets"
        yield ("data_dir",), f"at most {_LONGEST_DATA_DIR} octets: {reason}"
    if config.outbound.first_connections > config.outbound.max_connections:
        yield ("outbound", "first_connections"), "it must not exceed outbound.max_connections"
    if config.outbound.first_backoff > config.outbound.max_backoff:
        yield ("outbound", "first_backoff"), "it must not exceed outbound.max_backoff"


def _user_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except (KeyError, ValueError):
        return False
    return True
