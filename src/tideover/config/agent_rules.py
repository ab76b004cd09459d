"""What is wrong between a domain's agent and the settings that asking it needs."""

from collections.abc import Iterator

from tideover.config.model import Config, Domain
from tideover.config.sources import Trouble


class AgentRules:
    """The rules of one configuration, of which its main part is valid."""

    def __init__(self, config: Config) -> None:
        self._has_key = config.cut_off.key_file is not None

    def broken_by(self, domain: Domain) -> Iterator[Trouble]:
        """What is wrong with a domain; where, counted from its table."""
        if domain.agent is None:
            if domain.agent_key is not None:
                yield ("agent_key",), "a key alone is of no use: set agent too"
            return
        if domain.agent_key is None:
            yield ("agent",), "what it says must be signed: set agent_key too"
        if not self._has_key:
            yield ("agent",), "it answers signed questions only: set [cut_off] key_file too"
