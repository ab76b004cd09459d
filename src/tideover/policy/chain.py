"""The checks of one configuration, and what all sessions share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tideover.config.model import Config
from tideover.config.policy import Profile
from tideover.events.event import EventSink
from tideover.message.client_address import within
from tideover.message.envelope import Client
from tideover.policy.body import Copies
from tideover.policy.interface import About, Entry, Stage
from tideover.policy.marks import Marker
from tideover.policy.networks import network_of
from tideover.policy.profiles import DEFAULT, profiles
from tideover.policy.round import QUIET, Round
from tideover.policy.services import Services

_BEFORE_BODY: Final = frozenset({Stage.CONNECT, Stage.HELO, Stage.MAIL, Stage.RCPT, Stage.DATA})


class Chain:
    """Made anew for each configuration; sessions go on with the one that they began with."""

    def __init__(
        self,
        services: Services,
        entries: Mapping[Stage, Sequence[Entry]],
        copies: Copies,
        clock: Callable[[], float],
    ) -> None:
        self.config: Config = services.config
        self.memory = services.memory
        self.emit: EventSink = services.emit
        self.copies = copies
        self.clock = clock
        self.marker = Marker(services.config, services.names, services.emit)
        self._entries = entries
        self._profiles = profiles(services.config)
        self._chosen: dict[tuple[Stage, bool, str | None], Sequence[Entry]] = {}

    def greet_delay(self, address: str) -> float:
        """How long a client has to wait for our greeting, in seconds."""
        delay = self.config.policy.greet_delay
        if not delay or self.trusts(address) or self.memory.is_patient(network_of(address)):
            return 0.0
        return delay

    def waited(self, address: str) -> None:
        """The client has waited for its greeting, and need not next time."""
        self.memory.waited(network_of(address), self.clock())

    def trusts(self, address: str) -> bool:
        """Whether a client is one of the operator's own hosts."""
        return within(address, self.config.policy.trusted_networks)

    def profile(self, name: str) -> Profile:
        """The profile of this name, or the default one where a reload has brought the name."""
        return self._profiles.get(name, DEFAULT)

    def checks(self, stage: Stage, profile: str | None, *, trusted: bool) -> Sequence[Entry]:
        """The checks of a stage: those that a profile names, once one is known to judge."""
        key = stage, trusted, profile
        checks = self._chosen.get(key)
        if checks is None:
            checks = self._chosen[key] = self._choose(stage, profile, trusted=trusted)
        return checks

    def begin(self, checks: Sequence[Entry], about: About, *, waited: float = 0.0) -> Round:
        """Begin these checks. `waited` are seconds that the client has waited for this answer
        already.
        """
        if not checks:
            return QUIET
        policy = self.config.policy
        last = about.stage is Stage.MESSAGE
        timeout = policy.message_timeout if last else policy.stage_timeout
        return Round(checks, about, timeout=max(0.0, timeout - waited), emit=self.emit)

    def _choose(self, stage: Stage, profile: str | None, *, trusted: bool) -> Sequence[Entry]:
        checks = self._entries.get(stage, ())
        if profile is not None:
            named = self.profile(profile).checks
            checks = [one for one in checks if one.name in named]
        if trusted:
            # without SPF, DMARC would refuse what an own host forwards
            checks = [one for one in checks if stage not in _BEFORE_BODY and one.name != "dmarc"]
        return checks

    def took(self, client: Client) -> None:
        """A message of this client was taken."""
        self.memory.met(network_of(client.address), self.clock())
