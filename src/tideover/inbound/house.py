"""What all inbound connections share. Made once by app.py; on reload its fields are replaced."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count

from tideover.config.model import Config
from tideover.events.event import EventSink
from tideover.inbound.admission import Admission
from tideover.inbound.announced import announced, unmet
from tideover.inbound.limits import ConnectionLimits
from tideover.inbound.posture import QUEUED, Gate, Mode, Way
from tideover.inbound.tls import Certificate
from tideover.message.envelope import SessionId
from tideover.policy.chain import Chain
from tideover.recipients.interface import Directory
from tideover.recipients.names import a_label
from tideover.smtp.capabilities import Capabilities
from tideover.smtp.offer import ServerOptions
from tideover.smtp.parameters import MailParameters
from tideover.smtp.replies import Reply
from tideover.spool.interface import Spool


@dataclass(slots=True)
class House:
    """The parts that a connection works with.

    `on_accepted` is told the domains of each message taken in; `clock` gives Unix time;
    `make_chain` makes the checks of a configuration. Without `gate` all mail is queued.
    """

    config: Config
    certificate: Certificate
    directory: Directory
    spool: Spool
    admission: Admission
    limits: ConnectionLimits
    sink: EventSink
    on_accepted: Callable[[Iterable[str]], None]
    clock: Callable[[], float]
    make_chain: Callable[[Config], Chain]
    gate: Gate | None = None
    draining: bool = False
    options: ServerOptions = field(init=False)
    _all_options: ServerOptions = field(init=False)
    chain: Chain = field(init=False)
    postmaster_domain: str = field(init=False)
    _sessions: "count[int]" = field(init=False, default_factory=lambda: count(1))
    _started: int = field(init=False)

    def __post_init__(self) -> None:
        self._started = int(self.clock())
        self.reconfigure(self.config)

    def reconfigure(self, config: Config) -> None:
        """Use this configuration for connections and transactions to come."""
        self.config = config
        self.chain = self.make_chain(config)
        self.limits.reconfigure(config.smtp)
        self.admission.min_free = config.min_free_space
        self.options = self._all_options = ServerOptions(
            hostname=config.hostname,
            max_size=config.max_message_size,
            max_recipients=config.smtp.max_recipients,
            tls=True,
        )
        # <postmaster> without a domain must exist (RFC 5321 §4.5.1): one of our domains has it
        self.postmaster_domain = min(config.domains, default="")

    def way(self, domain: str) -> tuple[str, Way]:
        """The domain in A-labels (as written, if that is none), and the way of its mail."""
        name = domain if domain in self.config.domains else a_label(domain) or domain
        if self.gate is None:
            return name, QUEUED
        return name, self.gate.way(name, self.config.domains.get(name))

    @property
    def may_pass(self) -> bool:
        """Whether mail for any domain may go through to its primary now."""
        return self.gate is not None and self.gate.any_passes(self.config.domains)

    async def looked(self, domain: str, way: Way) -> Way:
        """The way when nothing is in doubt any more: also of a domain that was found just now."""
        settings = self.config.domains.get(domain)
        if self.gate is None or settings is None or way.mode is not Mode.LOOK:
            return way
        way = self.gate.way(domain, settings)
        return await self.gate.look(domain, settings) if way.mode is Mode.LOOK else way

    def unmet(self, domain: str, parameters: MailParameters) -> Reply | None:
        """Why the domain's primary can't take mail with these parameters, by what it offered."""
        if self.gate is None:
            return None
        return unmet(self.gate.standings.standing(domain).capabilities, parameters)

    def offer(self, offers: Iterable[Capabilities | None]) -> None:
        """Announce no more than what primaries take, of which these are the offers."""
        self.options = announced(self._all_options, offers)

    def new_session_id(self) -> SessionId:
        """Unique for this data_dir: start time and a counter."""
        return SessionId(f"s{self._started:x}.{next(self._sessions):x}")
