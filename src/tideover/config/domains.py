"""One domain's settings, from the text or the table that holds them.

Hosts of many domains write the same for most of them: equal texts are read once, and their domains
share one value. What is remembered is bounded.
"""

from typing import Final

from tideover.config.document import Location, Table
from tideover.config.mistakes import Flaw
from tideover.config.model import Domain
from tideover.config.sections import table
from tideover.config.sources import SourceRules
from tideover.config.validate import InvalidError, validate

UNREADABLE: Final = Domain(primary=(), recipients=())
"""Stands for a domain that is ours although its settings can't be read: nobody's existence can be
told, so its mail is deferred, and it has no next hop, so what waits for it goes on waiting."""

_NAME: Final[Location] = ("domains", "NAME")
_REMEMBERED: Final = 4096


class DomainReader:
    """Reads the domains of one configuration. `rules` None: its main part is wrong already, and
    what depends on it is left unchecked.
    """

    def __init__(self, base: str, rules: SourceRules | None) -> None:
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
        if self._rules is not None:
            flaws = [Flaw(at=at, allowed=text) for at, text in self._rules.broken_by(domain)]
            if flaws:
                raise InvalidError(flaws)
        return domain
