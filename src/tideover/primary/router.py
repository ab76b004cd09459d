"""The router: which hops a domain has now, by configuration or by DNS, remembered within TTLs.

Invariants
    I9: a DNS mistake never costs a message. While DNS fails, the last good route stays in use, also
    one from before the start; a domain without any is held. So is one whose MX records are gone
    although they were there: its own address, likely a web server's, does not take the place of its
    mail server.
    At most one look-up a domain runs at once; what is remembered of foreign domains is bounded.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final

from msgspec.structs import replace

from tideover.config.model import Config, Domain
from tideover.config.own_addresses import is_local
from tideover.dns.resolver import Resolver
from tideover.events.domain_records import RouteChanged
from tideover.events.event import EventSink
from tideover.primary.found import Found
from tideover.primary.interface import NoRoute, Route
from tideover.primary.memory import Memory
from tideover.primary.mx import MxRoutes
from tideover.primary.mx_set import Look
from tideover.primary.mx_sets import MxSets, MxState
from tideover.primary.ourselves import Ourselves
from tideover.primary.static import static_route
from tideover.primary.store import PrimaryStore

MAX_FOREIGN: Final = 1000
"""Foreign domains (to which only our own reports go) that are remembered."""

PATIENCE: Final = 1.0
"""Seconds to wait for DNS when a route has run out; then it goes on to be used for the moment."""

_TOUCH: Final = 3600.0
"""Seconds after which it is written again that a route is still good."""


class ConfigRouter:
    """The `Router` of a configuration. Use it on one event loop.

    `mx_port` is 25 but for tests. `store` None: nothing outlives a restart. `on_route` is told each
    route that was looked up for a domain of ours.
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
        store: PrimaryStore | None = None,
    ) -> None:
        self.on_route: Callable[[str, Route], None] | None = None
        self._config = config
        self._resolver = resolver
        self._sink = sink
        self._store = store
        self._ourselves = Ourselves(config.hostname, config.smtp.listen, has_address)
        self._mx = MxRoutes(
            resolver=resolver,
            ourselves=self._ourselves,
            random=random or Random(),  # noqa: S311 - spreads load, keeps no secret
            port=mx_port,
        )
        self._sets = MxSets(resolver, sink, store)
        self._ours: dict[str, Memory] = {}
        self._foreign: OrderedDict[str, Memory] = OrderedDict()

    def is_ours(self, domain: str) -> bool:
        """As `Router.is_ours`."""
        return domain in self._config.domains

    def follows(self, domain: str) -> bool:
        """Whether it is a domain of ours whose route is what DNS says."""
        return _is_followed(self._config.domains.get(domain))

    def closed(self, domain: str, now: float) -> str | None:
        """Why a domain of ours takes no mail at all, for the client (RFC 7505 §4.1: 556 5.1.10),
        or None. From memory; `now` is Unix time.
        """
        text = self._sets.closed(domain, now)
        return text if text is not None and self.follows(domain) else None

    def mx_state(self, domain: str) -> MxState | None:
        """How the MX set of a domain stands that we follow; None: of another, or not yet known."""
        if not self.follows(domain):
            return None
        state = self._sets.state(domain)
        if state is None:
            return None
        memory = self._ours.get(domain)
        good = memory.good if memory is not None else None
        return replace(state, next_at=self.due(domain), last_good=_hop_texts(good))

    def known(self, domain: str) -> Route | None:
        """The route of a domain of ours that is in use now, from memory."""
        memory = self._ours.get(domain)
        return memory.answer if memory is not None and isinstance(memory.answer, Route) else None

    def due(self, domain: str) -> float | None:
        """When DNS is to be asked for a domain of ours again (Unix time); None: not known."""
        memory = self._ours.get(domain)
        return memory.until if memory is not None else None

    async def route(self, domain: str, *, now: float) -> Route | NoRoute:
        """As `Router.route`. Waits for DNS only when what is remembered has run out, and not for
        long where there is a good route.
        """
        memory = self._memory(domain)
        if memory.answer is not None and (memory.until is None or now < memory.until):
            return memory.answer
        look_up = memory.look_up
        if look_up is None:
            memory.look_up = look_up = asyncio.create_task(self._look_up(domain, memory, now))
            look_up.add_done_callback(partial(_ended, memory))
        if isinstance(memory.answer, Route):
            await asyncio.wait((look_up,), timeout=PATIENCE)
            if not look_up.done() and isinstance(memory.answer, Route):
                return memory.answer
        # One caller that gives up must not end the look-up for the others.
        return await asyncio.shield(look_up)

    def reconfigure(self, config: Config) -> None:
        """Use these domains from now on. Routes of domains that stay as they are stay too."""
        before, after = self._config.domains, config.domains
        # most are the same objects: with 100,000 domains nothing else may cost anything
        others = [name for name in self._ours if before.get(name) is not after.get(name)]
        for name in others:
            if (
                name not in before
                or name not in after
                or before[name].primary != after[name].primary
            ):
                del self._ours[name]
        for name in after.keys() & self._foreign.keys():
            del self._foreign[name]
        self._config = config
        self._sets.forget_all_but(after.keys(), others, self.follows)

    def forget(self, domain: str) -> None:
        """A discovered domain was lost, and is gone from the configuration."""
        self._ours.pop(domain, None)
        self._sets.forget(domain)

    def _memory(self, domain: str) -> Memory:
        if domain in self._config.domains:
            memory = self._ours.get(domain)
            if memory is None:
                memory = self._ours[domain] = Memory()
            return memory
        memory = self._foreign.get(domain)
        if memory is None:
            memory = self._foreign[domain] = Memory()
            if len(self._foreign) > MAX_FOREIGN:
                self._foreign.popitem(last=False)
        else:
            self._foreign.move_to_end(domain)
        return memory

    async def _look_up(self, domain: str, memory: Memory, now: float) -> Route | NoRoute:
        settings = self._config.domains.get(domain)
        followed = _is_followed(settings)
        if settings is not None and settings.primary is not None:
            look = Look(found=await static_route(settings.primary, self._resolver, now=now))
        else:
            if followed and not memory.restored:
                await self._restore(domain, memory)
            look = await self._mx.look(domain, backed_up=followed, now=now)
        before = memory.good
        answer = memory.learn(look.found, now)
        if self._ours.get(domain) is not memory:
            return answer  # not ours, or not as it was when we asked
        if self.on_route is not None and isinstance(answer, Route):
            self.on_route(domain, answer)
        self._tell(domain, before, memory.good)
        if followed:
            self._keep_good(domain, before, memory, now)
            had_mx = before is not None and not before.implicit
            await self._sets.saw(domain, look, had_mx=had_mx, failures=memory.failures, now=now)
        return answer

    async def _restore(self, domain: str, memory: Memory) -> None:
        """Begin with what was known before the start."""
        memory.restored = True
        if self._store is None:
            return
        kept = await self._store.get(domain)
        if kept.good is not None:
            memory.good, memory.good_at = self._without_us(kept.good), kept.good_at
        if self._ours.get(domain) is memory:
            self._sets.restore(domain, kept)

    def _without_us(self, good: Found) -> Found | None:
        """The route without hops that are ours by now; None when nothing is left of it."""
        hops = tuple(
            hop for hop in good.route.hops if not self._ourselves.is_address(hop.address, hop.port)
        )
        return replace(good, route=replace(good.route, hops=hops)) if hops else None

    def _keep_good(self, domain: str, before: Found | None, memory: Memory, now: float) -> None:
        """Write the last good route down when it is another one, or was confirmed again."""
        good = memory.good
        if self._store is None or good is None or memory.good_at != now:
            return
        same = before is not None and _names(before) == _names(good)
        if not same or now - memory.written_at > _TOUCH:
            memory.written_at = now
            self._store.put_route(domain, good, now)

    def _tell(self, domain: str, before: Found | None, after: Found | None) -> None:
        if after is not None and after is not before and _names(before) != _names(after):
            self._sink(
                RouteChanged(domain=domain, before=_hop_texts(before), after=_hop_texts(after))
            )


def _is_followed(settings: Domain | None) -> bool:
    return settings is not None and settings.primary is None


def _ended(memory: Memory, look_up: "asyncio.Task[Route | NoRoute]") -> None:
    memory.look_up = None
    if not look_up.cancelled():
        look_up.exception()  # maybe nobody waits for it any more


def _names(found: Found | None) -> frozenset[str]:
    """A route's hops without their order, which is random among equals."""
    return frozenset(_hop_texts(found))


def _hop_texts(found: Found | None) -> tuple[str, ...]:
    if found is None:
        return ()
    return tuple(f"{hop.name}[{hop.address}]:{hop.port}" for hop in found.route.hops)
