"""What outcomes lead to, and the order: durable, then told."""

import asyncio

import pytest

from tideover.events import delivery_records, records
from tideover.message.envelope import Client, Envelope, Evidence, Recipient
from tideover.outbound.outcome import Deferred, Delivered, Refused, Unknown
from tideover.outbound.settle import Settler, Terms, conclude_attempt, return_unused
from tideover.smtp.replies import reply
from tideover.spool.interface import (
    Change,
    Claim,
    RecipientRow,
    Settlement,
    SpoolUnavailable,
    State,
    StoredMessage,
)

OK = reply(250, "2.0.0", "taken")
LATER = reply(450, "4.2.0", "later")
NO = reply(550, "5.1.1", "no")
TERMS = Terms(hostname="mx2.example.org", first_backoff=60.0, max_backoff=3600.0,
              new_id=lambda _now: "R1")  # fmt: skip


def claim(count: int = 3, *, attempts: int = 0, **recipient) -> Claim:
    recipients = tuple(
        Recipient(address=f"r{n}@example.com", domain="example.com", **recipient)
        for n in range(count)
    )
    message = StoredMessage(
        queue_id="Q1",
        received_at=1000.0,
        size=10,
        envelope=Envelope(sender="s@example.net", recipients=recipients),
        client=Client(session="s", address="192.0.2.1", port=1, helo="h", protocol="SMTP"),
        evidence=Evidence(),
        trace=b"Received: x\r\n",
        recipients=tuple(
            RecipientRow(index=n, address=one.address, domain=one.domain, state=State.LEASED,
                         attempts=attempts)
            for n, one in enumerate(recipients)
        ),
    )  # fmt: skip
    return Claim(message=message, indexes=tuple(range(count)), head=b"A: b\r\n\r\nx\r\n",
                 lease_until=9999.0)  # fmt: skip


def conclude(claimed: Claim, *outcomes):
    return conclude_attempt(
        claimed,
        list(enumerate(outcomes)),
        host="mx[192.0.2.9]:25",
        tls="TLSv1.3 X",
        now=1010.0,
        chance=0.0,
        terms=TERMS,
    )


def test_delivered():
    ending = conclude(claim(2), Delivered(OK), Delivered(OK))
    assert ending.settlements == (
        Settlement(
            queue_id="Q1",
            changes=tuple(
                Change(index=n, state=State.DELIVERED, reply="250 2.0.0 taken",
                       host="mx[192.0.2.9]:25")
                for n in range(2)
            ),
        ),
    )  # fmt: skip
    (event,) = ending.events
    assert event == delivery_records.Delivered(
        time=1010.0,
        message="Q1",
        domain="example.com",
        recipients=("r0@example.com", "r1@example.com"),
        host="mx[192.0.2.9]:25",
        reply="250 2.0.0 taken",
        waited=10.0,
        tls="TLSv1.3 X",
    )


@pytest.mark.parametrize(
    ("outcome", "attempts", "state", "counted", "not_before"),
    [
        (Deferred("450 later", LATER, message_specific=True), 0, State.DEFERRED, True, 1070.0),
        (Deferred("450 later", LATER, message_specific=True), 3, State.DEFERRED, True, 1490.0),
        (Deferred("lost"), 3, State.QUEUED, False, 0.0),
        (Unknown("lost"), 0, State.QUEUED, True, 0.0),
        (Unknown("lost"), 1, State.DEFERRED, True, 1130.0),
    ],
)
def test_what_is_not_final(outcome, attempts, state, counted, not_before):
    ending = conclude(claim(1, attempts=attempts), outcome)
    (change,) = ending.settlements[0].changes
    assert (change.state, change.counted, change.not_before) == (state, counted, not_before)


def test_every_recipient_has_exactly_one_change():
    ending = conclude(claim(4), Delivered(OK), Deferred("x"), Refused(NO), Unknown("y"))
    changes = [change for one in ending.settlements for change in one.changes]
    assert sorted(change.index for change in changes) == [0, 1, 2, 3]
    assert {change.index: change.state for change in changes} == {
        0: State.DELIVERED, 1: State.QUEUED, 2: State.DEAD, 3: State.QUEUED
    }  # fmt: skip
    assert [type(event) for event in ending.events] == [
        delivery_records.Delivered,
        delivery_records.DeliveryDeferred,
        delivery_records.DeliveryUnknown,
        delivery_records.DeliveryRefused,
        delivery_records.DeadLettered,
    ]
    assert all(one.report is None for one in ending.settlements)


def test_each_recipient_is_told_with_the_reply_that_it_got():
    spam = reply(554, "5.7.1", "spam")
    ending = conclude(
        claim(3), Refused(NO, stage="RCPT"), Refused(spam, stage="BODY"), Refused(NO, stage="RCPT")
    )
    told = [event for event in ending.events if isinstance(event, delivery_records.DeliveryRefused)]
    assert [(one.recipients, one.reply, one.stage) for one in told] == [
        (("r0@example.com", "r2@example.com"), "550 5.1.1 no", "RCPT"),
        (("r1@example.com",), "554 5.7.1 spam", "BODY"),
    ]


def test_success_asked_for_and_not_passed_on_makes_no_backscatter_yet():
    ending = conclude(claim(1, notify=("SUCCESS",)), Delivered(OK))
    assert [change.state for one in ending.settlements for change in one.changes] == [
        State.DELIVERED
    ]
    assert all(one.report is None for one in ending.settlements)


def test_long_replies_are_cut():
    ending = conclude(claim(1), Deferred("x" * 50_000))
    assert len(ending.settlements[0].changes[0].reply) == 1000


def test_unused_claims_go_back_uncounted():
    (settlement,) = return_unused([claim(2)], "host down")
    assert [(c.index, c.state, c.counted, c.reply) for c in settlement.changes] == [
        (0, State.QUEUED, False, "host down"),
        (1, State.QUEUED, False, "host down"),
    ]


class FakeSpool:
    """Keeps what was settled, when let."""

    def __init__(self) -> None:
        self.batches: list[list[Settlement]] = []
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def settle(self, settlements, *, now):
        await self.gate.wait()
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        self.batches.append(list(settlements))


EVENT = records.DaemonStopped(reason="x")


def one(queue_id: str) -> tuple[Settlement, ...]:
    return (Settlement(queue_id=queue_id, changes=()),)


def test_i4_told_only_when_durable_and_many_in_one_go():
    async def scenario():
        spool, told = FakeSpool(), []
        settler = Settler(spool, told.append, lambda: 0.0)
        tasks = [asyncio.create_task(settler.settle(one(str(n)), (EVENT,))) for n in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(settler.settle(one("late"), (EVENT,))))
        await asyncio.sleep(0)
        assert told == []
        spool.gate.set()
        await asyncio.gather(*tasks)
        assert [[s.queue_id for s in batch] for batch in spool.batches] == [
            ["0", "1", "2"], ["late"]
        ]  # fmt: skip
        assert len(told) == 4

    asyncio.run(scenario())


def test_tried_again_while_the_spool_cannot_write(monkeypatch):
    monkeypatch.setattr("tideover.outbound.settle.RETRY", 0.001)

    async def scenario():
        spool, told = FakeSpool(), []
        spool.gate.set()
        spool.error = SpoolUnavailable("disk")
        await Settler(spool, told.append, lambda: 0.0).settle(one("1"), (EVENT,))
        assert len(spool.batches) == len(told) == 1

    asyncio.run(scenario())


def test_a_fault_is_told_to_all_who_wait():
    async def scenario():
        spool, told = FakeSpool(), []
        spool.gate.set()
        spool.error = ZeroDivisionError()
        settler = Settler(spool, told.append, lambda: 0.0)
        results = await asyncio.gather(
            *(settler.settle(one(str(n)), (EVENT,)) for n in range(2)), return_exceptions=True
        )
        assert [type(result) for result in results] == [ZeroDivisionError] * 2
        assert told == []
        await settler.settle(one("next"), ())
        assert len(spool.batches) == 1

    asyncio.run(scenario())
