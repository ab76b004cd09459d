"""Which route each domain of ours goes by, and which domains go by a route.

Domains whose configuration names the same next hops share their route, so one of them speaks for
all: a hundred thousand domains of one primary cost one look-up.

Bounded by the domains of the configuration.
"""

from collections.abc import Callable, Iterable

from tideover.config.model import Config
from tideover.config.values import NamedHop
from tideover.primary.interface import Route
from tideover.primary.router import ConfigRouter


class Homes:
    """`changed` is told the key of a route that has appeared, or has other hops; a `Routes`."""

    def __init__(
        self, config: Config, router: ConfigRouter, changed: Callable[[str], None]
    ) -> None:
        self._config = config
        self._router = router
        self._changed = changed
        self._routes: dict[str, Route] = {}
        self._domains: dict[str, dict[str, None]] = {}  # by key
        self._keys: dict[str, str] = {}  # by domain
        self._speakers: dict[tuple[NamedHop, ...], str] = {}
        router.on_route = self._routed
        self._find_speakers()

    def known(self, domain: str) -> Route | None:
        """The route of a domain of ours that is in use now, from memory."""
        route = self._router.known(domain)
        if route is not None:
            return route
        settings = self._config.domains.get(domain)
        if settings is None or settings.primary is None:
            return None
        speaker = self._speakers.get(settings.primary)
        return self._router.known(speaker) if speaker is not None else None

    def route(self, key: str) -> Route | None:
        """The route with this key, None when no domain goes by it."""
        return self._routes.get(key)

    def routes(self) -> list[str]:
        """The keys of all routes that domains of ours go by."""
        return list(self._routes)

    def domains(self, key: str) -> Iterable[str]:
        """Domains that go by a route; of those that name the same next hops one at least."""
        return self._domains.get(key, ())

    def unknown(self) -> list[str]:
        """Domains that speak for others, and whose route is not known."""
        return [name for name in self._speakers.values() if self._router.known(name) is None]

    def forget(self, domain: str) -> None:
        """A domain is not ours any more, or has no route now."""
        key = self._keys.pop(domain, None)
        if key is not None:
            del self._domains[key][domain]
            if not self._domains[key]:
                del self._domains[key], self._routes[key]

    def reconfigure(self, config: Config) -> None:
        """Use these domains from now on, after the router knows them."""
        before, self._config = self._config.domains, config
        after = config.domains
        for name in [name for name in self._keys if before.get(name) is not after.get(name)]:
            new, old = after.get(name), before.get(name)
            if new is None or old is None or new.primary != old.primary:
                self.forget(name)
        self._find_speakers()

    def _find_speakers(self) -> None:
        """Who spoke for others goes on to do so, lest their route be looked up again."""
        domains = self._config.domains
        speakers = {
            primary: name
            for primary, name in self._speakers.items()
            if name in domains and domains[name].primary == primary
        }
        for name, settings in domains.items():
            if settings.primary:
                speakers.setdefault(settings.primary, name)
        self._speakers = speakers

    def _routed(self, domain: str, route: Route) -> None:
        if self._keys.get(domain) != route.key:
            self.forget(domain)
            self._keys[domain] = route.key
            self._domains.setdefault(route.key, {})[domain] = None
        before = self._routes.get(route.key)
        self._routes[route.key] = route
        if before is None or before.hops != route.hops:
            self._changed(route.key)
