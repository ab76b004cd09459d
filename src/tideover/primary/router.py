"""The router: which hops a domain has now, by configuration or by DNS, remembered within TTLs.

Invariants
    I9: a DNS mistake never costs a message. While DNS fails, the last good route stays in use; a
    domain without any is held. So is one whose MX records are gone although they were there: its
    own address, likely a web server's, does not take the place of its mail server.
    At most one look-up a domain runs at once; what is remembered of foreign domains is bounded.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from random import Random
from typing import Final

from msgspec.structs import replace

from tideover.config.model import Config
from tideover.events.records import EventSink, RouteChanged
from tideover.primary.found import RETRY, Found
from tideover.primary.interface import NoRoute, Route, Trouble
from tideover.primary.mx import MxRoutes
from tideover.primary.ourselves import Ourselves, is_local
from tideover.primary.resolver import Resolver
from tideover.primary.static import static_route

MAX_FOREIGN: Final = 1000
"""Foreign domains (to which only our own reports go) that are remembered."""

_SLOWEST_RETRY: Final = 60.0
_KEEP: Final = 86_400.0  # how long a good route outlives answers that contradict it in part


class _Memory:
    """What is known of one domain."""

    __slots__ = ("answer", "failures", "good", "good_at", "look_up", "until")

    def __init__(self) -> None:
        self.answer: Route | NoRoute | None = None
        self.until: float | None = 0.0  # None: for ever
        self.good: Found | None = None
        self.good_at = 0.0
        self.failures = 0
        self.look_up: asyncio.Task[Route | NoRoute] | None = None


class ConfigRouter:
    """The `Router` of a configuration. Use it on one event loop.

    `mx_port` is 25 but for tests.
    """

    def __init__(
        self,
        config: Config,
        resolver: Resolver,
        sink: EventSink,
        *,
        random: Random | None = None,
        mx_port: int = 25,
        has_address: Callable[[str], bool] = is_local,
    ) -> None:
        self._config = config
        self._resolver = resolver
        self._sink = sink
        self._mx = MxRoutes(
            resolver=resolver,
            ourselves=Ourselves(config.hostname, config.smtp.listen, has_address),
            random=random or Random(),  # noqa: S311 - spreads load, keeps no secret
            port=mx_port,
        )
        self._ours: dict[str, _Memory] = {}
        self._foreign: OrderedDict[str, _Memory] = OrderedDict()

    def is_ours(self, domain: str) -> bool:
        """As `Router.is_ours`."""
        return domain in self._config.domains

    async def route(self, domain: str, *, now: float) -> Route | NoRoute:
        """As `Router.route`. Waits for DNS only when what is remembered has run out."""
        memory = self._memory(domain)
        if memory.answer is not None and (memory.until is None or now < memory.until):
            return memory.answer
        if memory.look_up is None:
            memory.look_up = asyncio.create_task(self._look_up(domain, memory, now))
            memory.look_up.add_done_callback(lambda _: _forget_task(memory))
        # One caller that gives up must not end the look-up for the others.
        return await asyncio.shield(memory.look_up)

    def reconfigure(self, config: Config) -> None:
        """Use these domains from now on. Routes of domains that stay as they are stay too."""
        before = self._config.domains
        self._ours = {
            name: memory
            for name, memory in self._ours.items()
            if name in config.domains and before[name].primary == config.domains[name].primary
        }
        for name in config.domains:
            self._foreign.pop(name, None)
        self._config = config

    def _memory(self, domain: str) -> _Memory:
        if domain in self._config.domains:
            return self._ours.setdefault(domain, _Memory())
        memory = self._foreign.get(domain)
        if memory is None:
            memory = self._foreign[domain] = _Memory()
            if len(self._foreign) > MAX_FOREIGN:
                self._foreign.popitem(last=False)
        else:
            self._foreign.move_to_end(domain)
        return memory

    async def _look_up(self, domain: str, memory: _Memory, now: float) -> Route | NoRoute:
        settings = self._config.domains.get(domain)
        if settings is not None and settings.primary is not None:
            found = await static_route(settings.primary, self._resolver, now=now)
        else:
            found = await self._mx.find(domain, backed_up=settings is not None, now=now)
        if isinstance(found, Found) and not _contradicts(memory, found, now):
            memory.answer = self._take(domain, memory, found, now)
        elif isinstance(found, NoRoute) and found.trouble is not Trouble.TEMPORARY:
            memory.failures = 0
            memory.answer, memory.until = found, found.retry_at
        else:
            memory.answer = _keep(memory, found, now)
        return memory.answer

    def _take(self, domain: str, memory: _Memory, found: Found, now: float) -> Route:
        """Take a new route into use."""
        before = memory.good.route if memory.good is not None else None
        memory.good, memory.good_at = found, now
        if found.partial:
            memory.until = _soon(memory, now)
        else:
            memory.failures = 0
            memory.until = found.route.expires_at
        if domain in self._config.domains and _names(before) != _names(found.route):
            self._sink(
                RouteChanged(
                    domain=domain, before=_hop_texts(before), after=_hop_texts(found.route)
                )
            )
        return replace(found.route, expires_at=memory.until)


def _keep(memory: _Memory, found: Found | NoRoute, now: float) -> Route | NoRoute:
    """DNS failed, or contradicts itself: the last good route if there is one. Ask again soon."""
    memory.until = _soon(memory, now)
    if memory.good is not None:
        return replace(memory.good.route, expires_at=memory.until)
    if isinstance(found, NoRoute):
        return replace(found, retry_at=memory.until)
    return replace(found.route, expires_at=memory.until)


def _soon(memory: _Memory, now: float) -> float:
    """When to ask again after DNS failed, in all or in part: each time later, up to a minute."""
    memory.failures = min(memory.failures + 1, 10)
    return now + min(RETRY * 2.0 ** (memory.failures - 1), _SLOWEST_RETRY)


def _contradicts(memory: _Memory, found: Found, now: float) -> bool:
    """Whether a good route that we have is more to be trusted than this one."""
    good = memory.good
    if good is None or now - memory.good_at > _KEEP:
        return False
    return (found.partial and not good.partial) or (found.implicit and not good.implicit)


def _forget_task(memory: _Memory) -> None:
    memory.look_up = None


def _names(route: Route | None) -> frozenset[str]:
    """A route's hops without their order, which is random among equals."""
    return frozenset(_hop_texts(route))


def _hop_texts(route: Route | None) -> tuple[str, ...]:
    if route is None:
        return ()
    return tuple(f"{hop.name}[{hop.address}]:{hop.port}" for hop in route.hops)
