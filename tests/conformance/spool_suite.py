"""What every spool must do. Run against each implementation by `test_*_spool.py`.

A subclass gives `opened()`, an async context manager that yields a fresh, empty spool.
"""

import asyncio
import sqlite3
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path

import msgspec
import pytest

from tideover.message.envelope import (
    Client,
    Envelope,
    Evidence,
    NewMessage,
    QueueId,
    Recipient,
    SessionId,
)
from tideover.smtp.receipt import Receipt
from tideover.spool.interface import (
    CHUNK,
    Change,
    DomainCount,
    DomainHold,
    Filter,
    Lost,
    Settlement,
    Spool,
    State,
)

NOW = 1_790_000_000.0
HOUR = 3600.0
HERE = "here.example"
THERE = "there.example"
BODY = b"Subject: x\r\n\r\n.dots\r\n\0 and any \xff octets\r\n"


def new_message(queue_id, *, to=("ann@here.example",), sender="bob@far.example", at=NOW):
    """A message for these addresses."""
    recipients = tuple(
        Recipient(
            address=address,
            domain=address.rpartition("@")[2],
            notify=("FAILURE", "DELAY"),
            orcpt="rfc822;" + address,
        )
        for address in to
    )
    return NewMessage(
        queue_id=queue_id,
        received_at=at,
        envelope=Envelope(
            sender=sender,
            recipients=recipients,
            body="8BITMIME",
            smtputf8=True,
            ret="HDRS",
            envid="id+2Bx",
        ),
        client=Client(
            session=SessionId("S1"),
            address="2001:db8::1",
            port=25000,
            helo="far.example",
            protocol="ESMTPS",
            tls="TLSv1.3 TLS_AES_256_GCM_SHA384",
        ),
        trace=b"Received: from far.example\r\n\tby here; \xc3\xa9\r\n",
        evidence=Evidence(sender_authenticated=True, notes=("spf=pass",)),
    )


async def put_held(spool: Spool, reason: str, *, to, body=BODY, at=NOW) -> QueueId:
    """Store a message that is held from the start."""
    queue_id = spool.new_id(at)
    intake = spool.open(queue_id)
    intake.write(body)
    message = msgspec.structs.replace(new_message(queue_id, to=to, at=at), held=reason)
    await intake.commit(message)
    return queue_id


async def put(spool: Spool, *, body: bytes = BODY, at: float = NOW, **fields) -> QueueId:
    """Store a message, its body in one piece."""
    queue_id = spool.new_id(at)
    intake = spool.open(queue_id)
    await write(intake, body)
    receipt = await intake.commit(new_message(queue_id, at=at, **fields))
    assert receipt == Receipt(queue_id)
    return queue_id


async def write(intake, data: bytes, step: int = 50_000) -> None:
    for start in range(0, len(data), step):
        waiting = intake.write(data[start : start + step])
        if waiting is not None:
            await waiting


async def body_of(spool: Spool, queue_id: QueueId, start: int = 0) -> bytes:
    return b"".join([piece async for piece in spool.read(queue_id, start)])


async def claim(spool: Spool, domain=HERE, limit=10, lease=60.0, now=NOW):
    return await spool.claim(domain, limit=limit, lease=lease, now=now)


def settled(queue_id, *changes: Change, **fields) -> Settlement:
    return Settlement(queue_id=queue_id, changes=changes, **fields)


def to(state: State, index: int = 0, **fields) -> Change:
    return Change(index=index, state=state, **fields)


async def state_of(spool: Spool, queue_id: QueueId, index: int = 0) -> State:
    message = await spool.show(queue_id)
    assert message is not None
    return next(row.state for row in message.recipients if row.index == index)


def nothing_left_over(path: Path) -> None:
    """In a database: each chunk and recipient belongs to a message, and the file is sound."""
    with closing(sqlite3.connect(path)) as conn:
        for orphans in (
            """SELECT id FROM chunk WHERE id >> 14 NOT IN (
                SELECT id FROM message UNION SELECT id FROM staging)""",
            "SELECT message_id FROM recipient WHERE message_id NOT IN (SELECT id FROM message)",
            "SELECT id FROM message WHERE id NOT IN (SELECT message_id FROM recipient)",
        ):
            assert conn.execute(orphans).fetchall() == []
        assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


class SpoolSuite:
    """The suite. Each test opens a spool of its own."""

    def opened(self) -> AbstractAsyncContextManager[Spool]:
        raise NotImplementedError

    def run(self, test) -> None:
        async def main() -> None:
            async with self.opened() as spool:
                await test(spool)

        asyncio.run(main())

    # Taking in

    def test_I3_all_of_a_message_comes_out_as_it_went_in(self):
        async def test(spool):
            queue_id = await put(spool, to=("ann@here.example", "Eve@there.example"))
            message = await spool.show(queue_id)
            wanted = new_message(queue_id, to=("ann@here.example", "Eve@there.example"))
            assert message.queue_id == queue_id
            assert message.received_at == NOW
            assert message.size == len(BODY)
            assert message.envelope == wanted.envelope
            assert message.client == wanted.client
            assert message.evidence == wanted.evidence
            assert message.trace == wanted.trace
            assert [row.address for row in message.recipients] == [
                "ann@here.example",
                "Eve@there.example",
            ]
            assert [row.domain for row in message.recipients] == [HERE, THERE]
            assert {row.state for row in message.recipients} == {State.QUEUED}
            assert {row.attempts for row in message.recipients} == {0}
            assert await body_of(spool, queue_id) == BODY

        self.run(test)

    @pytest.mark.parametrize(
        "size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 5 * CHUNK + 7, 9 * CHUNK]
    )
    @pytest.mark.parametrize("step", [1000, 50_000, CHUNK, 3 * CHUNK])
    def test_I3_bodies_of_all_sizes_come_out_as_they_went_in(self, size, step):
        body = bytes(i * 7 % 251 for i in range(1021)) * (size // 1021 + 1)
        body = body[:size]

        async def test(spool):
            queue_id = spool.new_id(NOW)
            intake = spool.open(queue_id)
            await write(intake, body, step)
            assert intake.size == size
            await intake.commit(new_message(queue_id))
            assert await body_of(spool, queue_id) == body
            for start in range(0, size + CHUNK, CHUNK):
                assert await body_of(spool, queue_id, start) == body[start:]
            (claimed,) = await claim(spool)
            assert claimed.head == body[:CHUNK]
            assert claimed.message.size == size

        self.run(test)

    def test_pieces_of_single_octets(self):
        async def test(spool):
            queue_id = spool.new_id(NOW)
            intake = spool.open(queue_id)
            await write(intake, BODY * 40, 1)
            await intake.commit(new_message(queue_id))
            assert await body_of(spool, queue_id) == BODY * 40

        self.run(test)

    def test_ids_grow_even_when_the_clock_steps_back(self):
        async def test(spool):
            times = [NOW, NOW, NOW + 5, NOW - 100, NOW + 5, NOW + 6]
            ids = [spool.new_id(time) for time in times]
            assert ids == sorted(set(ids))

        self.run(test)

    @pytest.mark.parametrize("size", [10, CHUNK + 1, 6 * CHUNK])
    def test_I6_an_aborted_body_leaves_nothing(self, size):
        async def test(spool):
            queue_id = spool.new_id(NOW)
            intake = spool.open(queue_id)
            await write(intake, b"x" * size)
            intake.abort()
            intake.abort()
            assert await spool.show(queue_id) is None
            assert await spool.counts() == []
            with pytest.raises(KeyError):
                await body_of(spool, queue_id)

        self.run(test)

    @pytest.mark.parametrize("size", [10, 3 * CHUNK + 1])
    def test_an_id_may_be_opened_again_once_its_body_is_forgotten(self, size):
        async def test(spool):
            queue_id = spool.new_id(NOW)
            intake = spool.open(queue_id)
            await write(intake, b"x" * size)
            if (forgotten := intake.abort()) is not None:
                await forgotten
            again = spool.open(queue_id)
            await write(again, b"y" * size)
            await again.commit(new_message(queue_id))
            await asyncio.sleep(0)
            assert await body_of(spool, queue_id) == b"y" * size

        self.run(test)

    @pytest.mark.parametrize("size", [10, CHUNK + 1])
    @pytest.mark.parametrize("to", [("ann@here.example",), ("a@here.example", "b@there.example")])
    def test_a_message_may_be_held_from_the_start(self, to, size):
        async def test(spool):
            others = put(spool)
            held = put_held(spool, "policy: too odd", to=to, body=b"x" * size)
            await asyncio.gather(others, held)
            queue_id = (await spool.select(Filter(states=(State.HELD,))))[0].queue_id
            shown = await spool.show(queue_id)
            assert {(row.state, row.reason) for row in shown.recipients} == {
                (State.HELD, "policy: too odd")
            }
            assert [c.message.queue_id for c in await claim(spool)] != [queue_id]
            assert await spool.release(Filter(ids=(queue_id,)), now=NOW) == len(to)
            assert [c.message.queue_id for c in await claim(spool)] == [queue_id]

        self.run(test)

    def test_abort_does_not_touch_what_is_committed(self):
        async def test(spool):
            queue_id = spool.new_id(NOW)
            intake = spool.open(queue_id)
            await write(intake, b"x" * 3 * CHUNK)
            await intake.commit(new_message(queue_id))
            intake.abort()
            assert await body_of(spool, queue_id) == b"x" * 3 * CHUNK

        self.run(test)

    def test_many_at_once(self):
        async def test(spool):
            ids = await asyncio.gather(
                *(put(spool, body=b"%d" % n, at=NOW + n) for n in range(100))
            )
            assert [m.queue_id for m in await spool.select(Filter())] == sorted(ids)
            for number, queue_id in enumerate(ids):
                assert await body_of(spool, queue_id) == b"%d" % number

        self.run(test)

    # Going home

    def test_claims_are_the_oldest_of_the_domain_and_only_once(self):
        async def test(spool):
            ids = [await put(spool, at=NOW + n) for n in range(5)]
            await put(spool, to=("x@there.example",))
            first = await claim(spool, limit=2)
            second = await claim(spool, limit=10)
            assert [c.message.queue_id for c in first] == ids[:2]
            assert [c.message.queue_id for c in second] == ids[2:]
            assert await claim(spool) == [] or not await claim(spool)
            assert {c.lease_until for c in first} == {NOW + 60}
            assert first[0].head == BODY
            assert await state_of(spool, ids[0]) is State.LEASED

        self.run(test)

    def test_a_claim_takes_all_recipients_of_its_domain_and_no_others(self):
        async def test(spool):
            await put(spool, to=("a@here.example", "b@there.example", "c@here.example"))
            (here,) = await claim(spool)
            assert here.indexes == (0, 2)
            states = [row.state for row in here.message.recipients]
            assert states == [State.LEASED, State.QUEUED, State.LEASED]
            (there,) = await claim(spool, THERE)
            assert there.indexes == (1,)

        self.run(test)

    def test_indexes_are_in_order_whatever_happened_to_recipients(self):
        async def test(spool):
            queue_id = await put(spool, to=("a@here.example", "b@here.example", "c@here.example"))
            note = to(State.QUEUED, 0, delay_notified=True)
            await spool.settle([settled(queue_id, note)], now=NOW)
            (claimed,) = await claim(spool)
            assert claimed.indexes == (0, 1, 2)
            await spool.settle([settled(queue_id, to(State.QUEUED, 0))], now=NOW)
            await claim(spool, lease=1)
            (lost,) = await spool.lost(now=NOW, all_leases=True)
            assert lost.addresses == ("a@here.example", "b@here.example", "c@here.example")

        self.run(test)

    def test_I2_a_message_goes_when_its_last_recipient_is_closed(self):
        async def test(spool):
            queue_id = await put(spool, to=("a@here.example", "b@here.example"))
            await claim(spool)
            await spool.settle([settled(queue_id, to(State.DELIVERED, 1, reply="250 x"))], now=NOW)
            assert await state_of(spool, queue_id, 0) is State.LEASED
            assert await state_of(spool, queue_id, 1) is State.DELIVERED
            await spool.settle([settled(queue_id, to(State.BOUNCED, 0))], now=NOW)
            assert await spool.show(queue_id) is None
            assert await spool.counts() == []
            with pytest.raises(KeyError):
                await body_of(spool, queue_id)

        self.run(test)

    @pytest.mark.parametrize("size", [0, 10, CHUNK + 1, 7 * CHUNK])
    def test_one_settled_message_leaves_the_others(self, size):
        async def test(spool):
            ids = [await put(spool, body=b"y" * size, at=NOW + n) for n in range(3)]
            await claim(spool)
            await spool.settle([settled(ids[1], to(State.DELIVERED))], now=NOW)
            assert [m.queue_id for m in await spool.select(Filter())] == [ids[0], ids[2]]
            assert await body_of(spool, ids[0]) == b"y" * size
            assert await body_of(spool, ids[2]) == b"y" * size

        self.run(test)

    def test_a_lease_that_ends_untried_leaves_the_time_of_the_last_change(self):
        async def test(spool):
            queue_id = await put(spool)
            (before,) = (await spool.show(queue_id)).recipients
            for untried in (
                lambda: spool.settle(
                    [settled(queue_id, to(State.QUEUED, counted=False))], now=NOW + HOUR
                ),
                lambda: spool.recover(now=NOW + HOUR, all_leases=True),
            ):
                assert await claim(spool)
                await untried()
                (row,) = (await spool.show(queue_id)).recipients
                assert (row.state, row.changed_at) == (State.QUEUED, before.changed_at)
            assert await claim(spool)
            await spool.settle([settled(queue_id, to(State.QUEUED))], now=NOW + HOUR)
            (row,) = (await spool.show(queue_id)).recipients
            assert (row.attempts, row.changed_at) == (1, NOW + HOUR)

        self.run(test)

    def test_I4_what_an_attempt_led_to_is_kept(self):
        async def test(spool):
            queue_id = await put(spool)
            await claim(spool)
            later = to(
                State.DEFERRED, reply="450 4.2.0 later", host="mx[::1]", not_before=NOW + HOUR
            )
            assert not await spool.settle([settled(queue_id, later)], now=NOW + 1)
            (row,) = (await spool.show(queue_id)).recipients
            assert (row.state, row.attempts, row.not_before) == (State.DEFERRED, 1, NOW + HOUR)
            assert (row.last_reply, row.last_host) == ("450 4.2.0 later", "mx[::1]")
            assert row.changed_at == NOW + 1
            assert not await claim(spool)
            again = to(State.DEAD, counted=False, reason="expired")
            await spool.settle([settled(queue_id, again)], now=NOW + 2)
            (row,) = (await spool.show(queue_id)).recipients
            assert (row.state, row.attempts, row.reason) == (State.DEAD, 1, "expired")
            assert row.last_reply == "450 4.2.0 later"

        self.run(test)

    def test_back_to_queued_can_be_claimed_at_once(self):
        async def test(spool):
            queue_id = await put(spool)
            await claim(spool)
            await spool.settle([settled(queue_id, to(State.QUEUED, counted=False))], now=NOW)
            (again,) = await claim(spool)
            assert again.message.recipients[0].attempts == 0

        self.run(test)

    def test_settlements_of_a_message_in_one_call_are_done_in_turn(self):
        async def test(spool):
            queue_id = await put(spool, to=("a@here.example", "b@here.example"))
            await claim(spool)
            skipped = await spool.settle(
                [
                    settled(queue_id, to(State.DELIVERED, 0)),
                    settled(queue_id, to(State.DEAD, 1)),
                    settled(queue_id, to(State.DELIVERED, 1)),
                    settled(queue_id, to(State.DELIVERED, 1)),
                ],
                now=NOW,
            )
            assert skipped == [queue_id]
            assert await spool.show(queue_id) is None

        self.run(test)

    def test_I5_a_report_is_stored_with_the_closing_of_the_original(self):
        async def test(spool):
            queue_id = await put(spool)
            await claim(spool)
            report = new_message(spool.new_id(NOW + 1), to=("bob@far.example",), sender="")
            body = b"To: bob\r\n\r\nno such user\r\n" * 4000
            settlement = settled(queue_id, to(State.BOUNCED), report=report, report_body=body)
            await spool.settle([settlement], now=NOW)
            assert await spool.show(queue_id) is None
            assert (await spool.show(report.queue_id)).envelope.sender == ""
            assert await body_of(spool, report.queue_id) == body

        self.run(test)

    def test_I5_no_second_report_for_what_is_closed(self):
        async def test(spool):
            queue_id = await put(spool, to=("a@here.example", "b@here.example"))
            await spool.settle([settled(queue_id, to(State.BOUNCED))], now=NOW)
            report = new_message(spool.new_id(NOW + 1), to=("bob@far.example",), sender="")
            again = settled(queue_id, to(State.BOUNCED), report=report, report_body=b"x")
            assert await spool.settle([again], now=NOW) == [queue_id]
            assert await spool.show(report.queue_id) is None

        self.run(test)

    def test_a_settlement_without_lease_leaves_leased_recipients_alone(self):
        async def test(spool):
            queue_id = await put(spool)
            await claim(spool)
            expire = settled(queue_id, to(State.DEAD, counted=False), leased=False)
            assert await spool.settle([expire], now=NOW) == [queue_id]
            assert await state_of(spool, queue_id) is State.LEASED
            await spool.settle([settled(queue_id, to(State.QUEUED))], now=NOW)
            assert not await spool.settle([expire], now=NOW)
            assert await state_of(spool, queue_id) is State.DEAD

        self.run(test)

    def test_noting_a_delay_changes_nothing_else(self):
        async def test(spool):
            queue_id = await put(spool)
            await claim(spool)
            note = to(State.QUEUED, delay_notified=True)
            assert not await spool.settle([settled(queue_id, note, leased=False)], now=NOW + 9)
            (row,) = (await spool.show(queue_id)).recipients
            assert (row.state, row.attempts, row.delay_notified) == (State.LEASED, 0, True)

        self.run(test)

    def test_a_late_delivery_counts_although_the_lease_ran_out(self):
        async def test(spool):
            queue_id = await put(spool)
            await claim(spool)
            await spool.recover(now=NOW + HOUR)
            await spool.settle([settled(queue_id, to(State.DELIVERED))], now=NOW + HOUR)
            assert await spool.show(queue_id) is None

        self.run(test)

    def test_settling_what_is_gone_is_no_error(self):
        async def test(spool):
            gone = spool.new_id(NOW)
            assert await spool.settle([settled(gone, to(State.DELIVERED))], now=NOW) == [gone]
            assert not await spool.settle([], now=NOW)

        self.run(test)

    def test_leases_that_run_out_go_back_and_are_told(self):
        async def test(spool):
            old = await put(spool, to=("a@here.example", "b@here.example"))
            fresh = await put(spool, to=("c@there.example",))
            await claim(spool, lease=10)
            await claim(spool, THERE, lease=100)
            assert not await spool.lost(now=NOW + 9)
            await spool.recover(now=NOW + 9)
            assert await state_of(spool, old) is State.LEASED
            lost = await spool.lost(now=NOW + 10)
            assert await state_of(spool, old) is State.LEASED, "asking changes nothing"
            await spool.recover(now=NOW + 10)
            assert lost == [
                Lost(queue_id=old, domain=HERE, addresses=("a@here.example", "b@here.example"))
            ]
            assert await state_of(spool, fresh) is State.LEASED
            assert not await spool.lost(now=NOW + 10)
            assert len(await spool.lost(now=NOW, all_leases=True)) == 1
            await spool.recover(now=NOW, all_leases=True)
            assert await state_of(spool, fresh) is State.QUEUED
            assert len(await claim(spool)) == 1

        self.run(test)

    def test_extended_leases_last_longer(self):
        async def test(spool):
            queue_id = await put(spool)
            await claim(spool, lease=10)
            await spool.extend([queue_id], lease=100, now=NOW + 5)
            assert not await spool.lost(now=NOW + 50)
            assert len(await spool.lost(now=NOW + 105)) == 1

        self.run(test)

    def test_deferred_ones_wait_for_their_time(self):
        async def test(spool):
            ids = [await put(spool, at=NOW + n) for n in range(3)]
            await claim(spool)
            for number, queue_id in enumerate(ids):
                later = to(State.DEFERRED, not_before=NOW + 100 * (number + 1))
                await spool.settle([settled(queue_id, later)], now=NOW)
            assert await spool.wake(now=NOW) == NOW + 100
            assert not await claim(spool)
            assert await spool.wake(now=NOW + 200) == NOW + 300
            woken = await claim(spool)
            assert [c.message.queue_id for c in woken] == ids[:2]
            assert {c.message.recipients[0].not_before for c in woken} == {0.0}
            assert await spool.wake(now=NOW + 300) is None

        self.run(test)

    # Looking

    def test_counts(self):
        async def test(spool):
            assert not await spool.counts()
            first = await put(spool, to=("a@here.example", "b@here.example", "c@there.example"))
            second = await put(spool, body=b"12345", at=NOW + 1)
            await put(spool, body=b"1", to=("x@there.example",), at=NOW + 2)
            await claim(spool, limit=1)
            await spool.settle([settled(first, to(State.DEAD, 1))], now=NOW)
            await spool.settle([settled(second, to(State.HELD))], now=NOW)
            size = len(BODY)
            assert await spool.counts() == [
                DomainCount(domain=HERE, leased=1, dead=1, held=1, octets=2 * size + 5, oldest=NOW),
                DomainCount(domain=THERE, queued=2, octets=size + 1, oldest=NOW),
            ]

        self.run(test)

    def test_show_of_what_is_not_there(self):
        async def test(spool):
            assert await spool.show(spool.new_id(NOW)) is None
            assert await spool.show(QueueId("no such id")) is None
            with pytest.raises(KeyError):
                await body_of(spool, QueueId("no such id"))

        self.run(test)

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            (Filter(), "abcd"),
            (Filter(domain=HERE), "abd"),
            (Filter(domain="else.example"), ""),
            (Filter(states=(State.QUEUED,)), "abc"),
            (Filter(states=(State.HELD, State.DEAD)), "bd"),
            (Filter(states=(State.DEAD,)), "d"),
            (Filter(states=()), ""),
            (Filter(domain=THERE, states=(State.QUEUED,)), "bc"),
            (Filter(domain=HERE, states=(State.QUEUED,)), "a"),
            (Filter(received_before=NOW + 1), "a"),
            (Filter(received_after=NOW + 1), "cd"),
            (Filter(sender="OTHER@far.example"), "c"),
            (Filter(sender=""), "d"),
            (Filter(recipient="Dead@HERE.example"), "d"),
            (Filter(recipient="held@here.example", domain=THERE), ""),
            (Filter(changed_before=NOW + 3), "abc"),
            (Filter(changed_before=NOW + 3.5), "abc"),
            (Filter(ids=()), ""),
        ],
    )
    def test_select(self, wanted, found):
        async def test(spool):
            names = await self._four(spool)
            messages = await spool.select(wanted)
            assert "".join(names[m.queue_id] for m in messages) == found

        self.run(test)

    async def _four(self, spool) -> dict[QueueId, str]:
        a = await put(spool, to=("q@here.example",))
        b = await put(spool, to=("held@here.example", "y@there.example"), at=NOW + 1)
        c = await put(spool, to=("z@there.example",), sender="other@far.example", at=NOW + 2)
        d = await put(spool, to=("dead@here.example",), sender="", at=NOW + 3)
        await spool.settle([settled(b, to(State.HELD))], now=NOW + 4)
        await spool.settle([settled(d, to(State.DEAD))], now=NOW + 4)
        return {a: "a", b: "b", c: "c", d: "d"}

    def test_select_by_ids_and_in_pages(self):
        async def test(spool):
            ids = [await put(spool, at=NOW + n) for n in range(5)]
            wanted = Filter(ids=(ids[3], ids[1], QueueId("nonsense")))
            assert [m.queue_id for m in await spool.select(wanted)] == [ids[1], ids[3]]
            page = await spool.select(Filter(), limit=2)
            assert [m.queue_id for m in page] == ids[:2]
            page = await spool.select(Filter(), after=ids[1], limit=2)
            assert [m.queue_id for m in page] == ids[2:4]

        self.run(test)

    def test_due(self):
        async def test(spool):
            names = await self._four(spool)
            e = await put(spool, at=NOW + 4, to=("a@here.example", "b@there.example"))
            names[e] = "e"

            async def due(**args) -> str:
                return "".join(names[m.queue_id] for m in await spool.due(**args))

            assert await due(received_before=NOW) == ""
            assert await due(received_before=NOW + 4) == "abc"
            assert await due(received_before=NOW + HOUR) == "abce"
            assert await due(received_before=NOW + HOUR, limit=2) == "ab"
            await claim(spool, limit=1)
            (c,) = (queue_id for queue_id, name in names.items() if name == "c")
            later = to(State.DEFERRED, not_before=NOW + HOUR)
            await spool.settle([settled(c, later)], now=NOW)
            assert await due(received_before=NOW + HOUR, delay=True) == "abce"
            notes = [settled(i, to(State.QUEUED, delay_notified=True)) for i in (c, e)]
            await spool.settle(notes, now=NOW)
            assert await due(received_before=NOW + HOUR, delay=True) == "abe"
            note = settled(e, to(State.QUEUED, 1, delay_notified=True))
            await spool.settle([note], now=NOW)
            assert await due(received_before=NOW + HOUR, delay=True) == "ab"
            assert await due(received_before=NOW + HOUR) == "abce"

        self.run(test)

    # Orders

    def test_held_ones_are_not_claimed_until_released(self):
        async def test(spool):
            ids = [await put(spool, at=NOW + n) for n in range(3)]
            await put(spool, to=("x@there.example",))
            await claim(spool, limit=1)
            assert await spool.hold(Filter(domain=HERE), reason="ask Ann", now=NOW) == 2
            assert await state_of(spool, ids[0]) is State.LEASED
            assert not await claim(spool)
            (row,) = (await spool.show(ids[1])).recipients
            assert (row.state, row.reason) == (State.HELD, "ask Ann")
            assert await spool.release(Filter(ids=(ids[2],)), now=NOW) == 1
            (claimed,) = await claim(spool)
            assert claimed.message.queue_id == ids[2]
            assert claimed.message.recipients[0].reason is None

        self.run(test)

    def test_release_wakes_deferred_and_dead_ones(self):
        async def test(spool):
            ids = [await put(spool, at=NOW + n) for n in range(3)]
            await spool.settle(
                [
                    settled(ids[0], to(State.DEFERRED, not_before=NOW + HOUR)),
                    settled(ids[1], to(State.DEAD, reason="expired")),
                ],
                now=NOW,
            )
            assert await spool.release(Filter(states=(State.DEAD,)), now=NOW) == 1
            assert await spool.release(Filter(), now=NOW) == 1
            assert [c.message.queue_id for c in await claim(spool)] == ids

        self.run(test)

    def test_orders_reach_more_than_a_page(self):
        async def test(spool):
            await asyncio.gather(*(put(spool, at=NOW + n) for n in range(1100)))
            assert await spool.hold(Filter(), reason="x", now=NOW) == 1100
            assert await spool.release(Filter(), now=NOW) == 1100
            assert len(await spool.remove(Filter())) == 1100
            assert not await spool.counts()

        self.run(test)

    def test_remove_leaves_leased_ones(self):
        async def test(spool):
            ids = [await put(spool, at=NOW + n) for n in range(3)]
            await claim(spool, limit=1)
            assert await spool.remove(Filter(domain=HERE)) == ids[1:]
            assert [m.queue_id for m in await spool.select(Filter())] == ids[:1]
            with pytest.raises(KeyError):
                await body_of(spool, ids[1])

        self.run(test)

    def test_I2_remove_leaves_the_recipients_that_nobody_named(self):
        async def test(spool):
            queue_id = await put(spool, to=("a@here.example", "b@there.example"))
            assert await spool.remove(Filter(domain=HERE)) == [queue_id]
            message = await spool.show(queue_id)
            assert [row.address for row in message.recipients] == ["b@there.example"]
            (claimed,) = await claim(spool, THERE)
            assert claimed.indexes == (1,)
            await spool.settle([settled(queue_id, to(State.DELIVERED, 1))], now=NOW)
            assert await spool.show(queue_id) is None

        self.run(test)

    def test_dead_letters_can_be_removed_by_age(self):
        async def test(spool):
            ids = [await put(spool, at=NOW + n) for n in range(3)]
            for number, queue_id in enumerate(ids[:2]):
                await spool.settle([settled(queue_id, to(State.DEAD))], now=NOW + number)
            old = Filter(states=(State.DEAD,), changed_before=NOW + 1)
            assert [m.queue_id for m in await spool.select(old)] == [ids[0]]
            assert await spool.remove(old) == [ids[0]]
            assert len(await spool.select(Filter())) == 2

        self.run(test)

    def test_I2_remove_spares_what_was_released_or_leased_meanwhile(self):
        async def test(spool):
            ids = [await put(spool, at=NOW + n) for n in range(2)]
            await spool.settle([settled(ids[0], to(State.DEAD))], now=NOW)
            dead = Filter(states=(State.DEAD,))
            _, removed = await asyncio.gather(spool.release(dead, now=NOW), spool.remove(dead))
            assert removed == []
            claims, removed = await asyncio.gather(claim(spool), spool.remove(Filter()))
            assert (len(claims), removed) == (2, [])

        self.run(test)

    def test_domain_holds(self):
        async def test(spool):
            hold = DomainHold(domain=HERE, reason="moving", by="ann", since=NOW)
            other = DomainHold(domain=THERE, reason="also", by="ann", since=NOW)
            await spool.hold_domain(other)
            await spool.hold_domain(DomainHold(domain=HERE, reason="x", by="x", since=0.0))
            await spool.hold_domain(hold)
            assert list(await spool.domain_holds()) == [hold, other]
            assert await spool.release_domain(HERE)
            assert not await spool.release_domain(HERE)
            assert list(await spool.domain_holds()) == [other]

        self.run(test)
