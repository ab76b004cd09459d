"""Watches the MX sets of all domains that we follow, also of those without mail.

It asks the router again when what the router remembers has run out, so the TTLs of DNS set the
pace. Look-ups are spread: at most `RATE` a second and `AT_ONCE` at a time, so that no number of
domains floods the resolver; with very many of them, they are looked at later than their TTL says.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from tideover.config.model import Config
from tideover.events.clock import now as wall_clock
from tideover.events.domain_records import RouteTrouble
from tideover.events.event import EventSink
from tideover.primary.mx_sets import MxState
from tideover.primary.pacer import Pacer
from tideover.primary.router import ConfigRouter
from tideover.primary.store import MxChange, PrimaryStore

RATE: Final = 50.0
"""Look-ups begun in a second, at most."""

AT_ONCE: Final = 20

_AGAIN: Final = 60.0  # seconds after which a look-up that failed for a bug is tried again


class Watch:
    """Keeps the router's memory fresh: `run` it. Also what `status` shows of a set and its past."""

    def __init__(
        self,
        config: Config,
        router: ConfigRouter,
        store: PrimaryStore | None,
        sink: EventSink,
        *,
        clock: Callable[[], float] = wall_clock,
        random: Random | None = None,
        rate: float = RATE,
    ) -> None:
        self._router = router
        self._store = store
        self._sink = sink
        self._clock = clock
        self._pacer = Pacer(
            self._look,
            clock=clock,
            random=random or Random(),  # noqa: S311 - spreads load, keeps no secret
            rate=rate,
            at_once=AT_ONCE,
        )
        self.reconfigure(config)

    def reconfigure(self, config: Config) -> None:
        """Watch these domains too, after the router knows them. Others are dropped when due."""
        for name, settings in config.domains.items():
            if settings.primary is None:
                self.add(name)

    def add(self, domain: str) -> None:
        """Look at a domain that the router follows as soon as may be, and from then on."""
        if domain not in self._pacer:
            self._pacer.plan(domain, self._clock())

    def watch_state(self, domain: str) -> MxState | None:
        """How the MX set of a domain (A-labels) stands; None: not watched, or not looked at yet."""
        return self._router.mx_state(domain)

    async def history(self, domain: str, limit: int) -> Sequence[MxChange]:
        """The latest changes of a domain's MX set, newest first."""
        return await self._store.history(domain, limit) if self._store is not None else ()

    async def run(self) -> None:
        """Look up what is due until cancelled."""
        await self._pacer.run()

    async def _look(self, domain: str) -> float | None:
        if not self._router.follows(domain):
            return None
        now = self._clock()
        try:
            await self._router.route(domain, now=now)
        except Exception as error:  # a bug that one domain sets off must not end all others
            text = f"a bug, please report it: {type(error).__name__}: {error}"
            self._sink(RouteTrouble(domain=domain, trouble="bug", text=text))
            return now + _AGAIN
        return self._router.due(domain) or now + _AGAIN
