"""Learning from deliveries: what the primary said of a mailbox, and nothing else."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tideover.events.delivery_records import Delivered, DeliveryDeferred, DeliveryRefused
from tideover.events.encoding import encode
from tideover.events.event import Event
from tideover.events.pass_records import PassedRefused, PassedThrough
from tideover.events.stream import EventStream
from tideover.recipients.facts import Facts
from tideover.recipients.interface import Confidence
from tideover.recipients.sources.callout import SOURCE as CALLOUT
from tideover.recipients.sources.learn import LearnAsker, Learning

DAY = 86400.0
NOW = 1_000_000_000.0
SOURCES = {
    "example.com": ("learn",),
    "both.example": ("callout", "learn"),
    "asks.example": ("callout",),
    "hashed.example": ("feed:push",),
}


def delivered(*recipients: str, at: float = NOW, domain: str = "example.com") -> Delivered:
    return Delivered(time=at, message="Q", domain=domain, recipients=recipients, host="h",
                     reply="250 2.0.0 ok", waited=1.0)  # fmt: skip


def refused(
    *recipients: str,
    at: float = NOW,
    domain: str = "example.com",
    reply: str = "550 5.1.1 unknown",
    stage: str | None = "RCPT",
) -> DeliveryRefused:
    return DeliveryRefused(time=at, message="Q", domain=domain, recipients=recipients, host="h",
                           reply=reply, stage=stage)  # fmt: skip


def passed(*recipients: str, host: str = "h") -> PassedThrough:
    return PassedThrough(
        time=NOW, message="Q", session="s", client="192.0.2.1", helo="c", protocol="ESMTP",
        sender="", recipients=recipients, size=1, host=host, told="XCLIENT", reply="250 2.0.0 ok",
    )  # fmt: skip


def passed_refused(*recipients: str, reply: str, stage: str = "RCPT") -> PassedRefused:
    return PassedRefused(
        time=NOW, message="Q", session="s", client="192.0.2.1", domain="example.com", sender="",
        recipients=recipients, host="h", reply=reply, stage=stage,
    )  # fmt: skip


class House:
    def __init__(self, facts: Facts, clock: list[float]) -> None:
        self.facts = facts
        self.clock = clock
        self.learning = Learning(facts, lambda domain: SOURCES.get(domain, ()))
        self.asker = LearnAsker(facts)

    def tell(self, *events: Event) -> None:
        for event in events:
            self.learning.take(event, encode(event))

    async def ask(self, *names: str, domain: str = "example.com") -> Confidence | None:
        match = await self.asker.ask(domain, names)
        return match.confidence if match is not None else None


@pytest.fixture
def play(tmp_path: Path):
    def play(scenario) -> None:
        async def played() -> None:
            clock = [NOW]
            path = tmp_path / "addresses.sqlite"
            facts = await Facts.open(path, lambda _: None, clock=lambda: clock[0])
            try:
                await scenario(House(facts, clock))
            finally:
                await facts.close()

        asyncio.run(played())

    return play


def test_whom_the_primary_took_mail_for_is_learned_for_a_month_from_the_last(play) -> None:
    async def scenario(house: House) -> None:
        assert await house.ask("user") is None
        house.tell(delivered("User@example.com", '"other one"@example.com'))
        assert await house.ask("user") is Confidence.LEARNED
        assert await house.ask("other one") is Confidence.LEARNED
        house.tell(delivered("user@example.com", at=NOW + 20 * DAY))
        house.clock[0] = NOW + 31 * DAY + 1
        assert await house.ask("other one") is None
        assert await house.ask("user") is Confidence.LEARNED
        house.clock[0] = NOW + 51 * DAY + 1
        assert await house.ask("user") is None

    play(scenario)


def test_what_another_backup_says_is_not_the_primarys_word(play) -> None:
    async def scenario(house: House) -> None:
        house.learning = Learning(house.facts, lambda _: ("learn",), lambda _, host: host != "h")
        house.tell(delivered("user@example.com"), refused("gone@example.com"))
        house.tell(passed("user@example.com"))
        house.tell(passed_refused("gone@example.com", reply="550 5.1.1 unknown"))
        assert await house.ask("user") is None
        assert await house.ask("gone") is None

    play(scenario)


def test_whom_it_refused_is_refused_for_three_days_or_until_a_delivery(play) -> None:
    async def scenario(house: House) -> None:
        house.tell(refused("gone@example.com", "back@example.com"))
        house.clock[0] = NOW + 3 * DAY - 1
        house.tell(delivered("back@example.com", at=NOW + DAY))
        assert await house.ask("gone") is Confidence.REFUSED
        assert await house.ask("back") is Confidence.LEARNED
        house.clock[0] = NOW + 3 * DAY
        assert await house.ask("gone") is None
        house.tell(refused("back@example.com", at=NOW + 2 * DAY))
        assert await house.ask("back") is Confidence.REFUSED
        house.tell(delivered("back@example.com", at=NOW + DAY))
        assert await house.ask("back") is Confidence.REFUSED

    play(scenario)


@pytest.mark.parametrize(
    "event",
    [
        refused("user@example.com", stage="BODY", reply="550 5.1.1 spam, pretending"),
        refused("user@example.com", stage="DATA", reply="550 no"),
        refused("user@example.com", stage="MAIL", reply="550 5.1.8 bad sender"),
        refused("user@example.com", stage=None, reply="553 5.6.7 needs SMTPUTF8"),
        refused("user@example.com", reply="554 5.7.1 blocked"),
        refused("user@example.com", reply="552 5.2.2 mailbox full"),
        DeliveryDeferred(message="Q", domain="example.com", recipients=("user@example.com",),
                         host="h", reply="450 4.1.1 later"),
    ],
)  # fmt: skip
def test_what_does_not_speak_of_the_mailbox_is_not_held_against_it(play, event: Event) -> None:
    async def scenario(house: House) -> None:
        house.tell(event)
        assert await house.ask("user") is None
        house.tell(delivered("user@example.com", at=NOW - 1), event)
        assert await house.ask("user") is Confidence.LEARNED

    play(scenario)


def test_what_passes_through_is_learned_for_each_domain(play) -> None:
    async def scenario(house: House) -> None:
        house.tell(passed("User@Example.COM", "a@both.example", "b@b\u00fccher.example", "@"))
        assert await house.ask("user") is Confidence.LEARNED
        assert await house.ask("a", domain="both.example") is Confidence.LEARNED
        assert await house.ask("a") is None

    play(scenario)


@pytest.mark.parametrize(
    ("reply", "stage", "learned"),
    [
        ("550 5.1.1 no such user", "RCPT", Confidence.REFUSED),
        ("550 5.1.10 no such user", "RCPT", Confidence.REFUSED),
        ("550 no such user, or your address is on a list", "RCPT", None),
        ("550 5.5.0 mailbox unavailable", "RCPT", None),
        ("554 5.7.1 your address is on a list", "RCPT", None),
        ("553 5.1.8 your domain does not exist", "RCPT", None),
        ("450 4.1.1 later", "RCPT", None),
        ("550 5.1.1 pretending", "BODY", None),
    ],
)
def test_a_refusal_that_passes_through_has_to_speak_of_the_mailbox(
    play, reply: str, stage: str, learned: Confidence | None
) -> None:
    async def scenario(house: House) -> None:
        house.tell(passed_refused("gone@example.com", reply=reply, stage=stage))
        assert await house.ask("gone") is learned

    play(scenario)


def test_without_its_detail_an_address_counts_when_it_is_good(play) -> None:
    async def scenario(house: House) -> None:
        house.tell(delivered("user@example.com"), refused("gone@example.com", "user+x@example.com"))
        assert await house.ask("user+y", "user") is Confidence.LEARNED
        assert await house.ask("user+x", "user") is Confidence.REFUSED
        assert await house.ask("gone+x", "gone") is None

    play(scenario)


def test_it_helps_callouts_too(play) -> None:
    async def scenario(house: House) -> None:
        for domain in ("both.example", "asks.example"):
            house.tell(delivered(f"user@{domain}", domain=domain))
            house.tell(refused(f"gone@{domain}", domain=domain))
            assert await house.facts.due_domains(CALLOUT, 9) != []
            assert await house.facts.due(domain, CALLOUT, 9) == ["user"]
            (known,) = await house.facts.get(domain, ["gone"], CALLOUT)
            assert known is not None
        assert await house.ask("user", domain="both.example") is Confidence.LEARNED
        assert await house.ask("user", domain="asks.example") is None

    play(scenario)


def test_of_domains_that_do_not_learn_nothing_is_kept(play, tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        for domain in ("hashed.example", "stranger.example"):
            house.tell(delivered(f"secret@{domain}", domain=domain))
            house.tell(refused(f"secret@{domain}", domain=domain))
        await house.facts.flush()
        with closing(sqlite3.connect(tmp_path / "addresses.sqlite")) as conn:
            assert conn.execute("SELECT count(*) FROM fact").fetchone() == (0,)

    play(scenario)
    assert all(b"secret" not in path.read_bytes() for path in tmp_path.iterdir())


def test_it_is_a_sink_of_the_stream(play) -> None:
    async def scenario(house: House) -> None:
        stream = EventStream([house.learning])
        stream.attach()
        stream.emit(delivered("user@example.com", "a b@example.com", "\ud800@example.com"))
        await asyncio.sleep(0)
        assert stream.failures == 0
        assert await house.ask("user") is Confidence.LEARNED
        stream.close()

    play(scenario)
