"""outbound.aging: what becomes of old mail, with the spool in memory."""

import asyncio
import email
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from tideover.config.model import Config, Domain
from tideover.config.values import Endpoint
from tideover.events.delivery_records import Bounced, DeadLettered, DeadLetterExpired
from tideover.events.event import Event
from tideover.message.envelope import (
    Client,
    Envelope,
    Evidence,
    NewMessage,
    QueueId,
    Recipient,
    SessionId,
)
from tideover.outbound import aging as aging_module
from tideover.outbound.aging import Aging
from tideover.spool.interface import (
    Change,
    DomainHold,
    Filter,
    Settlement,
    SpoolUnavailable,
    State,
    StoredMessage,
)
from tideover.spool.memory import MemorySpool

DAY = 86_400.0
START = 1_795_600_000.0
CLIENT = Client(
    session=SessionId("s1"), address="192.0.2.1", port=1, helo="c.example", protocol="ESMTP"
)


class Watch:
    """A spool, an aging and a clock that the test moves."""

    def __init__(self, **settings: Any) -> None:
        self.now = START
        self.spool = MemorySpool()
        self.events: list[Event] = []
        self.queued: set[str] = set()
        short = settings.pop("short", None)
        hop = (Endpoint("127.0.0.1", 2526),)
        self.config = Config(
            hostname="mx2.example.org",
            data_dir=Path(),
            domains={
                "example.com": Domain(primary=hop, recipients=("file:r",)),
                "short.example": Domain(
                    primary=hop, recipients=("file:r",), message_lifetime=short
                ),
            },
            **settings,
        )
        self.aging = Aging(
            self.spool,
            self.config,
            self.events.append,
            on_queued=self.queued.update,
            clock=lambda: self.now,
        )

    def put(
        self,
        *recipients: str,
        sender: str = "anna@example.net",
        authenticated: bool | None = None,
        notify: tuple[str, ...] = (),
        body: bytes = b"Subject: x\r\n\r\nHello\r\n",
    ) -> QueueId:
        queue_id = self.spool.new_id(self.now)
        self.spool.store(
            NewMessage(
                queue_id=queue_id,
                received_at=self.now,
                envelope=Envelope(
                    sender=sender,
                    recipients=tuple(
                        Recipient(address=r, domain=r.rpartition("@")[2], notify=notify)
                        for r in recipients
                    ),
                ),
                client=CLIENT,
                trace=b"Received: by mx2.example.org\r\n",
                evidence=Evidence(sender_authenticated=authenticated),
            ),
            body,
        )
        return queue_id

    def age(self, seconds: float) -> None:
        """Let time pass, then make a pass."""
        self.now += seconds
        run(self.aging.make_pass())

    def show(self, queue_id: QueueId) -> StoredMessage | None:
        return run(self.spool.show(queue_id))

    def states(self, queue_id: QueueId) -> list[State]:
        message = self.show(queue_id)
        return [row.state for row in message.recipients] if message else []

    def reports(self) -> list[StoredMessage]:
        return list(run(self.spool.select(Filter(sender=""))))

    def text(self, message: StoredMessage) -> str:
        async def read() -> bytes:
            return b"".join([chunk async for chunk in self.spool.read(message.queue_id)])

        return run(read()).decode()


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


def test_young_mail_is_left_alone() -> None:
    watch = Watch()
    queue_id = watch.put("user@example.com")
    before = watch.show(queue_id)
    watch.age(4 * 3600 - 1)
    assert watch.show(queue_id) == before
    assert watch.events == []


def test_i2_i7_expiry_without_authenticated_sender_ends_in_dead_letters() -> None:
    watch = Watch()
    queue_id = watch.put("user@example.com")
    watch.age(14 * DAY + 1)
    message = watch.show(queue_id)
    assert message is not None
    assert message.recipients[0].state is State.DEAD
    assert message.recipients[0].reason == (
        "not delivered within its lifetime; no report: the sender is not authenticated"
    )
    assert message.recipients[0].attempts == 0
    assert watch.reports() == []
    (event,) = watch.events
    assert isinstance(event, DeadLettered)
    assert (event.message, event.recipients) == (queue_id, ("user@example.com",))


def test_i5_expiry_of_an_authenticated_sender_leaves_the_report_in_the_message_s_place() -> None:
    watch = Watch()
    queue_id = watch.put("user@example.com", "other@example.com", authenticated=True)
    watch.age(14 * DAY + 1)
    assert watch.show(queue_id) is None
    (report,) = watch.reports()
    assert report.envelope.recipients[0].address == "anna@example.net"
    assert report.evidence.notes == (f"dsn of {queue_id}",)
    text = watch.text(report)
    assert email.message_from_string(text)["To"] == "<anna@example.net>"
    assert "Received: by mx2.example.org\r\nSubject: x\r\n" in text
    assert watch.queued == {"example.net"}
    (event,) = watch.events
    assert isinstance(event, Bounced)
    assert (event.report, event.kind) == (report.queue_id, "expired")
    assert event.recipients == ("user@example.com", "other@example.com")


def test_i7_a_report_that_expires_makes_no_report() -> None:
    watch = Watch()
    queue_id = watch.put("anna@example.com", sender="", authenticated=True)
    watch.age(14 * DAY + 1)
    assert watch.states(queue_id) == [State.DEAD]
    assert len(watch.reports()) == 1  # itself


def test_a_domain_s_own_lifetime() -> None:
    watch = Watch(short=DAY, delay_warning=0.0)
    both = watch.put("a@short.example", "b@example.com")
    longer = watch.put("c@example.com")
    watch.age(DAY + 1)
    assert watch.states(both) == [State.DEAD, State.QUEUED]
    assert watch.states(longer) == [State.QUEUED]
    watch.age(13 * DAY)
    assert watch.states(both) == [State.DEAD, State.DEAD]


def test_a_lifetime_longer_than_the_general_one() -> None:
    watch = Watch(short=30 * DAY, dead_letter_lifetime=90 * DAY)
    long, other = watch.put("a@short.example"), watch.put("b@example.com")
    watch.age(20 * DAY)
    assert watch.states(long) == [State.QUEUED]
    assert watch.states(other) == [State.DEAD]
    watch.age(11 * DAY)
    assert watch.states(long) == [State.DEAD]


@pytest.mark.parametrize("how", ["held", "domain held", "leased"])
def test_what_does_not_expire(how: str) -> None:
    watch = Watch()
    queue_id = watch.put("user@example.com")
    if how == "held":
        run(watch.spool.hold(Filter(), reason="why", now=watch.now))
    elif how == "domain held":
        hold = DomainHold(domain="example.com", reason="why", by="me", since=watch.now)
        run(watch.spool.hold_domain(hold))
    else:
        run(watch.spool.claim("example.com", limit=1, lease=1e9, now=watch.now))
    before = watch.states(queue_id)
    watch.age(15 * DAY)
    assert watch.states(queue_id) == before
    assert watch.events == []


def test_a_lease_that_is_taken_meanwhile_is_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    queue_id = watch.put("user@example.com", authenticated=True)
    settle = watch.spool.settle

    async def claim_first(settlements: list[Settlement], *, now: float) -> list[QueueId]:
        await watch.spool.claim("example.com", limit=1, lease=60, now=now)
        return list(await settle(settlements, now=now))

    monkeypatch.setattr(watch.spool, "settle", claim_first)
    watch.age(15 * DAY)
    assert watch.states(queue_id) == [State.LEASED]
    # that it is late may be told at any time, but no end to it
    assert [e.kind for e in watch.events if isinstance(e, Bounced)] == ["delayed"]
    (report,) = watch.reports()
    assert "Will-Retry-Until" not in watch.text(report)


def test_deferred_mail_expires_with_its_last_reply_told() -> None:
    watch = Watch()
    queue_id = watch.put("user@example.com", authenticated=True)
    change = Change(
        index=0, state=State.DEFERRED, reply="450 4.2.1 Mailbox of p.example.com busy",
        host="p.example.com[192.0.2.7]:25", not_before=START + 99 * DAY,
    )  # fmt: skip
    run(watch.spool.settle([Settlement(queue_id=queue_id, changes=(change,))], now=watch.now))
    watch.age(14 * DAY + 1)
    (report,) = watch.reports()
    text = watch.text(report)
    assert "Diagnostic-Code: smtp; 450 4.2.1 Mailbox of (host) busy" in text
    assert "Status: 4.4.7" in text
    assert "p.example.com" not in text
    assert "192.0.2.7" not in text


def test_released_dead_letters_are_tried_for_a_day_although_they_are_old() -> None:
    watch = Watch()
    queue_id = watch.put("user@example.com")
    watch.age(14 * DAY + 1)
    run(watch.spool.release(Filter(), now=watch.now))
    watch.age(DAY - 1)
    assert watch.states(queue_id) == [State.QUEUED]
    watch.age(2)
    assert watch.states(queue_id) == [State.DEAD]


def test_a_delay_is_told_once() -> None:
    watch = Watch()
    queue_id = watch.put("user@example.com", authenticated=True)
    watch.age(4 * 3600 + 1)
    watch.age(60)
    watch.age(DAY)
    assert watch.states(queue_id) == [State.QUEUED]
    (report,) = watch.reports()
    text = watch.text(report)
    assert "Action: delayed" in text
    assert "Will-Retry-Until: Wed, 9 Dec 2026 09:46:40 +0000" in text
    assert [e.kind for e in watch.events if isinstance(e, Bounced)] == ["delayed"]


@pytest.mark.parametrize(
    ("sender", "authenticated", "notify"),
    [
        ("anna@example.net", None, ()),
        ("anna@example.net", False, ()),
        ("", True, ()),
        ("anna@example.net", True, ("NEVER",)),
        ("anna@example.net", True, ("FAILURE",)),
    ],
)
def test_i7_a_delay_that_may_not_be_told_is_noted(
    sender: str, authenticated: bool | None, notify: tuple[str, ...]
) -> None:
    watch = Watch()
    queue_id = watch.put(
        "user@example.com", sender=sender, authenticated=authenticated, notify=notify
    )
    watch.age(4 * 3600 + 1)
    message = watch.show(queue_id)
    assert message is not None
    assert message.recipients[0].delay_notified
    assert message.recipients[0].state is State.QUEUED
    assert watch.events == []


def test_no_delay_reports_when_they_are_off() -> None:
    watch = Watch(delay_warning=0.0)
    watch.put("user@example.com", authenticated=True)
    watch.age(5 * DAY)
    assert watch.reports() == []


def test_many_messages_go_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aging_module, "PAGE", 3)
    watch = Watch()
    ids = [watch.put("user@example.com") for _ in range(10)]
    watch.age(4 * 3600 + 1)
    assert all(m.recipients[0].delay_notified for m in map(watch.show, ids) if m)
    watch.age(14 * DAY)
    assert [watch.states(i) for i in ids] == [[State.DEAD]] * 10
    watch.age(30 * DAY + 2)
    assert [watch.states(i) for i in ids] == [[]] * 10
    assert len([e for e in watch.events if isinstance(e, DeadLetterExpired)]) == 10


def test_i2_dead_letters_end_after_their_lifetime_and_only_they() -> None:
    watch = Watch(short=30 * DAY, dead_letter_lifetime=10 * DAY)
    queue_id = watch.put("a@example.com", "b@short.example")
    watch.age(14 * DAY + 1)
    assert watch.states(queue_id) == [State.DEAD, State.QUEUED]
    watch.age(10 * DAY - 5)
    assert watch.states(queue_id) == [State.DEAD, State.QUEUED]
    watch.age(3600)
    message = watch.show(queue_id)
    assert message is not None
    assert [row.address for row in message.recipients] == ["b@short.example"]
    (event,) = [e for e in watch.events if isinstance(e, DeadLetterExpired)]
    assert (event.message, event.sender) == (queue_id, "anna@example.net")
    assert event.recipients == ("a@example.com",)


def test_i2_a_dead_letter_released_at_the_last_moment_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch = Watch(dead_letter_lifetime=DAY)
    queue_id = watch.put("user@example.com")
    watch.age(14 * DAY + 1)
    remove = watch.spool.remove

    async def release_first(wanted: Filter) -> list[QueueId]:
        await watch.spool.release(Filter(), now=watch.now)
        return list(await remove(wanted))

    monkeypatch.setattr(watch.spool, "remove", release_first)
    watch.age(2 * DAY)
    assert watch.states(queue_id) == [State.QUEUED]
    assert not any(isinstance(e, DeadLetterExpired) for e in watch.events)


def test_reconfigure_changes_lifetimes() -> None:
    watch = Watch()
    queue_id = watch.put("user@example.com")
    watch.age(DAY)
    watch.aging.reconfigure(replace_config(watch.config, message_lifetime=DAY / 2))
    watch.age(1)
    assert watch.states(queue_id) == [State.DEAD]


def replace_config(config: Config, **changes: Any) -> Config:
    import dataclasses

    return dataclasses.replace(config, **changes)


@pytest.mark.parametrize(
    ("settings", "pause"),
    [
        ({}, 60),
        ({"message_lifetime": 100.0}, 10),
        ({"short": 50.0}, 5),
        ({"delay_warning": 2.0}, 1),
        ({"delay_warning": 0.0, "message_lifetime": 0.1}, 1),
    ],
)
def test_run_goes_on_after_trouble_and_pauses_by_the_shortest_time(
    settings: dict[str, float], pause: float
) -> None:
    watch = Watch(**settings)
    queue_id = watch.put("user@example.com", "user@short.example")
    watch.spool.trouble = SpoolUnavailable("disk")
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        watch.spool.trouble = None
        watch.now += 15 * DAY
        if len(pauses) == 3:
            raise asyncio.CancelledError

    watch.aging._sleep = sleep
    watch.now += 15 * DAY
    with pytest.raises(asyncio.CancelledError):
        run(watch.aging.run())
    assert pauses == [pause] * 3
    assert watch.states(queue_id) == [State.DEAD, State.DEAD]


def test_a_message_that_is_gone_does_not_stop_the_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    first = watch.put("user@example.com", authenticated=True)
    second = watch.put("user@example.com", authenticated=True)
    read = watch.spool.read

    def read_(queue_id: QueueId, start: int = 0) -> Any:
        return read(QueueId("gone") if queue_id == first else queue_id, start)

    monkeypatch.setattr(watch.spool, "read", read_)
    watch.age(14 * DAY + 1)
    assert watch.states(first) == [State.QUEUED]
    assert watch.show(second) is None


def test_a_held_domain_waits_also_beside_one_that_expires() -> None:
    watch = Watch()
    queue_id = watch.put("user@example.com", "user@short.example")
    hold = DomainHold(domain="example.com", reason="why", by="me", since=watch.now)
    run(watch.spool.hold_domain(hold))
    watch.age(15 * DAY)
    assert watch.states(queue_id) == [State.QUEUED, State.DEAD]
