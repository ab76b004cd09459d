"""Callouts as a source: what is asked, what is remembered, and what never counts."""

import asyncio
from pathlib import Path

import pytest

from tideover.events.event import Event
from tideover.events.recipient_records import CatchAllFound
from tideover.recipients.facts import Fact, Facts, State
from tideover.recipients.interface import Confidence
from tideover.recipients.sources.callout import (
    SOURCE,
    Answer,
    CalloutAsker,
    Probed,
    Unavailable,
    nobody,
)
from tideover.recipients.sources.callout_keeper import CalloutKeeper
from tideover.recipients.sources.interface import SourceError
from tideover.recipients.sources.mailbox import doubts_mailbox, refuses_mailbox

DOMAIN = "example.com"
DAY = 86400.0
NOW = 1_000_000_000.0


class Primary:
    """Answers probes from a table; everyone else is refused."""

    def __init__(self, *users: str) -> None:
        self.users = set(users)
        self.catch_all = False
        self.trouble: SourceError | None = None
        self.nobody_trouble: SourceError | None = None
        self.doubts = False
        self.asked: list[str] = []
        self.backgrounds: list[bool] = []
        self.gate: asyncio.Event | None = None

    async def probe(self, domain: str, local: str, *, background: bool = False) -> Probed:
        self.asked.append(local)
        self.backgrounds.append(background)
        if self.gate is not None:
            await self.gate.wait()
        if self.trouble is not None:
            raise self.trouble
        if self.nobody_trouble is not None and local.startswith("tideover-"):
            raise self.nobody_trouble
        if self.catch_all or local in self.users:
            return Probed(Answer.TAKEN, "250 2.1.5 ok")
        if self.doubts:
            return Probed(Answer.DOUBTED, "450 4.1.1 unknown")
        return Probed(Answer.REFUSED, "550 5.1.1 unknown")

    @property
    def names(self) -> list[str]:
        """What it was asked, the random one as a star."""
        asked, self.asked = self.asked, []
        return ["*" if name.startswith("tideover-") else name for name in asked]


class House:
    """The asker with its memory, primary and clock."""

    def __init__(self, facts: Facts, primary: Primary, events: list[Event]) -> None:
        self.facts = facts
        self.primary = primary
        self.events = events
        self.now = NOW
        self.up: bool | None = True
        self.asker = CalloutAsker(facts, primary, events.append, clock=lambda: self.now)
        self.keeper = CalloutKeeper(
            facts,
            self.asker,
            sources_of=lambda domain: (SOURCE,) if domain == DOMAIN else (),
            primary_up=lambda _: self.up,
            clock=lambda: self.now,
        )

    async def ask(self, *names: str) -> Confidence:
        match = await self.asker.ask(DOMAIN, names)
        assert match is not None
        return match.confidence

    async def background(self) -> None:
        """Let what was begun in the background end."""
        while tasks := [*self.asker._addresses.values(), *self.asker._catch_alls.values()]:
            await asyncio.wait(tasks)


@pytest.fixture
def play(tmp_path: Path):
    def play(scenario, *users: str) -> list[Event]:
        events: list[Event] = []

        async def played() -> None:
            clock = {"house": None}
            facts = await Facts.open(
                tmp_path / "addresses.sqlite",
                events.append,
                clock=lambda: clock["house"].now if clock["house"] else NOW,
            )
            house = clock["house"] = House(facts, Primary(*users), events)
            try:
                await scenario(house)
            finally:
                await house.asker.close()
                await facts.close()

        asyncio.run(played())
        return events

    return play


def test_a_yes_counts_after_an_address_that_nobody_has_was_refused(play) -> None:
    async def scenario(house: House) -> None:
        assert await house.ask("user") is Confidence.LEARNED
        assert house.primary.names == ["user", "*"]
        assert await house.ask("user") is Confidence.LEARNED
        assert await house.ask("other") is Confidence.LEARNED
        assert house.primary.names == ["other"]
        house.now += 3 * 3600 + 1
        assert await house.ask("third") is Confidence.LEARNED
        assert house.primary.names == ["third", "*"]

    assert play(scenario, "user", "other", "third") == []


def test_a_no_is_remembered_for_three_hours(play) -> None:
    async def scenario(house: House) -> None:
        assert await house.ask("nobody") is Confidence.REFUSED
        house.now += 3 * 3600 - 1
        assert await house.ask("nobody") is Confidence.REFUSED
        assert house.primary.names == ["nobody"]
        house.primary.users.add("nobody")
        house.now += 2
        assert await house.ask("nobody") is Confidence.LEARNED

    play(scenario)


def test_a_yes_is_asked_again_after_a_week_without_being_waited_for(play) -> None:
    async def scenario(house: House) -> None:
        await house.ask("user")
        house.now += 7 * DAY - 1
        assert await house.ask("user") is Confidence.LEARNED
        assert house.primary.names == ["user", "*"]
        house.now += 2
        house.primary.gate = asyncio.Event()
        assert await house.ask("user") is Confidence.LEARNED
        house.primary.users.clear()
        house.primary.gate.set()
        await house.background()
        assert house.primary.backgrounds[-1]
        assert await house.ask("user") is Confidence.REFUSED

    play(scenario, "user")


@pytest.mark.parametrize("trouble", [Unavailable("down"), SourceError("450 greylisted")])
def test_what_is_no_answer_never_changes_a_yes(play, trouble: SourceError) -> None:
    async def scenario(house: House) -> None:
        await house.ask("user")
        house.primary.trouble = trouble
        for day in (8, 20, 30):
            house.now = NOW + day * DAY
            assert await house.ask("user") is Confidence.LEARNED
            await house.background()
        house.now = NOW + 31 * DAY + 1
        with pytest.raises(SourceError):
            await house.ask("user")
        with pytest.raises(SourceError):
            await house.ask("unknown")

    play(scenario, "user")


def test_a_domain_that_takes_anybody_is_a_catch_all_and_nobody_of_it_is_remembered(play) -> None:
    async def scenario(house: House) -> None:
        house.primary.catch_all = True
        assert await house.ask("user") is Confidence.CATCH_ALL
        assert house.primary.names == ["user", "*"]
        house.primary.trouble = Unavailable("down")
        house.now += 6 * DAY
        assert await house.ask("anybody") is Confidence.CATCH_ALL
        await house.background()
        assert house.primary.names == ["*"]
        assert await house.facts.page(DOMAIN, SOURCE) == []
        house.primary.trouble, house.primary.catch_all = None, False
        assert await house.ask("anybody") is Confidence.CATCH_ALL
        await house.background()
        assert await house.ask("anybody") is Confidence.REFUSED

    (event,) = play(scenario, "user")
    assert isinstance(event, CatchAllFound)


def test_a_yes_does_not_count_while_it_is_not_known_whether_anybody_is_taken(play) -> None:
    async def scenario(house: House) -> None:
        house.primary.nobody_trouble = SourceError("450 4.7.1 greylisted")
        with pytest.raises(SourceError, match="greylisted"):
            await house.ask("user")
        assert await house.facts.page(DOMAIN, SOURCE) == []
        house.primary.nobody_trouble = None
        assert await house.ask("user") is Confidence.LEARNED

    play(scenario, "user")


def test_a_primary_that_doubts_whom_it_does_not_know_is_no_catch_all(play) -> None:
    async def scenario(house: House) -> None:
        house.primary.doubts = True  # Postfix with unknown_..._reject_code = 450
        assert await house.ask("user") is Confidence.LEARNED
        with pytest.raises(SourceError, match=r"450 4\.1\.1"):
            await house.ask("unknown")

    play(scenario, "user")


def test_an_address_is_asked_for_once_at_a_time_and_who_gives_up_ends_nothing(play) -> None:
    async def scenario(house: House) -> None:
        house.primary.gate = asyncio.Event()
        waiting = [asyncio.ensure_future(house.ask("user")) for _ in range(20)]
        while not house.primary.asked:
            await asyncio.sleep(0)
        for one in waiting[:19]:
            one.cancel()
        house.primary.gate.set()
        assert await waiting[19] is Confidence.LEARNED
        assert house.primary.names == ["user", "*"]

    play(scenario, "user")


def test_the_number_under_way_is_bounded(play, monkeypatch) -> None:
    monkeypatch.setattr("tideover.recipients.sources.callout.UNDER_WAY", 3)

    async def scenario(house: House) -> None:
        house.primary.gate = asyncio.Event()
        waiting = [asyncio.ensure_future(house.ask(f"u{n}")) for n in range(3)]
        while len(house.primary.asked) < 3:
            await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await house.ask("u4")
        await house.asker.close()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in answers] == [Unavailable] * 3

    play(scenario)


def test_a_primary_that_never_answers_is_given_up(play, monkeypatch) -> None:
    monkeypatch.setattr("tideover.recipients.sources.callout.PATIENCE", 0.05)

    async def scenario(house: House) -> None:
        house.primary.gate = asyncio.Event()
        with pytest.raises(Unavailable, match="no answer"):
            await house.ask("user")

    play(scenario, "user")


def test_without_its_detail_an_address_counts_when_it_is_good_and_not_when_it_is_refused(
    play,
) -> None:
    async def scenario(house: House) -> None:
        await house.ask("user")
        await house.ask("tagged")
        assert house.primary.names == ["user", "*", "tagged"]
        assert await house.ask("user+x", "user") is Confidence.LEARNED
        assert house.primary.names == []
        house.primary.users.add("tagged+x")
        assert await house.ask("tagged+x", "tagged") is Confidence.LEARNED
        assert house.primary.names == ["tagged+x"]

    play(scenario, "user")


def test_nobody_is_different_each_time() -> None:
    assert len({nobody() for _ in range(100)}) == 100


# The keeper


def test_seeds_are_verified_ahead_and_those_refused_are_no_longer_due(play) -> None:
    async def scenario(house: House) -> None:
        await house.facts.seed(DOMAIN, ["user", "gone"], SOURCE, until=NOW + 31 * DAY)
        assert await house.keeper.make_pass() == 2
        assert sorted(house.primary.names) == ["*", "gone", "user"]
        assert all(house.primary.backgrounds)
        assert await house.keeper.make_pass() == 0
        house.primary.trouble = Unavailable("down")
        assert await house.ask("user") is Confidence.LEARNED
        assert await house.ask("gone") is Confidence.REFUSED
        house.primary.trouble = None
        house.now += 7 * DAY + 1
        assert await house.keeper.make_pass() == 1
        assert house.primary.names == ["*", "user"]

    play(scenario, "user")


def test_nothing_is_asked_ahead_while_the_primary_is_down_or_the_domain_not_ours(play) -> None:
    async def scenario(house: House) -> None:
        await house.facts.seed(DOMAIN, ["user"], SOURCE, until=NOW + 31 * DAY)
        await house.facts.seed("example.net", ["user"], SOURCE, until=NOW + 31 * DAY)
        house.up = False
        assert await house.keeper.make_pass() == 0
        assert house.primary.names == []
        house.up = None
        assert await house.keeper.make_pass() == 1

    play(scenario, "user")


def test_what_can_not_be_said_now_is_asked_later_and_does_not_hold_up_the_rest(play) -> None:
    async def scenario(house: House) -> None:
        await house.ask("known")
        house.primary.names  # noqa: B018
        house.primary.doubts = True
        names = [f"u{number:03}" for number in range(40)]
        await house.facts.seed(DOMAIN, names, SOURCE, until=NOW + 31 * DAY)
        house.primary.users.add("u039")
        await house.keeper.make_pass()
        await house.keeper.make_pass()
        assert sorted(house.primary.names) == names
        await house.keeper.make_pass()
        assert house.primary.names == []
        house.primary.trouble = Unavailable("asked too often")
        house.now += 3601
        await house.keeper.make_pass()
        assert len(house.primary.names) == 1

    play(scenario, "known")


def test_seeds_of_a_catch_all_wait_a_day(play) -> None:
    async def scenario(house: House) -> None:
        house.primary.catch_all = True
        await house.facts.seed(DOMAIN, ["user"], SOURCE, until=NOW + 31 * DAY)
        assert await house.keeper.make_pass() == 1
        assert house.primary.names == ["*"]
        assert await house.keeper.make_pass() == 0

    play(scenario)


def test_domains_that_can_not_be_asked_keep_no_other_waiting(play, monkeypatch) -> None:
    monkeypatch.setattr("tideover.recipients.sources.callout_keeper._DOMAINS", 2)

    async def scenario(house: House) -> None:
        for number in range(5):
            name = f"a{number}.example"
            await house.facts.seed(name, ["user"], SOURCE, until=NOW + 31 * DAY)
        await house.facts.seed(DOMAIN, ["user"], SOURCE, until=NOW + 31 * DAY)
        assert sum([await house.keeper.make_pass() for _ in range(4)]) == 1
        await house.facts.seed(DOMAIN, ["other"], SOURCE, until=NOW + 31 * DAY)
        assert sum([await house.keeper.make_pass() for _ in range(4)]) == 1, "and from the first"

    play(scenario, "user")


def test_it_runs_until_it_is_cancelled(play) -> None:
    async def scenario(house: House) -> None:
        pauses = []

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)
            await asyncio.sleep(0)
            if len(pauses) == 2:
                raise asyncio.CancelledError

        house.keeper._sleep = sleep
        await house.facts.seed(DOMAIN, ["user"], SOURCE, until=NOW + 31 * DAY)
        with pytest.raises(asyncio.CancelledError):
            await house.keeper.run()
        assert pauses == [2.0, 30.0]

    play(scenario, "user")


def test_a_delivery_renews_what_is_good(play) -> None:
    async def scenario(house: House) -> None:
        await house.ask("user")
        house.now += 6 * DAY
        house.facts.note(DOMAIN, "user", SOURCE, Fact(
            state=State.SEED, at=house.now, until=house.now + 31 * DAY, due=house.now))  # fmt: skip
        house.now += 6 * DAY
        house.primary.names  # noqa: B018
        assert await house.ask("user") is Confidence.LEARNED
        assert await house.keeper.make_pass() == 0
        assert house.primary.names == []

    play(scenario, "user")


# What a reply says


@pytest.mark.parametrize(
    ("reply", "refused"),
    [
        ("550 5.1.1 no such user", True),
        ("550 no such user", True),
        ("551 user not local", True),
        ("553 mailbox name not allowed", True),
        ("554 5.1.1 no such user", True),
        ("550 5.1.10 RESOLVER.ADR.RecipientNotFound", True),
        ("550 5.2.1 mailbox disabled", True),
        ("550 5.4.1 Recipient address rejected: Access denied", True),
        ("550 5.5.0 mailbox unavailable", True),
        ("550 5.7.1 blocked", False),
        ("550 5.7.23 SPF", False),
        ("554 5.7.1 Relay access denied", False),
        ("554 Relay access denied", False),
        ("550 relay not permitted", False),
        ("550 5.1.2 no such domain", False),
        ("550 5.1.8 sender's domain", False),
        ("550 5.1.7 sender", False),
        ("552 5.2.2 mailbox full", False),
        ("550 5.6.7 SMTPUTF8", False),
        ("550 5.4.14 routing loop", False),
        ("554 transaction failed", False),
        ("450 4.1.1 unknown", False),
        ("450 5.1.1 confused", False),
        ("550 4.1.1 confused", False),
        ("5500 5.1.1", False),
        ("", False),
        ("gibberish", False),
    ],
)
def test_only_what_speaks_of_the_mailbox_refuses_it(reply: str, refused: bool) -> None:
    assert refuses_mailbox(reply) is refused


@pytest.mark.parametrize(
    ("reply", "doubted"),
    [
        ("450 4.1.1 unknown", True),
        ("451 4.1.8 sender", False),
        ("450 4.7.1 greylisted", False),
        ("450 later", False),
        ("550 5.1.1 no", False),
    ],
)
def test_a_doubt_is_for_now(reply: str, doubted: bool) -> None:
    assert doubts_mailbox(reply) is doubted
