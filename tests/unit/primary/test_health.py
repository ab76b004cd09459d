"""primary.health and primary.healths: what evidence makes of a state."""

import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from virtual import run

from tideover.config.primaries import Health as Settings
from tideover.events.delivery_records import PrimaryChanged
from tideover.events.event import Event
from tideover.primary.health import LONGEST_DAMPING, RELAPSES, STEADY, Health, Terms
from tideover.primary.health_offers import Offers, narrower, words
from tideover.primary.healths import Healths, Held
from tideover.primary.interface import NextHop, PrimaryState, Route
from tideover.primary.store import PrimaryStore
from tideover.smtp.capabilities import Capabilities

DOWN, HELD, RECOVERING = PrimaryState.DOWN, PrimaryState.HELD, PrimaryState.RECOVERING
UNKNOWN, UP = PrimaryState.UNKNOWN, PrimaryState.UP
D = "example.com"
HOST = "a[192.0.2.1]:25"
TERMS = Terms(failures=2, successes=2, apart=0.5, stale=19.0)


class Subject:
    """A health, its time, and each state that it told."""

    def __init__(self, terms: Terms = TERMS) -> None:
        self.now = 1000.0
        self.told: list[PrimaryState] = []
        self.health = Health(
            "k", terms, self.now, lambda health, before: self.told.append(health.state)
        )

    def good(self, times: int = 1, after: float = 1.0) -> None:
        for _ in range(times):
            self.now += after
            self.health.reached(HOST, self.now)

    def bad(self, times: int = 1, after: float = 1.0) -> None:
        for _ in range(times):
            self.now += after
            self.health.failed("refused", self.now)


@pytest.fixture
def subject() -> Subject:
    return Subject()


def test_thresholds_in_a_row_both_ways(subject: Subject) -> None:
    subject.good()
    assert (subject.health.state, subject.health.doubt(subject.now)) == (UP, False)
    for _ in range(5):  # never two in a row
        subject.bad()
        assert (subject.health.state, subject.health.doubt(subject.now)) == (UP, True)
        subject.good()
    subject.bad(2)
    assert (subject.health.state, subject.health.doubt(subject.now)) == (DOWN, False)
    assert (subject.health.reason, subject.health.since) == ("refused", subject.now)
    subject.good()
    assert subject.health.state is RECOVERING
    subject.bad()
    subject.good()
    assert subject.health.state is RECOVERING
    subject.good()
    assert subject.told == [UP, DOWN, RECOVERING, UP]


def test_what_comes_at_once_counts_once(subject: Subject) -> None:
    subject.good()
    subject.bad(20, after=0.01)
    assert subject.health.state is UP
    subject.bad()
    assert subject.health.state is DOWN
    subject.good(20, after=0.01)
    assert subject.health.state is RECOVERING


def test_unknown_until_it_answers_or_fails_often_enough(subject: Subject) -> None:
    assert subject.health.doubt(subject.now)
    subject.bad()
    assert (subject.health.state, subject.health.reason) == (UNKNOWN, "refused")
    subject.bad()
    assert subject.told == [DOWN]


def test_mail_in_hand_says_down_at_once(subject: Subject) -> None:
    subject.good()
    subject.health.down("refused", subject.now)
    assert subject.told == [UP, DOWN]


def test_with_a_backlog_it_is_up_when_that_is_home(subject: Subject) -> None:
    subject.bad(2)
    subject.health.backlog = True
    subject.good(5)
    assert subject.health.state is RECOVERING
    subject.health.brought_home("all home", subject.now)
    assert (subject.health.state, subject.health.reason) == (UP, "all home")


def test_who_gives_connections_but_takes_no_mail_stays_down(subject: Subject) -> None:
    subject.health.down("451 4.3.0", subject.now, barren=True)
    subject.good(5)
    assert subject.health.state is DOWN
    subject.health.took_mail(subject.now + 1)
    assert subject.health.state in (RECOVERING, UP)
    subject.health.down("451 4.3.0", subject.now + 2, barren=True)
    subject.health.nobody_waits()
    subject.good(5)
    assert subject.health.state is UP


def test_what_is_old_is_in_doubt(subject: Subject) -> None:
    subject.good()
    assert not subject.health.doubt(subject.now + TERMS.stale - 1)
    assert subject.health.doubt(subject.now + TERMS.stale)
    assert subject.health.doubt(subject.now - 1)  # the clock was set back


def test_a_clock_that_is_set_back_keeps_nobody_down(subject: Subject) -> None:
    subject.bad(2)
    subject.now -= 86_400.0
    subject.good(2)
    assert subject.health.state is UP


@pytest.mark.parametrize("waits", [False, True])
def test_flapping_tells_little(waits: bool) -> None:
    """Up for 1 s and down for 3 s, for an hour; checks each second, or mail that goes home."""
    subject = Subject()
    subject.good()
    for _ in range(900):
        subject.health.backlog = waits
        subject.bad(3)
        subject.good()
        if waits:
            subject.health.took_mail(subject.now)
            subject.health.brought_home("all home", subject.now)
    assert len(subject.told) <= 3 * (RELAPSES + 3)
    subject.health.nobody_waits()
    subject.good(int(LONGEST_DAMPING) + 1)
    assert subject.health.state is UP
    subject.now += STEADY
    subject.bad(2)
    subject.good()
    assert subject.health.state is RECOVERING  # an outage like any other


def test_an_operator_who_asks_ends_the_damping(subject: Subject) -> None:
    subject.good()
    for _ in range(RELAPSES + 6):
        subject.bad(2)
        subject.good(2)
    assert subject.health.state is DOWN
    subject.health.forgive()
    subject.good()
    assert subject.health.state in (RECOVERING, UP)


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.subject = Subject()
        self.state = UNKNOWN
        self.last: str | None = None

    @property
    def health(self) -> Health:
        return self.subject.health

    @rule(after=st.sampled_from([0.0, 0.1, 1.0, 20.0, 100.0, -50.0]))
    def wait(self, after: float) -> None:
        self.subject.now += after

    @rule(mail=st.booleans())
    def served(self, mail: bool) -> None:
        if mail:
            self.health.took_mail(self.subject.now)
        else:
            self.health.reached(HOST, self.subject.now)
        self.last = "good"

    @rule()
    def failed(self) -> None:
        self.health.failed("refused", self.subject.now)
        self.last = "bad"

    @rule(barren=st.booleans())
    def down(self, barren: bool) -> None:
        self.health.down("refused", self.subject.now, barren=barren)
        assert self.health.state is DOWN
        self.last = "bad"

    @rule(backlog=st.booleans())
    def mail(self, backlog: bool) -> None:
        if backlog:
            self.health.backlog = True
        else:
            self.health.nobody_waits()

    @rule()
    def home(self) -> None:
        self.health.brought_home("all home", self.subject.now)

    @rule()
    def forgive(self) -> None:
        self.health.forgive()

    @invariant()
    def tells_each_change_once(self) -> None:
        states = [UNKNOWN, *self.subject.told]
        assert states[-1] is self.health.state
        assert all(a is not b for a, b in itertools.pairwise(states))

    @invariant()
    def a_failure_is_a_doubt_or_an_outage(self) -> None:
        if self.last == "bad":
            assert self.health.doubt(self.subject.now) or self.health.state is DOWN

    @invariant()
    def never_recovers_from_nothing(self) -> None:
        for before, after in zip([UNKNOWN, *self.subject.told], self.subject.told, strict=False):
            assert after is not RECOVERING or before is DOWN


AnyOrder.TestCase.settings = settings(max_examples=200, deadline=None)
TestAnyOrder = AnyOrder.TestCase


# What is offered


def test_of_several_hosts_what_all_offer() -> None:
    wide = Capabilities(size_offered=True, size=None, dsn=True, xclient=frozenset({"ADDR", "NAME"}))
    tight = Capabilities(size_offered=True, size=100, xclient=frozenset({"ADDR"}), rcpt_max=5)
    both = Capabilities(size_offered=True, size=100, xclient=frozenset({"ADDR"}), rcpt_max=5)
    assert narrower(wide, tight) == narrower(tight, wide) == both
    offers = Offers()
    assert (offers.note("a", wide), offers.note("a", wide)) == (True, False)
    assert (offers.note("b", tight), offers.together) == (True, both)
    assert (offers.keep(["a"]), offers.together) == (True, wide)
    assert (offers.keep(["c"]), offers.together) == (False, wide)


def test_words_are_those_of_ehlo() -> None:
    offered = Capabilities(
        size_offered=True, size=1000, dsn=True, xclient=frozenset({"NAME", "ADDR"}), mail_max=7
    )
    assert words(offered) == ("DSN", "LIMITS MAILMAX=7", "SIZE 1000", "XCLIENT ADDR NAME")
    assert words(Capabilities()) == ()


# All of them


class Fixed:
    def __init__(self, *hops: NextHop) -> None:
        self.route: Route | None = Route(key="k", hops=hops)

    def known(self, domain: str) -> Route | None:
        return self.route if domain == D else None


HOP = NextHop("a", "192.0.2.1", 25)


class Registry:
    def __init__(self, *hops: NextHop, store: PrimaryStore | None = None) -> None:
        self.now = 1000.0
        self.events: list[Event] = []
        self.routes = Fixed(*hops or (HOP,))
        self.healths = Healths(
            Settings(), self.routes, self.events.append, store=store, clock=lambda: self.now
        )
        self.healths.served.append(lambda key: (f"d{number}.example" for number in range(9)))

    def states(self) -> Sequence[PrimaryState]:
        return [
            PrimaryState(event.after) for event in self.events if isinstance(event, PrimaryChanged)
        ]


def test_a_domain_stands_as_its_route_and_a_hold_goes_first() -> None:
    registry = Registry()
    healths = registry.healths
    assert (healths.standing("other.example").key, healths.standing(D).key) == (None, "k")
    assert healths.standing(D).state is UNKNOWN
    healths.reached("k", HOST, Capabilities(dsn=True))
    found = healths.standing(D)
    assert (found.state, found.doubt, found.capabilities) == (UP, False, Capabilities(dsn=True))
    (told,) = registry.events
    assert isinstance(told, PrimaryChanged)
    assert (told.destination, len(told.domains)) == ("k", 5)
    healths.set_hold(D, Held(5.0, "maintenance"))
    found = healths.standing(D)
    assert (found.state, found.since, found.reason) == (HELD, 5.0, "maintenance")
    healths.set_hold(D, None)
    assert healths.standing(D).state is UP


def test_other_backups_are_no_primary() -> None:
    registry = Registry(NextHop("b", "192.0.2.9", 25, intermediate=True))
    registry.healths.standing(D)
    registry.healths.reached("k", "b", Capabilities())
    assert registry.healths.standing(D).state is DOWN


def test_evidence_of_routes_that_nobody_knows_is_dropped() -> None:
    registry = Registry()
    registry.healths.reached("x", HOST, Capabilities())
    registry.healths.failed("x", HOST, "refused")
    assert not registry.events


def test_a_route_failed_when_all_its_hosts_did() -> None:
    registry = Registry()
    registry.healths.of("k").hosts = ("a", "b")
    registry.healths.reached("k", "a", Capabilities())
    for _ in range(5):
        registry.now += 1
        registry.healths.failed("k", "a", "refused")
    assert not registry.healths.standing(D).doubt
    assert (registry.healths.ailing("k", "a"), registry.healths.ailing("k", "b")) == (True, False)
    for _ in range(2):
        registry.now += 1
        registry.healths.failed("k", "b", "refused")
    assert registry.states() == [UP, DOWN]


def test_who_asked_for_a_check_that_failed_is_told_of_an_outage() -> None:
    registry = Registry()
    healths = registry.healths
    healths.standing(D)
    healths.reached("k", HOST, Capabilities())

    async def refused(domain: str) -> bool:
        healths.failed("k", HOST, f"{domain} refused")
        return False

    healths.checker = refused
    found = run(healths.look(D))
    assert (found.state, found.doubt, found.reason) == (DOWN, True, f"{D} refused")
    assert healths.standing(D).state is UP


def test_offers_outlive_a_restart(tmp_path: Path) -> None:
    offered = Capabilities(size_offered=True, size=7, xclient=frozenset({"ADDR"}))

    async def work() -> Capabilities | None:
        store = await PrimaryStore.open(tmp_path, print)
        registry = Registry(store=store)
        registry.now = time.time()  # what is very old is forgotten
        registry.healths.standing(D)
        registry.healths.reached("k", HOST, offered)
        await store.close()
        store = await PrimaryStore.open(tmp_path, print)
        found = Registry(store=store).healths.standing(D).capabilities
        await store.close()
        return found

    assert run(work()) == offered
