"""From replies to what status and log say of a handover."""

import pytest

from tideover.events.delivery_records import (
    Delivered,
    DeliveryDeferred,
    DeliveryRefused,
    PrimaryChanged,
)
from tideover.events.event import Event
from tideover.events.handover_records import HandoverMended, HandoverTrouble
from tideover.events.pass_records import PassedRefused, PassedThrough, PassThroughLost
from tideover.primary import handover_watch
from tideover.primary.handover_watch import QUIET, HandoverWatch
from tideover.smtp.capabilities import Capabilities

DOMAIN = "example.com"
GREY = "450 4.2.0 Recipient address rejected: Greylisted"
RELAY = "554 5.7.1 Relay access denied"
KNOWING = Capabilities(xclient=frozenset({"ADDR"}))


class Desk:
    """A watch, and what it said."""

    def __init__(self, offered: Capabilities | None = None) -> None:
        self.said: list[Event] = []
        self.watch = HandoverWatch(self.said.append, lambda _: offered)

    def take(self, *events: Event) -> list[str]:
        """Keywords of what was told meanwhile; "-" before those that are over."""
        del self.said[:]
        for event in events:
            self.watch.take(event, b"")
        return [("-" if isinstance(e, HandoverMended) else "") + e.keyword for e in self.said
                if isinstance(e, (HandoverTrouble, HandoverMended))]  # fmt: skip


def refused(reply: str = RELAY, *, time: float = 0.0, domain: str = DOMAIN) -> Event:
    return DeliveryRefused(
        time=time, message="M1", domain=domain, recipients=(f"user@{domain}",), host="mail",
        reply=reply, stage="RCPT",
    )  # fmt: skip


def deferred(reply: str = GREY, *, time: float = 0.0) -> Event:
    return DeliveryDeferred(
        time=time, message="M1", domain=DOMAIN, recipients=("user@example.com",), host="mail",
        reply=reply,
    )  # fmt: skip


def delivered(*, time: float = 0.0) -> Event:
    return Delivered(
        time=time, message="M2", domain=DOMAIN, recipients=("user@example.com",), host="mail",
        reply="250 2.0.0 Ok", waited=1.0,
    )  # fmt: skip


def passed(*, time: float = 0.0) -> Event:
    return PassedThrough(
        time=time, message="M3", session="S", client="198.51.100.7", helo="h", protocol="ESMTP",
        sender="a@example.net", recipients=("User@EXAMPLE.com",), size=1, host="mail", told="",
        reply="250 2.0.0 Ok",
    )  # fmt: skip


def pass_refused(reply: str) -> Event:
    return PassedRefused(
        time=0.0, message="M4", session="S", client="198.51.100.7", domain=DOMAIN,
        sender="a@example.net", recipients=("user@example.com",), host="mail", reply=reply,
        stage="RCPT",
    )  # fmt: skip


def changed(after: str, reason: str) -> Event:
    return PrimaryChanged(
        time=5.0, destination="mail:25", before="up", after=after, reason=reason, domains=(DOMAIN,)
    )


def test_it_is_told_once_and_kept_until_it_goes_well() -> None:
    desk = Desk()
    assert desk.take(refused(time=10.0), refused(time=11.0)) == ["no-relay"]
    trouble = desk.watch.trouble(DOMAIN)
    assert trouble is not None
    assert (trouble.sign.keyword, trouble.count, trouble.since, trouble.latest) == (
        "no-relay", 2, 10.0, 11.0,
    )  # fmt: skip
    assert desk.watch.trouble("example.org") is None
    assert desk.take(refused(time=2 * QUIET)) == [], "it lasts"
    assert desk.take(delivered(time=3 * QUIET)) == ["-no-relay"]
    assert desk.watch.trouble(DOMAIN) is None
    assert desk.take(delivered(time=3 * QUIET)) == []


def test_who_is_greylisted_each_time_is_told_so_once_an_hour() -> None:
    desk = Desk()
    assert desk.take(deferred(time=1.0), delivered(time=2.0)) == ["greylisted", "-greylisted"]
    assert desk.take(deferred(time=3.0), delivered(time=4.0)) == []
    assert desk.take(deferred(time=QUIET + 1.0)) == ["greylisted"]


def test_another_sign_is_told_at_once() -> None:
    desk = Desk()
    assert desk.take(deferred(time=1.0), refused(time=2.0)) == ["greylisted", "no-relay"]


def test_a_primary_that_knows_the_client_speaks_of_him() -> None:
    desk = Desk(KNOWING)
    assert desk.take(deferred(), pass_refused(GREY)) == []
    assert desk.take(pass_refused(RELAY)) == ["no-relay"]
    assert Desk().take(pass_refused(GREY)) == ["greylisted"]


def test_what_passes_through_is_good_news_too() -> None:
    desk = Desk()
    assert desk.take(refused(time=1.0), passed(time=2.0)) == ["no-relay", "-no-relay"]


def test_a_primary_that_does_not_let_us_in() -> None:
    desk = Desk(KNOWING)
    reason = "127.0.0.1:25: greeting: 554 5.7.1 Client host rejected: Access denied"
    assert desk.take(changed("down", reason)) == ["blocked"]
    assert desk.take(changed("recovering", "it answers")) == ["-blocked"]
    assert desk.take(changed("down", "connection refused")) == []
    assert desk.take(refused(), changed("up", "")) == ["no-relay"], "which only mail can disprove"


def test_trouble_while_it_passes_through() -> None:
    lost = PassThroughLost(
        time=1.0, message="M5", session="S", client="198.51.100.7", domain=DOMAIN,
        recipients=("user@example.com",), host="mail", stage="RCPT",
        reason="in trouble: 421 4.7.0 mail.example.com Error: too many connections from 192.0.2.1",
    )  # fmt: skip
    assert Desk().take(lost) == ["limited"]
    assert Desk(KNOWING).take(lost) == []


@pytest.mark.parametrize(
    "reply", ["550 5.1.1 User unknown", "connection lost", "554 5.7.1 Spam", "452 4.2.2 Over quota"]
)
def test_ordinary_refusals_are_none_of_its_business(reply: str) -> None:
    desk = Desk()
    assert desk.take(refused(reply), deferred(reply), pass_refused(reply)) == []
    assert desk.watch.trouble(DOMAIN) is None


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover_watch, "REMEMBERED", 3)
    desk = Desk()
    desk.take(*(refused(domain=f"d{n}.example") for n in range(9)))
    assert [n for n in range(9) if desk.watch.trouble(f"d{n}.example")] == [6, 7, 8]
    assert desk.take(refused("550 relaying denied " + "x" * 5000)) == ["no-relay"]
    trouble = desk.watch.trouble(DOMAIN)
    assert trouble is not None
    assert len(trouble.reply) == 500
