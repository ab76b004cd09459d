"""One domain's settings, from the text or the table that holds them.

Hosts of many domains write the same for most of them: equal texts are read once, and their domains
share one value. What is remembered is bounded.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from tideover.config.agent_rules import AgentRules
from tideover.config.document import Location, Table
from tideover.config.mistakes import Flaw, shown
from tideover.config.model import Config, Domain
from tideover.config.own_addresses import HopRules
from tideover.config.policy_rules import PolicyRules
from tideover.config.sections import table
from tideover.config.sources import SourceRules, Trouble
from tideover.config.validate import InvalidError, validate
from tideover.config.values import parse_domain, source_kind

UNREADABLE: Final = Domain(primary=(), recipients=())
"""Stands for a domain that is ours although its settings can't be read: nobody's existence can be
told, so its mail is deferred, and it has no next hop, so what waits for it goes on waiting."""

_NAME: Final[Location] = ("domains", "NAME")
_REMEMBERED: Final = 4096


Rule = Callable[[Domain], Iterable[Trouble]]
"""Tells what is wrong with a domain beside the rest of the configuration."""


def rules_of(config: Config, sources: SourceRules) -> tuple[Rule, ...]:
    """All rules that a domain of this configuration has to keep."""
    rules = PolicyRules(config), AgentRules(config), HopRules(config)
    return sources.broken_by, *(each.broken_by for each in rules)


class DomainReader:
    """Reads the domains of one configuration. Without `rules` its main part is wrong already, and
    what depends on it is left unchecked.
    """

    def __init__(self, base: str, rules: Sequence[Rule]) -> None:
        self._base = base
        self._rules = rules
        self._known: dict[str, Domain] = {}

    def from_text(self, text: str) -> Domain:
        """The domain whose table is written so.

        Raises:
            UnreadableError: it is not TOML.
            InvalidError: it has flaws.
        """
        known = self._known.get(text)
        if known is None:
            known = self.from_table(table(text))
            if len(self._known) < _REMEMBERED:
                self._known[text] = known
        return known

    def from_table(self, values: Table) -> Domain:
        """The domain with these settings.

        Raises:
            InvalidError: it has flaws.
        """
        domain: Domain = validate(Domain, values, self._base, _NAME)
        flaws = [Flaw(at=at, allowed=text) for rule in self._rules for at, text in rule(domain)]
        if flaws:
            raise InvalidError(flaws)
        return domain


def same(domain: Domain, before: Domain | None) -> Domain:
    """`before` if it says the same: then a reload takes no memory, and `is` tells what changed."""
    return before if before is not None and before == domain else domain


class Rows(Struct, frozen=True):
    """Domains from tables, and what is wrong with other tables: `"NAME": KEY: what`."""

    domains: dict[str, Domain]
    mistakes: dict[str, str]


def from_tables(tables: Mapping[str, Table], config: Config, base: str) -> Rows:
    """The domains of a list that does not stand in the configuration's own files.

    Who writes such a list rules over mail, but not over this machine: a program runs only when the
    main file has a `[sources."command:…"]` for it. Bad tables spoil only themselves.
    """
    reader = DomainReader(base, rules_of(config, SourceRules(config)))
    rows = Rows({}, {})
    for written, values in tables.items():
        try:
            name, domain = parse_domain(written), reader.from_table(values)
        except InvalidError as error:
            rows.mistakes[written] = str(error.flaws[0].mistake({}))
        except ValueError as error:
            rows.mistakes[written] = f"found {shown(written)}; {error}"
        else:
            if name in rows.domains:
                rows.mistakes[written] = f"this domain is there already (as {name})"
            elif program := _unknown_program(domain, config):
                rows.mistakes[written] = f'add [sources."{program}"] to the main file first'
            else:
                rows.domains[name] = domain
    return rows


def _unknown_program(domain: Domain, config: Config) -> str | None:
    programs = (source for source in domain.recipients if source_kind(source) == "command")
    return next((program for program in programs if program not in config.sources), None)
