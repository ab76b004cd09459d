"""Domains that are taken in without being configured, because DNS names us for a listed owner.

Invariants
    Never for strangers: see `owner`, which judges. What DNS does not say plainly is not taken in.
    A stranger can make us ask for any name: look-ups have a bound at once and in a second, beyond
    which the answer is "can't say now"; what is remembered has a bound, too.
    A domain that is lost takes no new mail; what is queued for it goes on by its MX set.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from random import Random
from secrets import token_hex
from typing import Final

from msgspec.structs import replace

from tideover.config.model import Config, Discover, Domain
from tideover.config.own_addresses import is_local
from tideover.dns.resolver import DnsUnavailable, Resolver
from tideover.events.clock import now as wall_clock
from tideover.events.domain_records import DiscoveryFull, DomainDiscovered, DomainLost
from tideover.events.event import EventSink
from tideover.primary.ourselves import Ourselves
from tideover.primary.owner import (
    Judgement,
    Owned,
    Owners,
    may_be_discovered,
    same_hosts,
    sibling,
)
from tideover.primary.pacer import Pacer
from tideover.primary.store import Discovered, PrimaryStore

AT_ONCE: Final = 20
"""Domains that are asked for at once."""
RATE: Final = 20.0
"""Domains that are asked for in a second, on average; a burst may be five times that."""
MAX_REFUSED: Final = 10_000
"""Domains that are not ours, of which that is remembered."""
NO_PRIMARY_HOLDS: Final = 3 * 86_400.0
"""Seconds for which a discovered domain stays one while DNS names no host better than we are."""

_BURST: Final = 5 * RATE
_NO: Final = (30.0, 300.0)  # short: a new customer's first mail would be lost to a "no" of before
_YES: Final = (60.0, 3600.0)
_DOUBT: Final = 30.0
_TIMEOUT: Final = 30.0
_TOUCH: Final = 3600.0
_UNUSED: Final = 3600.0
_RECHECKS: Final = 4


class Discovery:
    """Asks and remembers. `adopt` the configuration first, then `run` it.

    `on_found` and `on_lost` are told of each domain that becomes ours, and is no more, while one
    configuration is in use; not by `adopt`.
    """

    def __init__(
        self,
        config: Config,
        resolver: Resolver,
        store: PrimaryStore,
        sink: EventSink,
        *,
        on_found: Callable[[str, Domain], None],
        on_lost: Callable[[str], None],
        clock: Callable[[], float] = wall_clock,
        random: Random | None = None,
        mx_port: int = 25,
        has_address: Callable[[str], bool] = is_local,
    ) -> None:
        self._resolver = resolver
        self._store = store
        self._sink = sink
        self._on_found = on_found
        self._on_lost = on_lost
        self._clock = clock
        self._port = mx_port
        self._ourselves = Ourselves(config.hostname, config.smtp.listen, has_address)
        self._found = {found.domain: found for found in store.discovered}
        self._refused: OrderedDict[str, tuple[float, DnsUnavailable | None]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Domain | None]] = {}
        self._tokens, self._filled_at = _BURST, clock()
        self._told_full = False
        self._use(config.discover)
        self._pacer = Pacer(
            self._check_again,
            clock=clock,
            random=random or Random(),  # noqa: S311 - spreads load, keeps no secret
            rate=RATE,
            at_once=_RECHECKS,
        )

    @property
    def is_on(self) -> bool:
        """Whether any domain may be discovered."""
        return self._is_on

    def adopt(self, config: Config) -> None:
        """Go by this configuration, and put the discovered domains into its `domains`. Call it
        before anything else uses that configuration. All are checked again soon.
        """
        self._use(config.discover)
        self._refused.clear()
        now = self._clock()
        for name in list(self._found):
            if name in config.domains:
                self._forget(name)
            elif not self._is_on:
                self._forget(name)
                self._sink(DomainLost(domain=name, reason="nothing is to be discovered any more"))
            else:
                config.domains[name] = self._settings
                self._pacer.plan(name, now)

    def used(self, domain: str) -> None:
        """Mail was taken for a domain: when there are too many, others are given up for it."""
        found = self._found.get(domain)
        if found is not None and not found.used:
            self._found[domain] = replace(found, used=True)
            self._store.put_discovered(self._found[domain])

    async def ask(self, domain: str) -> Domain | None:
        """The settings of a domain that is not in the configuration; None: it is not ours.

        Raises:
            DnsUnavailable: can't say now.
        """
        if not self._is_on or not may_be_discovered(domain):
            return None
        if domain in self._found:
            return self._settings
        until, doubt = self._refused.get(domain, (0.0, None))
        if self._clock() < until:
            self._refused.move_to_end(domain)
            if doubt is not None:
                raise DnsUnavailable(str(doubt))
            return None
        task = self._asking.get(domain)
        if task is None:
            if len(self._asking) >= AT_ONCE or not self._take_token():
                raise DnsUnavailable("too many unknown domains are being looked up")
            task = self._asking[domain] = asyncio.create_task(self._discover(domain))
            task.add_done_callback(lambda done: self._asked(domain, done))
        return await asyncio.shield(task)

    async def run(self) -> None:
        """Check the discovered domains again, as their TTLs say, until cancelled."""
        await self._pacer.run()

    def _use(self, discover: Discover) -> None:
        self._discover_settings = discover
        self._is_on = bool(discover.primary_hosts or discover.primary_networks)
        self._settings = Domain(
            primary=None,
            recipients=discover.recipients,
            when_primary_up=discover.when_primary_up,
        )
        self._owners = Owners(
            discover=discover,
            resolver=self._resolver,
            ourselves=self._ourselves,
            port=self._port,
        )

    def _take_token(self) -> bool:
        now = self._clock()
        refill = max(now - self._filled_at, 0.0) * RATE
        self._tokens, self._filled_at = min(self._tokens + refill, _BURST), now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def _asked(self, domain: str, done: "asyncio.Task[Domain | None]") -> None:
        del self._asking[domain]
        if not done.cancelled():
            done.exception()  # everybody who waited may have gone away

    async def _discover(self, domain: str) -> Domain | None:
        owners = self._owners
        try:
            judgement = await self._judge(domain, owners)
            wild = judgement.owned is Owned.YES and await self._is_wild(domain, judgement, owners)
        except DnsUnavailable as error:
            self._refuse(domain, _DOUBT, error)
            raise
        if owners is not self._owners:
            raise DnsUnavailable("the configuration has just changed")
        if judgement.owned is not Owned.YES or wild:
            self._refuse(domain, _within(judgement.ttl, _NO), None)
            return None
        self._make_room(domain)
        now = self._clock()
        found = Discovered(domain=domain, found_at=now, good_at=now)
        self._store.put_discovered(found)
        await self._store.flush()  # before mail is taken for it
        if owners is not self._owners:
            self._store.remove_discovered(domain)
            raise DnsUnavailable("the configuration has just changed")
        self._found[domain] = found
        self._sink(DomainDiscovered(domain=domain, hosts=judgement.hosts))
        self._on_found(domain, self._settings)
        self._pacer.plan(domain, now + _within(judgement.ttl, _YES))
        return self._settings

    async def _judge(self, domain: str, owners: Owners) -> Judgement:
        try:
            async with asyncio.timeout(_TIMEOUT):
                return await owners.judge(domain)
        except TimeoutError:
            raise DnsUnavailable(f"DNS did not answer for {domain} in time") from None

    async def _is_wild(self, domain: str, judgement: Judgement, owners: Owners) -> bool:
        """Whether it is only a wildcard that answers: there would be no end of such domains. One
        right below a top-level domain is that registry's doing and no stranger's.
        """
        if domain.count(".") == 1:
            return False
        beside = await self._judge(sibling(domain, f"tideover-{token_hex(8)}"), owners)
        return beside.owned is Owned.YES and same_hosts(beside.hosts, judgement.hosts)

    def _refuse(self, domain: str, seconds: float, doubt: DnsUnavailable | None) -> None:
        self._refused[domain] = (self._clock() + seconds, doubt)
        self._refused.move_to_end(domain)
        if len(self._refused) > MAX_REFUSED:
            self._refused.popitem(last=False)

    def _make_room(self, domain: str) -> None:
        """Give up a domain that never had mail, if there are too many.

        Raises:
            DnsUnavailable: all have.
        """
        most = self._discover_settings.max_domains
        if len(self._found) < most:
            self._told_full = False
            return
        before = self._clock() - _UNUSED
        unused = [f for f in self._found.values() if not f.used and f.found_at < before]
        if unused:
            oldest = min(unused, key=lambda found: found.found_at)
            reason = f"it never had mail, and there are {most} discovered domains"
            self._lose(oldest.domain, reason)
            return
        if not self._told_full:
            self._told_full = True
            self._sink(DiscoveryFull(domain=domain, most=most))
        raise DnsUnavailable(f"there are {most} discovered domains already")

    async def _check_again(self, domain: str) -> float | None:
        found, owners = self._found.get(domain), self._owners
        if found is None:
            return None
        now = self._clock()
        try:
            judgement = await self._judge(domain, owners)
        except DnsUnavailable:
            return now + _within(0.0, _YES)
        found = self._found.get(domain)
        if found is None or owners is not self._owners:
            return now
        if judgement.owned is Owned.YES:
            if now - found.good_at > _TOUCH:
                self._store.put_discovered(replace(found, good_at=now))
            self._found[domain] = replace(found, good_at=now)
        elif judgement.owned is Owned.NO or now - found.good_at > NO_PRIMARY_HOLDS:
            self._lose(domain, judgement.reason)
            self._refuse(domain, _NO[0], None)
            return None
        return now + _within(judgement.ttl, _YES)

    def _lose(self, domain: str, reason: str) -> None:
        self._forget(domain)
        self._sink(DomainLost(domain=domain, reason=reason))
        self._on_lost(domain)

    def _forget(self, domain: str) -> None:
        del self._found[domain]
        self._pacer.drop(domain)
        self._store.remove_discovered(domain)


def _within(ttl: float, bounds: tuple[float, float]) -> float:
    return min(max(ttl, bounds[0]), bounds[1])
